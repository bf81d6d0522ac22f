# Sourced by start.sh, dev.sh and test.sh from the repository's root: the virtual environment and the locks in it.
#
#   venv_ready EXTRA...      is .venv what requirements.txt and these extras' locks say? A few milliseconds
#   venv_install EXTRA...    makes it so

# Extras that a person may ask for; `test` is test.sh's own.
ALL_EXTRAS="postgres redis s3 documents diffusers embed mcp speech llamacpp transformers openai synthora affect"

venv_ready() {
    [ -x .venv/bin/python ] && [ -r .venv/locks/where ] || return 1
    read -r where < .venv/locks/where && [ "$where" = "$PWD" ] || return 1
    cmp -s requirements.txt .venv/locks/requirements.txt || return 1
    for extra in "$@"; do
        cmp -s "requirements/$extra.txt" ".venv/locks/$extra.txt" || return 1
    done
}

venv_install() {
    found=$(find_python) || return 1
    "$found" tools/install.py "$@"
}

# The first Python that will do. Prints its name; complains in one sentence otherwise.
find_python() {
    for candidate in ${OUI_PYTHON:-python3.13 python3.12 python3.11 python3 python3.14 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    version=$(python3 --version 2>/dev/null) || version=none
    echo "oui-backend needs Python 3.11 or newer; found here: $version. Install one, or name it: OUI_PYTHON=/path/to/python3.12 $0" >&2
    return 1
}
