#!/usr/bin/env bash
# Generates the Go code of sdk/proto. Needs protoc (Debian: protobuf-compiler); the generated code is committed, so builds don't.
set -euo pipefail
cd "$(dirname "$0")/../sdk"
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH="$PATH:$(go env GOPATH)/bin"
find proto/carbonado -name '*.proto' | sort | xargs protoc -I proto \
  --go_out=. --go_opt=module=carbonado.dev/sdk --go-grpc_out=. --go-grpc_opt=module=carbonado.dev/sdk
