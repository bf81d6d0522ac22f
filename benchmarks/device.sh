#!/usr/bin/env bash
# What the engines do on a machine with a GPU, as a table, in at most 8 minutes. Without a GPU it says so and ends well.
#
#   benchmarks/device.sh                      tiny models of random weights, on the GPU
#   benchmarks/device.sh --folder DIR --gguf FILE     models of yours, too
#   benchmarks/device.sh --dry-run            the same on the processor, to try this script where there is no GPU
#
# PYTHON names the interpreter; .venv's where there is one, else python3. It needs what the extras transformers and llamacpp bring.
set -euo pipefail
cd -- "$(dirname -- "$0")/.."
python=${PYTHON:-}
[ -n "$python" ] || { [ -x .venv/bin/python ] && python=.venv/bin/python || python=python3; }
PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}" exec timeout --signal=TERM 480 "$python" benchmarks/device.py "$@"
