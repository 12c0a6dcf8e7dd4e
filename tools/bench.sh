#!/usr/bin/env bash
# Every benchmark, one after the other; each prints lines NAME ratio=R target=…. Peers are installed where they can be had.
set -uo pipefail
cd "$(dirname "$0")/.."
tools/setup-tests.sh || true
status=0
run() { echo "# $*" >&2; "$@" || { status=1; echo "$1 failed" >&2; }; }
mkdir -p build/bench
for b in frames start memory; do go build -o build/bench/$b ./bench/$b || exit 1; done
run build/bench/frames
run build/bench/start
for b in bench/*/run.sh; do [ -x "$b" ] && run "$b"; done
if command -v mvn >/dev/null && make --no-print-directory build/parrot.stamp >/dev/null 2>&1 && go build -o build/bench/javalink ./bench/javalink; then run build/bench/javalink; else echo "javalink: no Maven or no Java here" >&2; fi
run build/bench/memory
exit $status
