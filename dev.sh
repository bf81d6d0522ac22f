#!/bin/sh
# Starts the server for work on it: /docs and /openapi.json are there, and it restarts when the code changes.
set -eu
CDPATH='' cd -- "${0%/*}" 2>/dev/null || :
ENV=dev exec ./start.sh --reload "$@"
