#!/bin/sh
# Generates greetv1/ and greet.binpb from greet.proto. Needs protoc and the two Go plugins below; what they make is committed, so that
# building needs none of them.
set -eu
cd "$(dirname "$0")"
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH="$PATH:$(go env GOPATH)/bin"
protoc --go_out=. --go_opt=module=carbonado.dev/examples/hello \
  --go-grpc_out=. --go-grpc_opt=module=carbonado.dev/examples/hello \
  --include_imports --descriptor_set_out=greet.binpb greet.proto
