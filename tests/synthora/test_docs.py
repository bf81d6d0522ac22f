"""The examples of docs/synthora.md run as they are, one after the other, against a provider and a model of ours."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.script import fixed_text

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "synthora.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## ([^\n]+)$|^```(python|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_gguf):
    """Where the examples run: with the files that they speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "llamaforge.json"))
    shutil.copy(tiny_gguf, "model.gguf")
    return tmp_path


def play(openai):
    """The provider's "gpt-4o-mini" says a text, its "gpt-4o" calls the tool."""
    openai.models = (*openai.models, "gpt-4o-mini", "gpt-4o")
    openai.answer_when("Eiffel", '{"name": "Paris", "country": "France"}')


def test_the_examples(openai, folder, monkeypatch, capsys):
    from tests.support import script

    play(openai)
    played = script.play
    monkeypatch.setattr(script, "play", lambda model, *rest: played({"gpt-4o": "tools"}.get(model, model), *rest))
    names, heading, said = {}, "", {}
    for title, language, code in BLOCKS:
        heading = title or heading
        if language == "yaml":
            Path(re.match(r"# (\S+)", code)[1]).write_text(code)
        elif language == "python":
            exec(compile(code, f"docs/synthora.md: {heading}", "exec"), names)
            said[heading] = said.get(heading, "") + capsys.readouterr().out

    assert said["Ask"] == f"{fixed_text(200)}\n207 stop\n"
    assert said["Streams"] == f"{fixed_text(200)}200\n"
    assert "notes.txt' is no image" in said["Messages"]
    assert names["arguments"] == {"query": "foxes"}
    assert (
        names["toolsmith"].run([names["question"], names["asked"], names["result"]]).content.startswith("The tool says")
    )
    assert said["Structured output"] == "Paris\n"
    assert said["What it cost"] == f"{(7 * 0.15 + 200 * 0.6) / 1e6}\n"
    assert names["counter"].tokens == 27
    assert "gpt-4o-mini is asked 1 message(s)" in said["Be told"]
    assert "the quick brown fox" in said["Be told"]
    assert said["Other backends"] == "Hello from the tiny test model.\n"
    assert names["again"].content == names["first"].content
    assert names["helper"].name == "helper"
    for name in ("model", "toolsmith", "told", "careful"):
        names[name].close()


def test_all_that_is_public_is_named_on_the_page():
    from synthora import models

    missing = [name for name in models.__all__ if name.endswith(("Backend", "Limiter", "Store")) and name not in PAGE]
    assert missing == ["BaseModelBackend", "MemoryStore", "WrapperBackend"]
