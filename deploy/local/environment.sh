#!/bin/sh
# Makes .venv, or brings it up to date: `sh deploy/local/environment.sh embedded|dev`.
# Returns in a few milliseconds if it is up to date. Installs the versions of
# requirements/, with uv, or with pip if uv is not available (INSTALLER=pip forces pip).
# POSIX sh, because it runs before anything is installed.
#
# .venv.unfinished exists from the first step to the last. If it exists at the start, an
# earlier installation was interrupted, and .venv is made anew.
set -eu

cd "$(dirname "$0")/../.."
case "$1" in
    embedded | dev) ;;
    *) echo "usage: environment.sh embedded|dev" >&2; exit 2 ;;
esac

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# The runner uses flock, /proc, and signals of Linux for the death of a parent.
[ "$(uname -s)" = Linux ] ||
    fail "Gacha Mesh runs on Linux, and this is $(uname -s). Use a Linux machine, a virtual" \
        "machine, or WSL 2 on Windows, and try again there."

# Scripts in .venv/bin contain its path, so a copied or moved checkout needs a new .venv.
wanted="$(pwd) $(cat pyproject.toml requirements/*.txt | cksum)"
is_installed() {
    [ ! -e .venv.unfinished ] &&
        [ "$(cat ".venv/.installed-$1" 2>/dev/null || true)" = "$wanted" ]
}
if is_installed dev || is_installed "$1"; then exit 0; fi

# Two commands may start at the same time in a fresh checkout.
if command -v flock >/dev/null 2>&1; then
    exec 9>.venv.lock
    flock -n 9 || { say "Another command is making .venv: waiting for it."; flock 9; }
    if is_installed dev || is_installed "$1"; then exit 0; fi
fi

is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
can_make_environments='import ensurepip, venv'

find_python() {
    without_venv=""
    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
        "$candidate" -c "$is_new_enough" >/dev/null 2>&1 || continue
        if "$candidate" -c "$can_make_environments" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
        without_venv="$candidate"
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv is new enough, but has no venv module. Install it (on Debian and" \
            "Ubuntu: apt install $(basename "$without_venv")-venv) and try again."
    fi
    fail "Python 3.11 or newer was not found. Install it (for example: apt install python3" \
        "python3-venv), make sure that it is on PATH, and try again."
}

# The runner of the mesh in var/ holds the lock (deploy/local/supervision/run_lock.py).
mesh_runs() {
    command -v flock >/dev/null 2>&1 && [ -e var/run.lock ] && ! flock -n var/run.lock true
}

make_venv() {
    if mesh_runs; then
        fail "The environment .venv must be made anew, but the mesh in var/ runs from it. Stop it" \
            "with \`make down\` (or \`kill $(cat var/run.lock)\`) and try again."
    fi
    python="$(find_python)"
    say "Making the environment .venv with $python."
    : >.venv.unfinished
    rm -rf .venv
    "$python" -m venv .venv || fail "$python could not make .venv: its message above says why."
    pwd >.venv/.made-at
}

run_pip() { .venv/bin/python -m pip "$@" --disable-pip-version-check --no-input; }

# uv does not read pip.conf: pip's settings for the index and certificates are passed to it.
hand_on_settings_of_pip() {
    index="${PIP_INDEX_URL:-$(run_pip config get global.index-url 2>/dev/null || true)}"
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
    if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
}

install_with_uv() {
    hand_on_settings_of_pip
    # Copies: with hard links into the cache, a change here would change other environments.
    export VIRTUAL_ENV="$PWD/.venv" UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
    .venv/bin/uv pip sync --require-hashes "requirements/$1.txt" &&
        .venv/bin/uv pip install --no-deps --editable .
}

install_with_pip() {
    run_pip install --require-hashes --requirement "requirements/$1.txt" &&
        run_pip install --no-deps --editable .
}

choose_installer() {
    if [ "${INSTALLER:-uv}" = pip ]; then return; fi
    run_pip install --quiet --only-binary :all: --require-hashes \
        --requirement requirements/uv.txt && installer=uv ||
        say "uv could not be installed: pip is used instead, and takes longer."
}

if [ -e .venv.unfinished ] || ! .venv/bin/python -c "$is_new_enough" 2>/dev/null ||
    { [ -f .venv/.made-at ] && [ "$(cat .venv/.made-at)" != "$(pwd)" ]; }; then
    make_venv
fi

: >.venv.unfinished
rm -f .venv/.installed-*
say "Installing the packages of requirements/$1.txt into .venv; the first time this takes" \
    "about a minute."
installer=pip
choose_installer
"install_with_$installer" "$1" ||
    fail "The packages could not be installed; $installer says above why. Is the network (or the" \
        "mirror that PIP_INDEX_URL or pip's configuration names) reachable? Then try again."
printf '%s\n' "$wanted" >".venv/.installed-$1"
rm .venv.unfinished
say "The environment is ready."
