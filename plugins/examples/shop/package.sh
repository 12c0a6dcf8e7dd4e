#!/bin/sh
# Builds the three components and lays each out as a package in build/.
set -eu
cd "$(dirname "$0")"
for name in Stock Orders Storefront; do
  source=$(echo "$name" | tr '[:upper:]' '[:lower:]')
  mkdir -p "build/$name/bin"
  GOWORK=off CGO_ENABLED=0 go build -trimpath -o "build/$name/bin/$name" "./$source"
  cp "$source/component.yaml" "build/$name/"
  if [ -e "$source.binpb" ]; then cp "$source.binpb" "build/$name/"; fi
done
