#!/usr/bin/env bash
# The component runtime's benchmarks: lines NAME ratio=R target=… and, beside them, times with medians and worst.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bench
go build -trimpath -o build/bench/runtime ./bench/runtime
exec build/bench/runtime "$@"
