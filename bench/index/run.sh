#!/usr/bin/env bash
# Builds and runs the comparison with Lucene from the repository's top folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/bench
go build -o build/bench/index ./bench/index
exec build/bench/index "$@"
