"""The examples of docs/consciousness.md run; names of models and addresses are ours."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from consciousness.emotions import COORDINATES
from consciousness.express import _STYLES
from tests.support.tiny_gguf import HELLO, write_gguf

PAGE = Path(__file__).resolve().parents[2] / "docs" / "consciousness.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


async def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    wrapped = f"async def block():\n{textwrap.indent(code, '    ')}\n    return dict(locals())\n"
    exec(compile(wrapped, str(PAGE), "exec"), names)
    bound: dict[str, Any] = await names["block"]()
    return bound


async def test_the_examples_run(monkeypatch, tmp_path, tiny_gguf, upstream, capsys):
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tmp_path))
    (tmp_path / "my-model.gguf").symlink_to(tiny_gguf)
    fears = {name: number / 10 for number, name in enumerate(COORDINATES)} | {"fear": 0.9}
    rated = json.dumps(fears)
    rater = write_gguf(tmp_path / "rater.gguf", says=rated)
    ran = 0
    for code in BLOCKS:
        ours = (
            code.replace('"model.gguf"', f'"{tiny_gguf}", n_threads=1')
            .replace("http://127.0.0.1:11434", upstream.url)
            .replace('"llama3.2"', '"error500"')
            .replace('fallbacks=["my-model"]', 'fallbacks=["my-model.gguf"]')
            .replace('model="my-model"', f'model="{rater.name}"')
        )
        names = await run(ours)
        ran += 1
        for name in ("forge", "backend"):
            if name in names:
                names[name].close()
        if "answer" in names:
            assert (names["answer"], names["answer"].model_id) == (HELLO, "my-model.gguf")
            names["generator"]._forge.close()
    assert ran == len(BLOCKS) == 9
    printed = capsys.readouterr().out
    assert printed.startswith(HELLO + "\n" + HELLO)
    assert "'fear': " in printed
    assert "'error500'" in printed


def test_the_table_of_emotions_is_that_of_the_code():
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")
    ]
    table = {row[0]: (float(row[2]), float(row[3]), row[4]) for row in rows if row[0] in COORDINATES}
    assert table == {name: (*place, _STYLES[name]) for name, place in COORDINATES.items()}
