#!/usr/bin/env bash
# Makes a package of each first-party component and installs it into plugins/. A component's own executable is the one that all share;
# the others among its commands are built by themselves.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf build/packages
(cd sdk && go run ./proto/contracts ../build/contracts.binpb)
for descriptor in components/*/component.yaml; do
  name=$(sed -n 's/^name: *//p' "$descriptor")
  package=build/packages/$name
  mkdir -p "$package/bin"
  cp "$descriptor" "$package/component.yaml"
  ln -f build/contracts.binpb "$package/contracts.binpb"
  for command in "$(dirname "$descriptor")"/cmd/*; do
    executable=$(basename "$command")
    if [ "$executable" = "$name" ]; then ln -f build/all "$package/bin/$name"; else ln -f "build/$executable" "$package/bin/$executable"; fi
  done
  CARBON_HOME=$PWD bin/carbonado plugin install "$package"
done
touch plugins/.installed
