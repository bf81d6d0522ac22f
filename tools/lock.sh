#!/usr/bin/env bash
# Writes the lock files: requirements.txt (the core) and requirements/EXTRA.txt (what an extra adds to it).
#
# Every file is exact, hashed, good for every platform and Python that pyproject.toml allows, and names no registry.
# All extras are solved together first, and each on its own within that solution, so that any set of them fits together.
# Each is complete with the core: install with --no-deps, as start.sh does. Torch and the GPU libraries that it pulls on
# Linux (several GB) have a file of their own, so that a CPU build that is there already can stay.
#
#   tools/lock.sh           upgrade everything (UV names the program if `uv` isn't on the PATH)
#   tools/lock.sh --keep    change only what pyproject.toml demands
shopt -s nullglob
set -euo pipefail
cd -- "$(dirname -- "$0")/.."

uv=${UV:-uv}
command -v "$uv" >/dev/null || {
    echo "tools/lock.sh needs uv (https://docs.astral.sh/uv/), on the PATH or named by UV." >&2
    exit 1
}
extras=(postgres redis s3 documents images diffusers embed mcp speech llamacpp transformers openai synthora affect test)
gpu='^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)=='
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # compile FILE ARGUMENT...: locks pyproject.toml with these arguments into FILE
    "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header "${@:2}" --output-file "$1"
}
bare() { # the lines without hashes: pins only
    sed -e '/^[[:space:]]/d' -e 's/ \\$//' "$@"
}
without() { # without CORE FILE: the entries of FILE that are not in CORE
    awk 'NR == FNR { if (!/^[ \t]/) core[$0]; next } !/^[ \t]/ { keep = !($0 in core) } keep' "$1" "$2"
}

# uv stays with the versions that it finds in its output file.
if [ "${1:-}" = --keep ]; then
    # The CPU build of torch is a choice of the installer's, not a pin.
    ls requirements.txt requirements/*.txt | grep -v torch-cpu | xargs cat | bare | sort -u > "$work/all.txt"
fi
compile "$work/all.txt" "${extras[@]/#/--extra=}"
bare "$work/all.txt" > "$work/pins.txt"

mkdir -p requirements
compile "$work/core.txt" --constraint "$work/pins.txt"
for extra in "${extras[@]}"; do
    compile "$work/extra.txt" --constraint "$work/pins.txt" --extra "$extra"
    without "$work/core.txt" "$work/extra.txt" > "$work/$extra.only"
    awk -v gpu="$gpu" '!/^[ \t]/ { keep = $0 !~ gpu } keep' "$work/$extra.only" > "requirements/$extra.txt"
done
awk -v gpu="$gpu" '!/^[ \t]/ { keep = $0 ~ gpu } keep' "$work/transformers.only" > requirements/torch.txt
cp "$work/core.txt" requirements.txt

# Clients for tests/clients/test_serve.py, in an environment of their own: some want another version of openai.
"$uv" pip compile tests/clients/requirements.in --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file tests/clients/requirements.txt

if grep -l '://' requirements.txt requirements/*.txt tests/clients/requirements.txt; then
    echo "These lock files hold an address." >&2
    exit 1
fi
