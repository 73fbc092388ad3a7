#!/bin/sh
# Installs the pinned tunnel client and server of the tests below tests/tools/tunnel/node_modules.
# Does nothing, silently, when they are there already. Install scripts of the packages are not run.
set -eu
cd "$(dirname "$0")"

fail() {
    printf 'tests/tools/tunnel/install.sh: %s\n' "$*" >&2
    exit 1
}

for program in node npm; do
    command -v "$program" >/dev/null 2>&1 ||
        fail "$program is missing. Install Node.js 20 or newer with npm (on Debian and Ubuntu: apt-get install nodejs npm), then try again."
done

stamp=node_modules/.package-lock.json
if [ -x node_modules/.bin/lt ] && [ -f "$stamp" ] && [ -z "$(find package.json package-lock.json -newer "$stamp")" ]; then
    exit 0
fi
printf 'Installing localtunnel and its server for the tests (about 12 MB) ...\n' >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >"$log" 2>&1; then
    cat "$log" >&2
    fail "npm ci failed; the reason is above."
fi
touch "$stamp"
