#!/bin/sh
# Makes sdk/databridge/wire from databridge.thrift. Needs Debian's thrift-compiler (0.17).
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
thrift --gen go:skip_remote -out "$out" databridge.thrift
rm -rf ../wire
mkdir ../wire
cp "$out"/wire/*.go ../wire/
gofmt -w ../wire
