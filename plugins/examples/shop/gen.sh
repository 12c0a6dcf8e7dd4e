#!/bin/sh
# Generates the Go code and the descriptor sets from the contracts. What it makes is committed, so that building needs none of its tools.
set -eu
cd "$(dirname "$0")"
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH="$PATH:$(go env GOPATH)/bin"
for name in stock orders; do
  protoc --go_out=. --go_opt=module=carbonado.dev/examples/shop \
    --go-grpc_out=. --go-grpc_opt=module=carbonado.dev/examples/shop \
    --include_imports --descriptor_set_out=$name.binpb $name.proto
done
