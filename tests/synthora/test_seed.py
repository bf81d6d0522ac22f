"""The examples of the published page run as they are, one after the other, against a provider of ours.

The first uses two names that it does not import (NodeType, OpenAIChatBackend): all share one namespace, which begins with
the package's public names. The provider plays "gpt-4" and is found by OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import re
from pathlib import Path
from typing import Any

import pytest

import synthora
from tests.support.script import fixed_text

BLOCKS = re.findall(
    r"^## (.+?)\n\n```python\n(.*?)^```$",
    (Path(__file__).parent / "seed_blocks.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def names() -> dict[str, Any]:
    return {name: getattr(synthora, name) for name in synthora.__all__}


def test_all_blocks_are_here():
    assert [heading for heading, _ in BLOCKS] == [
        "default Method",
        "run Method",
        "async_run Method",
        "stream Property",
        "stream Property",
    ]


def test_the_examples(openai, names, capsys):
    openai.models = (*openai.models, "gpt-4")
    said = []
    for number, (heading, code) in enumerate(BLOCKS):
        exec(compile(code, f"block {number}: {heading}", "exec"), names)
        said.append(capsys.readouterr().out)

    created, ran, ran_async, told, switched = said
    assert created == ""
    assert names["response"].content == fixed_text(1000)
    assert fixed_text(1000) in ran
    assert fixed_text(1000) in ran_async
    assert told == "Streaming enabled: False\n"
    assert switched == "Streaming enabled.\n"

    backend = names["chat_backend"]
    assert backend.stream is True
    assert (backend.name, backend.source.ancestor) == ("ChatBackend", names["source_node"])
    hello, weather = (received.body for received in openai.chats)
    assert hello == {
        "model": "gpt-4",
        "temperature": 0.8,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "Hello, how are you?", "name": "user"}],
    }
    assert weather["messages"][0]["content"] == "What's the weather today?"
    backend.close()
