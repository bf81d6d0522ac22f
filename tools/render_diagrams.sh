#!/bin/sh
# Draws every PlantUML source below docs/diagrams as SVG, into build/diagrams or the folder given. Needs plantuml and graphviz:
#   apt-get install plantuml graphviz
#
#   tools/render_diagrams.sh [FOLDER]
#
# Exits with an error when one of them can't be drawn. Nothing is fetched: the sources include only docs/diagrams/style.iuml.
set -eu
out=${1:-build/diagrams}
mkdir -p "$out"
out=$(cd -- "$out" && pwd)
cd -- "$(dirname -- "$0")/../docs/diagrams"
command -v plantuml >/dev/null 2>&1 || {
    echo "tools/render_diagrams.sh needs plantuml and graphviz. On Debian and Ubuntu: apt-get install plantuml graphviz" >&2
    exit 1
}
# One process draws all, since starting Java takes longer than drawing. Names are unique, so the result is one flat folder.
exec env GRAPHVIZ_DOT="$(command -v dot)" plantuml -charset UTF-8 -failfast2 -tsvg -o "$out" "**.puml"
