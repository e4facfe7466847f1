#!/bin/sh
# Makes .venv what the commands need: `sh deploy/local/environment.sh embedded|dev`.
# Does nothing, in a few milliseconds, when it is so already. POSIX sh, because it runs
# before there is anything else.
set -eu

cd "$(dirname "$0")/../.."
case "$1" in
    embedded) extras=embedded ;;
    dev) extras=embedded,dev ;;
    *) echo "usage: environment.sh embedded|dev" >&2; exit 2 ;;
esac

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# Scripts in .venv/bin hold its path, so that a copied or moved checkout needs a new one.
wanted="$(pwd) $(cksum <pyproject.toml)"
is_installed() { [ "$(cat ".venv/.installed-$1" 2>/dev/null || true)" = "$wanted" ]; }
if is_installed dev || is_installed "$1"; then exit 0; fi

# Two commands may be started at once in a fresh checkout.
if command -v flock >/dev/null 2>&1; then
    exec 9>.venv.lock
    flock 9
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

if ! .venv/bin/python -c "$is_new_enough" 2>/dev/null ||
    { [ -f .venv/.made-at ] && [ "$(cat .venv/.made-at)" != "$(pwd)" ]; }; then
    python="$(find_python)"
    say "Making the environment .venv with $python."
    rm -rf .venv
    "$python" -m venv .venv || fail "$python could not make .venv: its message above says why."
    pwd >.venv/.made-at
fi

say "Installing the packages into .venv; the first time this takes about a minute."
log=.venv/install.log
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --editable ".[$extras]" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "The packages could not be installed; all of pip's words are in $log. Is the network" \
        "(or the mirror that PIP_INDEX_URL names) reachable? Then try again."
fi
printf '%s\n' "$wanted" >".venv/.installed-$1"
say "The environment is ready."
