#!/usr/bin/env bash
# Looks at GET /health, locally and by the public URL, and restarts what stays without an answer:
#
#   deploy/guardian.sh [--once | --check] [COMMAND [ARGUMENT...]]
#
# COMMAND restarts the gateway and returns; default: systemctl restart mas, unless somebody has stopped that unit: what
# `systemctl stop mas` ended stays ended until `systemctl start mas`. Without an option it watches for ever.
#   --once    for cron: looks until all is well or patience is at its end, restarts what is down, and exits; says
#             nothing when all was well at once
#   --check   one look, restarts nothing, and exits
# Exit codes of both: 0 all is well; 1 the gateway does not answer; 2 it is not reached by its public URL; 3 somebody
# else answers there; 64 the call makes no sense.
#
#   MAS_URL=                        where the gateway listens; default: what the file address in the data directory says, or
#                                   said last: a gateway that ends in order removes it. http://127.0.0.1:3456 only where there is
#                                   no data directory, as for a gateway in a container
#   MAS_PUBLIC_URL=                 where the world reaches it; default: what /health says under tunnel.url, else the file
#                                   public-url in the data directory; without any of them only the local side is watched
#   MAS_SERVER__DATA_DIR=           the data directory; default: ~/.local/share/mas, as of the gateway
#   TUNNEL_RESTART=                 shell command that restarts a tunnel or proxy the gateway does not run itself
#   CHECK_SECONDS=15                pause between looks
#   FAILURES=3                      failed local looks in a row before a restart
#   PUBLIC_FAILURES=20              the same for the public side, while the local one answers
#   MAX_BACKOFF_SECONDS=600         longest pause after a restart that did not help
#   LOCAL_TIMEOUT_SECONDS=5, PUBLIC_TIMEOUT_SECONDS=15
#
# systemd's Restart= covers a gateway that ends; this covers one that lives but does not answer. The gateway restarts its
# own tunnel client (`mas serve --tunnel`) within minutes; only when that does not help for long is the gateway itself restarted,
# and never for a public side that it does not run. Agents work on during a restart (runner.on_shutdown = "detach").
set -euo pipefail

local_url=
check_seconds=${CHECK_SECONDS:-15}
failures_allowed=${FAILURES:-3}
public_failures_allowed=${PUBLIC_FAILURES:-20}
max_backoff=${MAX_BACKOFF_SECONDS:-600}
local_timeout=${LOCAL_TIMEOUT_SECONDS:-5}
public_timeout=${PUBLIC_TIMEOUT_SECONDS:-15}
data_dir=${MAS_SERVER__DATA_DIR:-${XDG_DATA_HOME:-${HOME:-}/.local/share}/mas}

log() { printf '%s guardian: %s\n' "$(date -u +%FT%TZ)" "$*"; }
refuse() {
    printf 'guardian: %s\n' "$*" >&2
    exit 64
}

mode=watch
while [ $# -gt 0 ]; do
    case $1 in
        --once) mode=once ;;
        --check) mode=check ;;
        --help | -h)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        -*) refuse "unknown option $1; there are --once and --check" ;;
        *) break ;;
    esac
    shift
