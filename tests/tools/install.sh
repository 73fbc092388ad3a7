#!/bin/sh
# Installs the pinned outside programs of the tests below tests/tools:
#   tests/tools/install.sh [tunnel] [redocly] [browser] [python]        all of them when none is named
# Does nothing, silently, for what is there already. Install scripts of npm packages are not run.
set -eu
cd "$(dirname "$0")"

fail() {
    printf 'tests/tools/install.sh: %s\n' "$*" >&2
    exit 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Runs a command; what it says is shown only when it fails.
quietly() {
    "$@" >"$log" 2>&1 || { cat "$log" >&2 && fail "'$*' failed; the reason is above."; }
}

npm_packages() {
    for program in node npm; do
        command -v "$program" >/dev/null 2>&1 ||
            fail "$program is missing. Install Node.js 20 or newer with npm (on Debian and Ubuntu: apt-get install nodejs npm), then try again."
    done
    stamp=$1/node_modules/.package-lock.json
    if [ -f "$stamp" ] && [ -z "$(find "$1/package.json" "$1/package-lock.json" -newer "$stamp")" ]; then return; fi
    printf 'Installing %s for the tests ...\n' "$2" >&2
    quietly npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error
    touch "$stamp"
}

python_packages() {
    if cmp -s python/requirements.txt python/venv/installed.txt; then return; fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || fail "Python 3.11 or newer is missing."
    printf 'Installing openapi-spec-validator and schemathesis for the tests (about 110 MB) ...\n' >&2
    rm -rf python/venv
    quietly python3 -m venv python/venv
    quietly python/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r python/requirements.txt
    cp python/requirements.txt python/venv/installed.txt
}

[ $# -gt 0 ] || set -- tunnel redocly browser python
for tool in "$@"; do
    case $tool in
        tunnel) tunnel/install.sh ;;
        redocly) npm_packages redocly "Redocly's linter" ;;
        browser) npm_packages browser "playwright-core" ;;
        python) python_packages ;;
        *) fail "do not know '$tool'" ;;
    esac
done
