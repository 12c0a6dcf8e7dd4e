#!/usr/bin/env bash
# Lays out an installation in DIR: binaries, packages, and repository/ as shipped. Files of an older installation's conf and
# deployment that differ are kept, the shipped ones lie beside them as NAME.new.
set -euo pipefail
prefix=$1
cd "$(dirname "$0")/.."
mkdir -p "$prefix"/{bin,plugins,repository}
install -m 755 bin/carbonado bin/carbonado.sh "$prefix/bin/"
cp -al plugins/. "$prefix/plugins.new/" 2>/dev/null || { mkdir -p "$prefix/plugins.new" && cp -a plugins/. "$prefix/plugins.new/"; }
rm -rf "$prefix/plugins.new/examples" "$prefix/plugins.new/.installed" "$prefix/plugins.new/.lock"
for entry in "$prefix/plugins.new"/* "$prefix/plugins.new"/.blobs; do
  [ -e "$entry" ] || continue
  rm -rf "$prefix/plugins/$(basename "$entry")"
  mv "$entry" "$prefix/plugins/"
done
rm -rf "$prefix/plugins.new"
git ls-files -co --exclude-standard repository | while read -r file; do
  [ -e "$file" ] || continue
  target=$prefix/$file
  mkdir -p "$(dirname "$target")"
  if [ -e "$target" ] && ! cmp -s "$file" "$target"; then cp -p "$file" "$target.new"; else cp -p "$file" "$target"; fi
done
mkdir -p "$prefix"/repository/{components/dropins,logs,data}
echo "installed into $prefix; start it with $prefix/bin/carbonado.sh start"
