#!/bin/sh
# Installs the pinned agent programs below agents/node_modules and links them at stable paths:
#   agents/claude   Claude Code
# Does nothing, silently, when they are there already. Install scripts of the packages are not run.
set -eu
cd "$(dirname "$0")"

fail() {
    printf 'agents/install.sh: %s\n' "$*" >&2
    exit 1
}

for program in node npm; do
    command -v "$program" >/dev/null 2>&1 ||
        fail "$program is missing. Install Node.js 20 or newer with npm (on Debian and Ubuntu: apt-get install nodejs npm), then try again."
done

package=@anthropic-ai/claude-code
wanted=$(node -p 'require("./package.json").dependencies[process.argv[1]]' "$package")
# glibcVersionRuntime is absent where the C library is musl.
platform=$(node -p '
    const musl = process.platform === "linux" && !process.report.getReport().header.glibcVersionRuntime;
    `${process.platform}-${process.arch}${musl ? "-musl" : ""}`')
binary=node_modules/$package-$platform/claude
stamp=node_modules/.package-lock.json

is_current() {
    [ -x "$binary" ] && [ -f "$stamp" ] && [ -z "$(find package.json package-lock.json -newer "$stamp")" ]
}

if ! is_current; then
    printf 'Installing Claude Code %s for %s (about 250 MB unpacked) ...\n' "$wanted" "$platform" >&2
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >"$log" 2>&1; then
        cat "$log" >&2
        fail "npm ci failed; the reason is above."
    fi
    [ -f "$binary" ] || fail "the package has no program for $platform; it supports linux and darwin on x64 and arm64."
    chmod +x "$binary"
    touch "$stamp"
    rm -f claude
fi

if [ "$(readlink claude 2>/dev/null || true)" != "$binary" ]; then
    # The program may keep state in its home: a scratch one leaves no trace in the user's.
    home=$(mktemp -d)
    trap 'rm -rf "$home" ${log:+"$log"}' EXIT
    version=$(HOME="$home" CLAUDE_CONFIG_DIR="$home" DISABLE_AUTOUPDATER=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        "./$binary" --version 2>&1 </dev/null) || fail "$binary does not start: $version"
    case $version in
        "$wanted"*) ;;
        *) fail "$binary says version '$version', but $wanted was asked for. Remove agents/node_modules and try again." ;;
    esac
    ln -sfn "$binary" claude
fi
