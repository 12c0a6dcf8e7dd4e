#!/usr/bin/env bash
# The main job: the server on the embedded default in the foreground, and the Smart Home sample publishing to it.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARBON_HOME=$PWD
log() { if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi; }
feed() {
  for _ in $(seq 1 600); do
    if bin/carbonado status -o json 2>/dev/null | grep -q '"state": "RUNNING"'; then break; fi
    sleep 0.2
  done
  log "Smart Home sample: publishing 20 events a second. The dashboard moves within a minute."
  link=$(bin/carbonado open 2>/dev/null || true)
  [ -z "$link" ] || { log "Open in a browser (once, ten minutes):"; printf '%s\n' "$link" >&2; }
  bin/carbonado sample smart-home --rate 20 --count 0 >repository/logs/sample.log 2>&1 &
  tail --pid=$$ -f /dev/null || true # $$ is the server by now
  kill $! 2>/dev/null || true
}
feed &
# Not a child of this script: whoever ends `make run`, by ^C or kill, ends the server.
exec bin/carbonado server "$@"
