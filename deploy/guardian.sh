#!/usr/bin/env bash
# Watches GET /health and restarts the gateway when it stays without an answer:
#   deploy/guardian.sh [COMMAND [ARGUMENT...]]      default command: systemctl restart mas
#
#   MAS_URL=http://127.0.0.1:3456   where the gateway listens
#   CHECK_SECONDS=15                pause between checks
#   FAILURES=3                      failed checks in a row before a restart
#   MAX_BACKOFF_SECONDS=600         longest pause after a restart that did not help
#
# systemd's Restart= covers a gateway that ends; this covers one that lives but does not answer.
set -euo pipefail

url="${MAS_URL:-http://127.0.0.1:3456}/health"
check_seconds=${CHECK_SECONDS:-15}
failures_allowed=${FAILURES:-3}
max_backoff=${MAX_BACKOFF_SECONDS:-600}
restart=("$@")
[ ${#restart[@]} -gt 0 ] || restart=(systemctl restart mas)

command -v curl >/dev/null || { echo "guardian: curl is missing" >&2 && exit 1; }
log() { printf '%s guardian: %s\n' "$(date -u +%FT%TZ)" "$*"; }

failures=0
backoff=$check_seconds
log "watching $url"
while true; do
    if curl --silent --show-error --fail --noproxy '*' --max-time 5 --output /dev/null "$url" 2>/dev/null; then
        [ "$failures" -eq 0 ] || log "answers again"
        failures=0
        backoff=$check_seconds
        sleep "$check_seconds"
        continue
    fi
    failures=$((failures + 1))
    log "no answer ($failures)"
    if [ "$failures" -lt "$failures_allowed" ]; then
        sleep "$check_seconds"
        continue
    fi
    log "restarting: ${restart[*]}"
    "${restart[@]}" || log "the restart command failed with status $?"
    # Each restart that does not help doubles the pause, up to a limit.
    sleep "$backoff"
    backoff=$((backoff * 2 < max_backoff ? backoff * 2 : max_backoff))
done
