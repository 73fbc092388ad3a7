#!/usr/bin/env bash
# Runs a command with a private, throw-away PostgreSQL server:
#   tools/with-postgres.sh COMMAND [ARGUMENT...]
#   tools/with-postgres.sh --find         only prints where the server programs are
# The command finds it in MAS_TEST_POSTGRES_URL (a superuser of an empty cluster). The server listens on a free
# loopback port only, asks for a random password, and is stopped and removed when the command ends, however it ends.
set -euo pipefail

fail() {
    echo "with-postgres: $*" >&2
    exit 1
}

[ $# -gt 0 ] || fail "usage: tools/with-postgres.sh COMMAND [ARGUMENT...]"

# Debian keeps the server programs off PATH, one directory per version; the newest is taken.
find_bin() {
    local directory found=
    for directory in "$(dirname "$(command -v initdb || echo /nonexistent/initdb)")" \
        $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V) "${MAS_POSTGRES_BIN:-}"; do
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ] && [ -x "$directory/pg_isready" ]; then found=$directory; fi
    done
    echo "$found"
}
bin=$(find_bin)
[ -n "$bin" ] || fail "PostgreSQL's server programs (initdb, postgres, pg_isready) were not found.
On Debian and Ubuntu: apt-get install postgresql. MAS_POSTGRES_BIN names another directory."

if [ "$1" = --find ]; then
    echo "$bin"
    exit 0
fi

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    if command -v setpriv >/dev/null 2>&1; then
        as_user=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
    elif command -v runuser >/dev/null 2>&1; then
        as_user=(runuser -u "$user" --)
    else
        fail "running as root needs setpriv or runuser (package util-linux) to start PostgreSQL as another user"
    fi
fi

directory=$(mktemp -d "${TMPDIR:-/tmp}/mas-postgres.XXXXXX")
server=
command=

cleanup() {
    trap - EXIT
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true # fast shutdown
        for _ in $(seq 100); do
            kill -0 "$server" 2>/dev/null || break
            sleep 0.1
        done
        kill -QUIT "$server" 2>/dev/null || true # at once, should the fast shutdown hang
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$directory"
}
trap cleanup EXIT

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
(umask 077 && printf '%s\n' "$password" >"$directory/password")
if [ ${#as_user[@]} -gt 0 ]; then chown -R "$user" "$directory"; fi

# From / because the other user may not be allowed into the current directory.
(cd / && "${as_user[@]}" "$bin/initdb" --pgdata="$directory/data" --username=mas --pwfile="$directory/password" \
    --auth=password --encoding=UTF8 --no-locale --no-sync) >"$directory/initdb.log" 2>&1 ||
    { cat "$directory/initdb.log" >&2 && fail "initdb failed"; }

# The server goes when this script is killed outright, and a Ctrl-C at the terminal reaches it through this script only.
detached=()
if setpriv --pdeathsig INT true 2>/dev/null; then detached+=(setpriv --pdeathsig INT); fi
if command -v setsid >/dev/null 2>&1; then detached+=(setsid); fi

start() {
    (cd / && exec "${as_user[@]}" "${detached[@]}" "$bin/postgres" -D "$directory/data" \
        -c listen_addresses=127.0.0.1 -c port="$port" -c unix_socket_directories= -c max_connections=300 \
        -c fsync=off -c synchronous_commit=off -c full_page_writes=off) >"$directory/server.log" 2>&1 </dev/null &
    server=$!
    for _ in $(seq 150); do
        kill -0 "$server" 2>/dev/null || return 1
        "$bin/pg_isready" --quiet --host=127.0.0.1 --port="$port" --username=mas --dbname=postgres && return 0
        sleep 0.1
    done
    return 1
}

# Somebody may take the port between choosing and using it, so try a few, below the range the kernel hands out itself.
for attempt in 1 2 3 4 5 6; do
    [ "$attempt" -le 5 ] || { cat "$directory/server.log" >&2 && fail "PostgreSQL did not start"; }
    port=$((20000 + RANDOM % 12000))
    if start; then break; fi
    kill -QUIT "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
done

export MAS_TEST_POSTGRES_URL="postgres://mas:$password@127.0.0.1:$port/postgres"

# In the background, so that signals are acted upon at once; with the default reaction to Ctrl-C that bash takes away.
default_signals=()
if env --default-signal=INT,QUIT true 2>/dev/null; then default_signals=(env --default-signal=INT,QUIT); fi
trap : INT
trap 'kill -TERM "$command" 2>/dev/null || true' TERM HUP
"${default_signals[@]}" "$@" <&0 &
command=$!
while kill -0 "$command" 2>/dev/null; do
    wait "$command" || true
done
wait "$command" && status=0 || status=$?
exit "$status"
