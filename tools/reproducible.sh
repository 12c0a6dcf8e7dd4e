#!/usr/bin/env bash
# Builds the checkout once more in a copy elsewhere and wants the same digests: what is shipped depends on its source alone.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)/another/place
trap 'rm -rf "${copy%/another/place}"' EXIT
mkdir -p "$copy"
git ls-files -co --exclude-standard | while read -r file; do [ -e "$file" ] && printf '%s\0' "$file"; done | xargs -0 cp --parents -p -t "$copy"
cp -a components/portal/ui/node_modules "$copy/components/portal/ui/"
echo "building the same again in another folder"
(cd "$copy" && git init -q . && sed -i 's/npm ci [^&]*&& //' Makefile && make -s bin/carbonado build/all build/DuckDB)
status=0
for file in bin/carbonado build/all build/DuckDB; do
  if cmp -s "$file" "$copy/$file"; then
    echo "same: $file $(sha256sum <"$file" | cut -c1-16)"
  else
    echo "differs: $file" >&2
    status=1
  fi
done
exit $status
