#!/usr/bin/env bash
# Installs what the tests use and the machine lacks, with progress. Nothing is done where all is there.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
if [ "${1:-}" = browser ]; then need chromium chromium; else need thrift thrift-compiler; need python3 python3; need jq jq; need curl curl; need mvn maven
  python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv); fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing for the tests: ${missing[*]}"
  sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${missing[@]}" >/dev/null
fi
