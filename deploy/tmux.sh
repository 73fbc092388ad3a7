#!/usr/bin/env bash
# The gateway in a tmux session, for a machine without systemd or for watching it work:
#
#   deploy/tmux.sh [--detached] [-- COMMAND [ARGUMENT...]]     default command: mas serve
#   deploy/tmux.sh --restart-server | --kill
#
# Windows: server, events (those of all tasks, live), guardian, and a shell with `get`, `post` and $MAS_URL. When the
# session is there already, it is attached. --detached only starts it. --restart-server ends the server and starts it again with
# the same command; the guardian does so by itself. --kill ends server and session; agents work on unless
# runner.on_shutdown is "stop".
#
#   MAS_SERVER__DATA_DIR=   the data directory; default: ~/.local/share/mas
#   TMUX_SOCKET=mas         the tmux server of its own; its sessions are apart from yours: tmux -L mas attach
#   STOP_SECONDS=60         the server gets this long to end in order
#   and what guardian.sh reads, MAS_PUBLIC_URL and TUNNEL_RESTART included
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
self=$here/$(basename "${BASH_SOURCE[0]}")
socket=${TMUX_SOCKET:-mas}
session=mas
stop_seconds=${STOP_SECONDS:-60}
data_dir=${MAS_SERVER__DATA_DIR:-${XDG_DATA_HOME:-${HOME:-}/.local/share}/mas}

fail() {
    printf 'tmux.sh: %s\n' "$*" >&2
    exit 1
}
on() { tmux -L "$socket" "$@"; }
there() { on has-session -t "=$session" 2>/dev/null; }

# Where the server listens: it says so in a file once it does.
url() {
    local address
    address=$(cat "$data_dir/address" 2>/dev/null) && [ -n "$address" ] || return 1
    # One that listens everywhere is reached here, too.
    printf 'http://%s\n' "${address/#0.0.0.0:/127.0.0.1:}"
}
wait_for_url() {
    until url; do sleep 1; done
}
# The key goes to curl through a pipe, so that no list of processes shows it.
key_header() { printf 'X-MAS-Key: %s' "$(cat "$data_dir/admin-key" 2>/dev/null || true)"; }
request() { curl --silent --show-error --noproxy '*' --header @<(key_header) "$@"; }

window_events() {
    local cursor=0 line at
    trap 'exit 0' INT TERM
    while true; do
        at=$(wait_for_url)
        printf -- '-- events of %s\n' "$at"
        if [ ! -r "$data_dir/admin-key" ]; then
            printf -- '-- no key in %s/admin-key; the server writes it at its first start unless MAS_BOOTSTRAP_KEY is set\n' "$data_dir"
            until [ -r "$data_dir/admin-key" ]; do sleep 2; done
        fi
        while IFS= read -r line; do
            case $line in
                id:*) cursor=${line#id:} cursor=${cursor# } ;;
                data:*) line=${line#data:} && printf '%s\n' "${line# }" ;;
                '' | :* | event:* | retry:*) ;;
                *) printf '%s\n' "$line" ;;
            esac
        done < <(request --no-buffer --header 'Accept: text/event-stream' --header "Last-Event-ID: $cursor" "$at/events" 2>&1 || true)
        printf -- '-- the stream ended; going on after event %s\n' "$cursor"
        sleep 2
    done
}

window_guardian() {
    wait_for_url >/dev/null
    unset MAS_URL
    exec "$here/guardian.sh" "$self" --restart-server
}

# Sourced by the shell.
helpers() {
    printf 'MAS_SERVER__DATA_DIR=%q; export MAS_SERVER__DATA_DIR; unset MAS_URL\n' "$data_dir"
    printf 'data_dir=%q\n' "$data_dir"
    declare -f url wait_for_url key_header request
    cat <<'RC'
[ ! -r ~/.bashrc ] || . ~/.bashrc
set +eu
get() { request "$(url)$1" "${@:2}"; echo; }
post() { request --header 'Content-Type: application/json' --data "${2:-{\}}" "$(url)$1" "${@:3}"; echo; }
echo 'Waiting for the server ...'
MAS_URL=$(wait_for_url)
printf 'MAS_URL=%s\n' "$MAS_URL"
echo "get /health    get '/tasks?status=in_progress'    post /tasks '{\"title\": \"…\", \"description\": \"…\", \"agent_type\": \"coder\"}'"
PS1='mas$ '
RC
}

default_command() {
    local built
    if command -v mas >/dev/null; then
        command=(mas serve)
        return
    fi
    for built in "$here/../target/release/mas" "$here/../target/debug/mas"; do
        [ -x "$built" ] || continue
        command=("$(cd "$(dirname "$built")" && pwd)/mas" serve)
        return
    done
    fail "mas is neither on PATH nor in target/; build it (cargo build --release) or name a command after --"
}

server_pid() {
    [ "$(on display-message -p -t "=$session:=server" '#{pane_dead}')" = 0 ] || return 1
    on display-message -p -t "=$session:=server" '#{pane_pid}'
}

stop_server() {
    local pid deadline=$((SECONDS + stop_seconds))
    pid=$(server_pid) || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "the server does not end; killing it"
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + 5))
        fi
        sleep 0.2
    done
}

attach=yes action=start command=()
while [ $# -gt 0 ]; do
    case $1 in
        --detached) attach=no ;;
        --kill | --restart-server) action=${1#--} ;;
        --window-*) action=${1#--} ;;
        --help | -h)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --)
            shift
            command=("$@")
            break
            ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
    shift
done

case $action in
    window-server)
        # Ctrl-C and --kill reach the server itself.
        exec "${command[@]}"
        ;;
    window-events) window_events ;;
    window-guardian) window_guardian ;;
    window-shell) exec bash --rcfile <(helpers) -i ;;
esac

for program in tmux curl; do
    command -v "$program" >/dev/null || fail "$program is missing; on Debian and Ubuntu: apt-get install $program"
done

case $action in
    kill)
        there || fail "no session; nothing to end"
        stop_server
        on kill-session -t "=$session"
        exit 0
        ;;
    restart-server)
        there || fail "no session; start it with deploy/tmux.sh"
        stop_server
        on respawn-window -k -t "=$session:=server"
        exit 0
        ;;
esac

if ! there; then
    [ ${#command[@]} -gt 0 ] || default_command
    # The window of an ended server stays, with its last words.
    on new-session -d -s "$session" -n server "$self" --window-server -- "${command[@]}" \; set-option -w remain-on-exit on
    on new-window -d -t "=$session:" -n events "$self" --window-events
    on new-window -d -t "=$session:" -n guardian "$self" --window-guardian
    on new-window -d -t "=$session:" -n shell "$self" --window-shell
elif [ ${#command[@]} -gt 0 ]; then
    echo "tmux.sh: the session is there already; its command stays (--kill ends it)" >&2
fi
[ "$attach" = yes ] || exit 0
[ -t 0 ] || fail "the session runs; attach from a terminal: tmux -L $socket attach -t $session"
# Also from within another tmux.
unset TMUX
exec tmux -L "$socket" attach-session -t "=$session"
