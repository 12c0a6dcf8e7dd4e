#!/bin/sh
# Looks at a running server with Chromium: signs in, watches the Smart Home dashboard move, visits the other pages, runs axe.
#
#   CARBONADO_URL       the server, default https://localhost:9443
#   CARBONADO_USER      default admin
#   CARBONADO_PASSWORD  needed
#   CARBONADO_LINK      a one-time sign-in link to try, if given
#   CARBONADO_SHOTS     folder for screenshots, default a new temporary one
#   CHROMIUM            default /usr/bin/chromium
set -eu
cd "$(dirname "$0")"
if [ -z "${CARBONADO_PASSWORD:-}" ]; then
  echo "run.sh: CARBONADO_PASSWORD is not set" >&2
  exit 64
fi
if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  echo "run.sh: ${CHROMIUM:-/usr/bin/chromium} is not there; Debian's package is called chromium" >&2
  exit 69
fi
[ -d node_modules/playwright-core ] || npm ci --no-audit --no-fund
exec node e2e.mjs
