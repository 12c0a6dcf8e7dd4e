#!/usr/bin/env bash
# Looks at a server with Chromium: signs in, watches the Smart Home dashboard move, visits the other pages, runs axe.
#
#   CARBONADO_URL       a running server. Without it one is installed into a temporary folder from this tree (after `make build`),
#                       started with its ports moved by a number of chance (or CARBONADO_PORT_OFFSET), fed with the sample, and ended.
#   CARBONADO_USER      default admin
#   CARBONADO_PASSWORD  needed with CARBONADO_URL
#   CARBONADO_LINK      a one-time sign-in link to try, if given
#   CARBONADO_DISABLED  a component that the server was started without, by flag
#   CARBONADO_OWN       true: the server is there for this alone; a process is killed and components are restarted
#   CARBONADO_SHOTS     folder for screenshots, default a new temporary one
#   CHROMIUM            default /usr/bin/chromium
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
root=$(cd ../../.. && pwd)

if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  echo "run.sh: ${CHROMIUM:-/usr/bin/chromium} is not there; Debian's package is called chromium" >&2
  exit 69
fi
if [ ! -d node_modules/playwright-core ]; then npm ci --no-audit --no-fund --loglevel=error; fi

if [ -n "${CARBONADO_URL:-}" ]; then
  if [ -z "${CARBONADO_PASSWORD:-}" ]; then
    echo "run.sh: CARBONADO_PASSWORD is not set" >&2
    exit 64
  fi
  exec node e2e.mjs
fi

offset=${CARBONADO_PORT_OFFSET:-$((1001 + RANDOM % 2000))}
home=$(mktemp -d)
export CARBON_HOME=$home
unset CARBONADO_ADMIN_PASSWORD
server= sample=
end() {
  status=$?
  [ -z "$sample" ] || kill "$sample" 2>/dev/null || true
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if [ $status -ne 0 ] && [ -f "$home/server.log" ]; then tail -n 60 "$home/server.log" "$home/sample.log" >&2; fi
  rm -rf "$home"
  exit $status
}
trap end EXIT

"$root/tools/install.sh" "$home" >/dev/null
"$home/bin/carbonado" server -DportOffset="$offset" -DdisableIndexing=true >"$home/server.log" 2>&1 &
server=$!
running() { "$home/bin/carbonado" status -o json 2>/dev/null | grep -q '"RUNNING"'; }
for _ in $(seq 1 300); do
  if running; then break; fi
  if ! kill -0 "$server" 2>/dev/null; then
    echo "run.sh: the server ended" >&2
    exit 1
  fi
  sleep 0.2
done
running || { echo "run.sh: the server did not start within a minute" >&2; exit 1; }
"$home/bin/carbonado" sample smart-home --rate 50 --count 0 >"$home/sample.log" 2>&1 &
sample=$!
link=$("$home/bin/carbonado" open)
cd "$here"
CARBONADO_URL=https://localhost:$((9443 + offset)) CARBONADO_PASSWORD=$(cat "$home/repository/data/initial-password") CARBONADO_LINK=$link \
  CARBONADO_DISABLED=Indexing CARBONADO_OWN=true node e2e.mjs
