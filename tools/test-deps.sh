#!/usr/bin/env bash
# Sees to it that the tests find what they need besides Rust and Node.js: git, cargo-nextest, PostgreSQL's server
# programs, promtool, Python, Chromium. What is missing is installed where that is possible without a question, else named.
#   tools/test-deps.sh nextest|machete|postgres|promtool|git|python|chromium ...
set -euo pipefail

NEXTEST_VERSION=0.9.143
MACHETE_VERSION=0.9.2

fail() {
    echo "test-deps: $*" >&2
    exit 1
}

# apt-get without questions, as root or through a sudo that needs no password.
as_root_apt() {
    local as_root=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >&2
}

apt_install() {
    echo "Installing the Debian package $1 ..." >&2
    as_root_apt update || true # an old package list may do
    as_root_apt install -y --no-install-recommends "$1"
}

# Half-optimised: these run for seconds, and compile sooner so.
cargo_install() {
    echo "Compiling $1 $2; once, some minutes ..." >&2
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install "$1" --locked --version "$2" --quiet ||
        fail "$1 $2 could not be installed; the reason is above"
}

for need in "$@"; do
    case $need in
        git)
            command -v git >/dev/null || apt_install git || fail "git is missing; on Debian and Ubuntu: apt-get install git"
            ;;
        nextest)
            cargo nextest --version >/dev/null 2>&1 || cargo_install cargo-nextest "$NEXTEST_VERSION"
            ;;
        machete)
            cargo machete --version >/dev/null 2>&1 || cargo_install cargo-machete "$MACHETE_VERSION"
            ;;
        postgres)
            tools/with-postgres.sh --find >/dev/null 2>&1 || apt_install postgresql || true
            tools/with-postgres.sh --find >/dev/null || exit 1
            ;;
        python)
            # Debian keeps what makes virtual environments in a package of its own.
            python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || true
            python3 -c 'import ensurepip, venv' 2>/dev/null || fail "Python with venv is missing; on Debian and Ubuntu: apt-get install python3-venv"
            ;;
        chromium)
            [ -x "${MAS_TEST_CHROMIUM:-/usr/bin/chromium}" ] || apt_install chromium || true
            [ -x "${MAS_TEST_CHROMIUM:-/usr/bin/chromium}" ] ||
                fail "Chromium is missing; on Debian: apt-get install chromium. MAS_TEST_CHROMIUM names another place"
            ;;
        promtool)
            # Unpacked, not installed: the package would start a server.
            dir=${CARGO_TARGET_DIR:-target}/prometheus
            command -v promtool >/dev/null || [ -x "$dir/usr/bin/promtool" ] || {
                mkdir -p "$dir"
                as_root_apt update || true
                (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download prometheus >&2 && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) ||
                    fail "promtool is missing; on Debian and Ubuntu it is in the package prometheus, elsewhere in Prometheus' release"
            }
            ;;
        *) fail "do not know '$need'" ;;
    esac
done
