#!/usr/bin/env bash
# The ingest bench; PostgreSQL is installed where it is missing and can be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null || echo "PostgreSQL can't be installed here" >&2
fi
mkdir -p build/bench
go build -o build/bench/ingest ./bench/ingest
exec build/bench/ingest "$@"
