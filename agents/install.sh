#!/bin/sh
# Installs the pinned agent programs and links them at stable paths:
#   agents/claude                     Claude Code, below agents/node_modules
#   agents/claude-flow/claude-flow    claude-flow, below agents/claude-flow/node_modules
# Without arguments all of them, else those that are named: claude, claude-flow. Does nothing, silently, when they are there
# already. Install scripts of the packages are not run.
set -eu
cd "$(dirname "$0")"
agents=$PWD

fail() {
    printf 'agents/install.sh: %s\n' "$*" >&2
    exit 1
}

for program in node npm; do
    command -v "$program" >/dev/null 2>&1 ||
        fail "$program is missing. Install Node.js 20 or newer with npm (on Debian and Ubuntu: apt-get install nodejs npm), then try again."
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The version of package $1 that package.json asks for.
wanted() {
    node -p 'require("./package.json").dependencies[process.argv[1]]' "$1"
}

# Whether program $1 was installed from the lock file as it is now.
is_current() {
    [ -x "$1" ] && [ -f "$stamp" ] && [ -z "$(find package.json package-lock.json -newer "$stamp")" ]
}

# Installs what the lock file says; the arguments go to npm.
install() {
    if ! npm ci --ignore-scripts --no-audit --no-fund --loglevel=error "$@" >"$scratch/log" 2>&1; then
        cat "$scratch/log" >&2
        fail "npm ci failed; the reason is above."
    fi
}

# Links program $1 at $2 once it says version $3. It may keep state in its home: a scratch one leaves no trace in the user's.
link() {
    [ "$(readlink "$2" 2>/dev/null || true)" != "$1" ] || return 0
    version=$(HOME="$scratch" CLAUDE_CONFIG_DIR="$scratch" DISABLE_AUTOUPDATER=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        RUFLO_DAEMON_AUTOSTART=0 CLAUDE_FLOW_AUTO_UPDATE=false "./$1" --version 2>&1 </dev/null) || fail "$1 does not start: $version"
    case $version in
        "$3"* | *" v$3") ;;
        *) fail "$1 says version '$version', but $3 was asked for. Remove $PWD/node_modules and try again." ;;
    esac
    ln -sfn "$1" "$2"
}

stamp=node_modules/.package-lock.json

install_claude() {
    cd "$agents"
    package=@anthropic-ai/claude-code
    # glibcVersionRuntime is absent where the C library is musl.
    platform=$(node -p '
        const musl = process.platform === "linux" && !process.report.getReport().header.glibcVersionRuntime;
        `${process.platform}-${process.arch}${musl ? "-musl" : ""}`')
    binary=node_modules/$package-$platform/claude
    if ! is_current "$binary"; then
        printf 'Installing Claude Code %s for %s (about 250 MB unpacked) ...\n' "$(wanted "$package")" "$platform" >&2
        install
        [ -f "$binary" ] || fail "the package has no program for $platform; it supports linux and darwin on x64 and arm64."
        chmod +x "$binary"
        touch "$stamp"
        rm -f claude
    fi
    link "$binary" claude "$(wanted "$package")"
}

install_claude_flow() {
    cd "$agents/claude-flow"
    binary=node_modules/.bin/claude-flow
    if ! is_current "$binary"; then
        printf 'Installing claude-flow %s (about 120 MB unpacked) ...\n' "$(wanted claude-flow)" >&2
        # What is optional is for its memory and neural commands, which the gateway does not use: 500 packages more.
        install --omit=optional
        touch "$stamp"
        rm -f claude-flow
    fi
    link "$binary" claude-flow "$(wanted claude-flow)"
}

[ $# -gt 0 ] || set -- claude claude-flow
for program; do
    case $program in
        claude) install_claude ;;
        claude-flow) install_claude_flow ;;
        *) fail "there is no program '$program'; there are claude and claude-flow." ;;
    esac
done
