#!/usr/bin/env bash
# Makes a package of each first-party component and installs it into plugins/.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf build/packages
for descriptor in components/*/component.yaml; do
  name=$(sed -n 's/^name: *//p' "$descriptor")
  package=build/packages/$name
  mkdir -p "$package/bin"
  cp "$descriptor" "$package/component.yaml"
  if [ -e "build/$name" ]; then ln -f "build/$name" "$package/bin/$name"; else ln -f build/all "$package/bin/$name"; fi
  CARBON_HOME=$PWD bin/carbonado plugin install "$package"
done
touch plugins/.installed
