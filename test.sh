#!/usr/bin/env bash
# Sets up all that the tests need and runs everything: linters, import contracts, type checker, tests. Non-zero on any failure.
#
#   ./test.sh                     everything
#   ./test.sh tests/security      only these tests, after the checks (whatever pytest takes)
#
# The Python packages go into .venv, the official frontend's build (a test client) into .frontend, an MCP server (of npm, another
# counterpart) into .mcp, three small trained models (only for the tests) into .models. System packages are installed by apt where this
# is root or may sudo; elsewhere what is missing is named, and nothing runs.
set -euo pipefail
cd -- "$(dirname -- "$0")"
. tools/venv.sh

main() {
    need_system_packages
    venv_ready test || venv_install test
    need_browser
    counterparts & # one core fetches them while another checks
    local fetching=$! failed=0 refused="" # told at the end again: the tests' lines push it out of sight
    check ruff check .
    check ruff format --check --quiet .
    check lint-imports --no-logo
    check mypy
    wait "$fetching"
    echo "== pytest" # a worker that dies ends the run: with loadgroup xdist would wait for its tests for ever
    .venv/bin/python -m pytest -q -n "${OUI_TEST_WORKERS:-2}" --dist loadgroup --max-worker-restart 0 "$@" || failed=1
    [ -z "$refused" ] || { echo "Refused above, before the tests:$refused" >&2; failed=1; }
    exit "$failed"
}

# What tests talk to. In a fresh clone the tests are read once: each worker would compile all of them for itself.
counterparts() {
    clients_ready || clients_install
    .venv/bin/python -m tests.support.official_frontend >/dev/null
    .venv/bin/python -m tests.support.mcp_server >/dev/null
    .venv/bin/python -m tests.support.real_model >/dev/null
    .venv/bin/python -m tests.support.real_embedder >/dev/null
    .venv/bin/python -m tests.support.real_whisper >/dev/null
    .venv/bin/python -m tests.support.real_piper >/dev/null
    [ -d tests/__pycache__ ] || .venv/bin/python -m pytest -q --collect-only >/dev/null || true # it says below what it can't read
}

# Clients of `llamaforge serve` for tests/clients/test_serve.py, in an environment of their own: some want another openai.
clients_ready() {
    [ -x .venv-clients/bin/python ] && cmp -s tests/clients/requirements.txt .venv-clients/lock.txt
}

clients_install() {
    echo "Installing other people's clients into .venv-clients (once; about a minute) ..." >&2
    rm -rf .venv-clients
    .venv/bin/python -m venv .venv-clients
    # What is compiled when it is imported is a tenth of it.
    .venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
        --no-compile --root-user-action=ignore -r tests/clients/requirements.txt
    cp tests/clients/requirements.txt .venv-clients/lock.txt
}

check() { # check PROGRAM ARGUMENT...: one of the environment's programs; quiet where it is content, else also named in `refused`
    echo "== $*"
    local said
    if ! said=$(".venv/bin/$1" "${@:2}" 2>&1); then
        echo "$said"
        refused+=" ($*)"
    fi
}

need_system_packages() {
    local missing=()
    find_python >/dev/null && "$(find_python)" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v curl >/dev/null || missing+=(curl)
    command -v plantuml >/dev/null || missing+=(plantuml)
    command -v dot >/dev/null || missing+=(graphviz)
    has_chromium || on_ubuntu || missing+=(chromium-headless-shell)
    command -v tesseract >/dev/null || missing+=(tesseract-ocr tesseract-ocr-eng)
    command -v espeak-ng >/dev/null || missing+=(espeak-ng)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    # Debian keeps servers where only root's path leads. The tests start their own: what comes with the package stays off.
    local services=()
    [ -x /usr/sbin/nginx ] || services+=(nginx)
    command -v caddy >/dev/null || services+=(caddy)
    command -v redis-server >/dev/null || services+=(redis-server)
    [ -x /usr/sbin/pgbouncer ] || services+=(pgbouncer)
    [ -x /usr/sbin/slapd ] || services+=(slapd)
    [ ${#missing[@]} -eq 0 ] && [ ${#services[@]} -eq 0 ] && return
    install_packages "${missing[@]}" "${services[@]}"
    [ ${#services[@]} -eq 0 ] || [ ! -d /run/systemd/system ] || as_root systemctl disable --quiet --now "${services[@]}"
}

install_packages() {
    if ! command -v apt-get >/dev/null || ! as_root true; then
        echo "The tests need these packages, and this script may not install them here: $*" >&2
        echo "Install them (on Debian and Ubuntu: sudo apt-get install $*) and start it again." >&2
        exit 1
    fi
    echo "Installing $* ..." >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@" 2>/dev/null; fi
}

has_chromium() {
    [ -n "${CHROMIUM:-}" ] || command -v chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable >/dev/null
}

on_ubuntu() { # its chromium package is a snap, which containers can't run
    grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null
}

need_browser() { # on Ubuntu: the browser that Playwright brings
    has_chromium && return
    as_root true || { echo "The tests need Chromium: install it, or name it in CHROMIUM." >&2; exit 1; }
    as_root .venv/bin/python -m playwright install-deps chromium >/dev/null
    .venv/bin/python -m playwright install chromium >/dev/null
    CHROMIUM=$(.venv/bin/python -c 'from playwright.sync_api import sync_playwright as p
with p() as driver: print(driver.chromium.executable_path)')
    export CHROMIUM
}

main "$@"