done
restart=("$@")
own_unit=no
[ ${#restart[@]} -gt 0 ] || own_unit=yes restart=(systemctl restart mas)

command -v curl >/dev/null || refuse "curl is missing; on Debian and Ubuntu: apt-get install curl"
for setting in CHECK_SECONDS:"$check_seconds" FAILURES:"$failures_allowed" PUBLIC_FAILURES:"$public_failures_allowed" \
    MAX_BACKOFF_SECONDS:"$max_backoff" LOCAL_TIMEOUT_SECONDS:"$local_timeout" PUBLIC_TIMEOUT_SECONDS:"$public_timeout"; do
    [[ ${setting#*:} =~ ^[1-9][0-9]*$ ]] || refuse "${setting%%:*} is '${setting#*:}'; give a whole number, 1 or more"
done
for setting in MAS_URL:"${MAS_URL:-}" MAS_PUBLIC_URL:"${MAS_PUBLIC_URL:-}"; do
    [[ ${setting#*:} =~ ^([Hh][Tt][Tt][Pp][Ss]?://[^/?#[:space:]]+[^?#[:space:]]*)?$ ]] ||
        refuse "${setting%%:*} is '${setting#*:}'; give an absolute URL, for example https://mas.example.com"
done
if [ -z "${MAS_URL:-}" ] && [ -d "$data_dir" ] && [ ! -x "$data_dir" ]; then
    refuse "$data_dir cannot be looked into by this user; run as its owner, or say with MAS_URL where the gateway listens"
fi

sleeper=
# A pause that ends with the guardian.
pause() {
    sleep "$1" &
    sleeper=$!
    wait "$sleeper" || true
    sleeper=
}
stop() {
    [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null || true
    log "stopped"
    exit 0
}
trap stop INT TERM

# The answer of /health at URL $1 within $2 seconds; further arguments are curl's. No redirection is followed.
health() {
    local url=$1 limit=$2
    shift 2
    # More than 64 KiB is not ours.
    curl --silent --fail --max-time "$limit" "$@" "$url/health" 2>/dev/null | head -c 65536 | tr '\n\0' '  '
}
# Quotation marks within strings are escaped in JSON, so these match fields only.
instance_of() { sed -n 's/.*"instance" *: *"\([0-9A-Za-z-]*\)".*/\1/p' <<<"$1"; }
tunnel_of() { sed -n 's/.*"tunnel" *: *\({.*\)/\1/p' <<<"$1"; }
url_of() { sed -n 's/.*"url" *: *"\([^"]*\)".*/\1/p' <<<"$1"; }

# Where the gateway listens. It may do so elsewhere after a restart. Empty while nobody knows: a guess could meet another
# gateway, and hide that this one is gone.
find_local() {
    local address=
    if [ -n "${MAS_URL:-}" ]; then
        local_url=${MAS_URL%/}
        return
    fi
    address=$(head -n 1 "$data_dir/address" 2>/dev/null) || address=
    # One that listens everywhere is looked at here.
    address=${address/#0.0.0.0:/127.0.0.1:}
    address=${address/#\[::\]:/[::1]:}
    if [ -n "$address" ]; then
        local_url=http://$address
    elif [ -z "$local_url" ] && [ -z "${MAS_SERVER__DATA_DIR:-}" ] && [ ! -d "$data_dir" ]; then
        local_url=http://127.0.0.1:3456
    fi
}

# Looks at both sides. $finding becomes well, local, public or foreign, $why a sentence, $own_tunnel whether the
# gateway runs a tunnel itself.
look() {
    local answer again tunnel public theirs
    own_tunnel=no
    find_local
    if [ -z "$local_url" ]; then
        finding=local why="no gateway runs with the data directory $data_dir: it has no file address"
        return
    fi
    answer=$(health "$local_url" "$local_timeout" --noproxy '*') || answer=
    instance=$(instance_of "$answer")
    if [ -z "$instance" ]; then
        finding=local why="no answer from $local_url/health"
        return
    fi
    tunnel=$(tunnel_of "$answer")
    [ -z "$tunnel" ] || own_tunnel=yes
    public=${MAS_PUBLIC_URL:-$(url_of "$tunnel")}
    if [ -z "$public" ] && [ -r "$data_dir/public-url" ]; then
        public=$(head -n 1 "$data_dir/public-url")
    fi
    public=${public%/}
    if [ -z "$public" ]; then
        if [ "$own_tunnel" = yes ]; then
            finding=public why="the tunnel has no public URL; $local_url/health says why"
        else
            finding=well why="the gateway answers; no public URL is known"
        fi
        return
    fi
    answer=$(health "$public" "$public_timeout" --proto '=http,https') || answer=
    theirs=$(instance_of "$answer")
    if [ "$theirs" = "$instance" ]; then
        finding=well why="the gateway answers, also as $public"
    elif [ -z "$theirs" ]; then
        finding=public why="no answer of the gateway from $public/health"
    else
        # The gateway may have been restarted between the two looks.
        again=$(health "$local_url" "$local_timeout" --noproxy '*') || again=
        if [ "$theirs" = "$(instance_of "$again")" ]; then
            finding=well why="the gateway answers, also as $public"
        else
            finding=foreign
            why="another gateway answers at $public; if the name was yours, make a new key (mas key create) and revoke the one in use there (mas key revoke)"
        fi
    fi
}

run_restart() {
    log "restarting the $1: ${*:2}"
    "${@:2}" </dev/null || log "the restart command failed with status $?"
}
restart_gateway() {
    # A unit that failed is "failed", one that comes or goes is "activating" or "deactivating".
    if [ "$own_unit" = yes ] && [ "$(systemctl is-active mas 2>/dev/null)" = inactive ]; then
        log "mas.service was stopped, or is not installed; left alone until: systemctl start mas"
    else
        run_restart gateway "${restart[@]}"
    fi
}
# Restarts what can mend the public side; fails when there is no such thing.
restart_public() {
    if [ -n "${TUNNEL_RESTART:-}" ]; then
        run_restart tunnel sh -c "$TUNNEL_RESTART"
    elif [ "$own_tunnel" = yes ] && [ "$finding" = public ]; then
        # Another owner of the name does not go away by a restart.
        restart_gateway
    else
        return 1
    fi
}

finding=well why='' own_tunnel=no instance=
if [ "$mode" != watch ]; then
    local_failures=0 public_failures=0
    while true; do
        look
        # cron sends a mail about every word.
        [ "$finding$mode$((local_failures + public_failures))" = wellonce0 ] || log "$why"
        [ "$finding" != well ] || exit 0
        [ "$mode" = once ] || break
        if [ "$finding" = local ]; then
            local_failures=$((local_failures + 1))
            [ "$local_failures" -lt "$failures_allowed" ] || { restart_gateway && break; }
        else
            local_failures=0
            public_failures=$((public_failures + 1))
            [ "$public_failures" -lt "$public_failures_allowed" ] || { { restart_public || log "nothing here can mend this"; } && break; }
        fi
        pause "$check_seconds"
    done
    case $finding in
        local) exit 1 ;;
        public) exit 2 ;;
        *) exit 3 ;;
    esac
fi

local_failures=0 local_backoff=$check_seconds local_not_before=0
public_failures=0 public_backoff=$check_seconds public_not_before=0
last=
find_local
log "watching ${local_url:-the data directory $data_dir}"
while true; do
    look
    if [ "$finding $why" != "$last" ]; then
        log "$why"
        last="$finding $why"
    fi
    # Each restart that does not help doubles the pause before the next one, up to a limit. Looks go on meanwhile.
    case $finding in
        well)
            local_failures=0 local_backoff=$check_seconds local_not_before=0
            public_failures=0 public_backoff=$check_seconds public_not_before=0
            ;;
        local)
            local_failures=$((local_failures + 1))
            if [ "$local_failures" -ge "$failures_allowed" ] && [ "$SECONDS" -ge "$local_not_before" ]; then
                restart_gateway
                local_not_before=$((SECONDS + local_backoff))
                local_backoff=$((local_backoff * 2 < max_backoff ? local_backoff * 2 : max_backoff))
                # Its tunnel begins anew as well.
                public_failures=0
            fi
            ;;
        *)
            local_failures=0 local_backoff=$check_seconds local_not_before=0
            public_failures=$((public_failures + 1))
            if [ "$public_failures" -ge "$public_failures_allowed" ] && [ "$SECONDS" -ge "$public_not_before" ]; then
                if restart_public; then
                    # A tunnel needs about as long to come up as we were patient.
                    public_failures=0
                elif [ "$public_failures" -eq "$public_failures_allowed" ]; then
                    log "nothing here can mend this; see TUNNEL_RESTART"
                fi
                public_not_before=$((SECONDS + public_backoff))
                public_backoff=$((public_backoff * 2 < max_backoff ? public_backoff * 2 : max_backoff))
            fi
            ;;
    esac
    pause "$check_seconds"
done
