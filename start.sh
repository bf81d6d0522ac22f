#!/bin/sh
# Starts the server. Needs only Python 3.11 or newer: the first start makes .venv and installs the locked core into it.
#
#   ./start.sh                                 http://localhost:8080
#   PORT=9000 HOST=0.0.0.0 ./start.sh          settings are environment variables, or lines of .env (see .env.example)
#   OUI_EXTRAS=postgres,redis ./start.sh       with optional parts; `all` for every one
#   ./start.sh --port 9000                     what follows is handed to `oui-backend serve`
#
# The extras `transformers` and `diffusers` bring torch, on Linux with several GB of GPU libraries. For the CPU build, before it:
#   ./.venv/bin/pip install torch --index-url ... (pytorch.org names the index); it is then left as it is.
set -eu
CDPATH='' cd -- "${0%/*}" 2>/dev/null || :
. ./tools/venv.sh

# Words, on purpose: extras are separated by commas or blanks.
extras=$(IFS=', '; set -- ${OUI_EXTRAS:-}; echo "$*")
case " $extras " in *" all "*) extras=$ALL_EXTRAS ;; esac
# shellcheck disable=SC2086
venv_ready $extras || venv_install $extras
exec .venv/bin/python -m open_webui.cli serve "$@"
