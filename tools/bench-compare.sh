#!/usr/bin/env bash
# make bench-compare BASE=ref: builds that commit in a folder of its own and runs the runtime's benchmarks and the frames' of both sides
# in turn. Fails on a loss of more than a tenth.
set -euo pipefail
cd "$(dirname "$0")/.."
base=$(git rev-parse --verify "${1:?usage: make bench-compare BASE=ref}^{commit}")
copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/base" >/dev/null 2>&1; rm -rf "$copy"' EXIT
git worktree add --detach --quiet "$copy/base" "$base"
echo "building $base" >&2
(cd "$copy/base" && make -s build)
mkdir -p build/bench
go build -trimpath -o build/bench/compare ./bench/compare
status=0
for program in runtime frames; do
  for side in . "$copy/base"; do
    if [ -d "$side/bench/$program" ]; then (cd "$side" && mkdir -p build/bench && go build -trimpath -o "build/bench/$program" "./bench/$program"); fi
  done
  if [ ! -x "$copy/base/build/bench/$program" ]; then
    echo "$program: the base has no such benchmark" >&2
    continue
  fi
  arguments=(); [ "$program" = runtime ] && arguments=(-rounds 3 -only call,plan,graph,start)
  build/bench/compare -base "$copy/base" -head . -rounds "${ROUNDS:-5}" "build/bench/$program" "${arguments[@]}" || status=1
done
exit $status
