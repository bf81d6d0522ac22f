"""R23: what could end or hold a model's process is refused before it gets there, and one process lives through all of it."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamaforge.exceptions import ParameterError
from llamaforge.formats import gbnf
from llamaforge.formats.request import normalise
from tests.open_webui.llamaforge.conftest import boss, chat, folder, gguf_files, local, offered, pids, put
from tests.support.live import Actor, Live

__all__ = ["boss", "folder", "gguf_files", "local", "put"]
ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def tools(properties: int, count: int = 1) -> list[dict[str, Any]]:
    schema = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(properties)}}
    return [{"type": "function", "function": {"name": f"f{n}", "parameters": schema}} for n in range(count)]


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


HOSTILE: dict[str, dict[str, Any]] = {
    "brackets without end": {"grammar": "root ::= " + "(" * 20_000},
    "brackets that close": {"grammar": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000},
    "a few brackets too many": {"grammar": "root ::= " + "(" * 101 + '"a"' + ")" * 101},
    "a long grammar": {"grammar": "root ::= " + '"a" ' * 20_000},
    "a large repetition": {"grammar": 'root ::= "a"{1000000}'},
    "repetitions of repetitions": {"grammar": 'root ::= (("a"{200}){200}){200}'},
    "an endless repetition of many": {"grammar": 'root ::= ("ab" | [a-z]{60000,}){2,}'},
    "ways that double": {
        "grammar": "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1} r{n + 1}\n" for n in range(30)) + 'r30 ::= ""'
    },
    "ways that part": {
        "grammar": "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1} | r{n + 1}\n" for n in range(30)) + 'r30 ::= "a"'
    },
    "what may be empty twice": {"grammar": 'root ::= ("a"? | "b"?){30} "c"'},
    "9,000 alternatives": {"grammar": "root ::= " + " | ".join('"a"' for _ in range(9_000))},
    "llguidance's brackets": {"grammar": "%llguidance {}\nstart: " + "(" * 20_000},
    "llguidance's pattern": {"grammar": "%llguidance {}\nstart: /" + "(" * 20_000 + "/"},
    "a deep schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(100)}}},
    "deep parameters of a template": {"chat_template_kwargs": nested(100)},
    "deep logits": {"logit_bias": nested(100)},
    "2,000 properties": {"tools": tools(2_000)},
    "properties over many tools": {"tools": tools(10, 100)},
    "200 tools": {"tools": tools(0, 200)},
    "5,001 values in the tools": {"tools": [{**tools(0)[0], "x": [0] * 5_001}]},
    "30,000 stops": {"stop": ["x"] * 30_000},
    "30,000 logits": {"logit_bias": {str(n): 1 for n in range(30_000)}},
    "20,000 messages": {"messages": ASK * 20_000},
    "9 MB of text": {"messages": [{"role": "user", "content": "x" * 9_000_000}]},
    "9 MB of texts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 900_000}] * 10}]},
    "a deep message": {"messages": [{"role": "user", "content": [nested(100)]}]},
}
GOOD: dict[str, dict[str, Any]] = {
    "a grammar": {"grammar": 'root ::= ("yes" | "no" | [0-9]{4} "-" [0-9]{2}){1,3}'},
    "brackets as text": {"grammar": "root ::= " + " | ".join('"("' for _ in range(90))},
    "64 properties": {"tools": tools(64)},
    "100 tools": {"tools": tools(4, 100)},
    "2,000 messages": {"messages": ASK * 2_000},
    "a picture of 20 MB": {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 20_000_000}}]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(ParameterError, match=r"\.$"):
        normalise({"messages": ASK, **HOSTILE[name]}, "chat")


@pytest.mark.parametrize("name", GOOD)
def test_is_taken(name: str) -> None:
    assert normalise({"messages": ASK, **GOOD[name]}, "chat")


@pytest.mark.parametrize("kind", ["completion", "embeddings"])
def test_prompts_and_texts_to_embed_have_an_end_too(kind: Any) -> None:
    field = "prompt" if kind == "completion" else "input"
    for value in ("x" * 9_000_000, ["x"] * 300_000, [[1]] * 300_000):
        with pytest.raises(ParameterError):
            normalise({field: value}, kind)


def test_what_a_grammar_costs_is_counted() -> None:
    """Ways to the next character, and items with repetitions written out."""
    for grammar, work in (
        ('root ::= "a"', (1, 1)), ('root ::= "a"{10}', (1, 10)), ('root ::= ("a" "b"){10} "c"', (1, 21)),
        ('root ::= ("a"{10} "b"){10}', (1, 110)), ('root ::= "{100}" # {100}', (1, 5)), ("root ::= [(]{5}", (1, 5)),
        ('root ::= "a" | "b" | x\nx ::= "c" | "d"', (5, 5)), ('root ::= "a"? "b"? "c"', (3, 3)),
        ('root ::= ("a" | "b")* "c"', (3, 3)), ('root ::= "x" y y\ny ::= ("a" | "b")?', (2, 5)),
        ('root ::= ("a"?){3} "b"', (4, 4)), ('root ::= "a"{0,3} "b"', (2, 4)), ('root ::= "a"{,3} "b"', (2, 4)),
        ('root ::= "[" (root ("," root)*)? "]"', (1, 5)),
    ):  # fmt: skip
        assert gbnf._work(grammar) == work, grammar


async def test_no_request_of_a_plain_user_ends_the_process_of_others(
    local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put()
    await offered(boss.client, "tiny")
    assert (await boss.client.post("/api/chat/completions", json=chat())).status_code == 200
    [process] = pids(local)
    for name, fields in HOSTILE.items():
        reply = await boss.client.post("/api/chat/completions", json=chat() | fields)
        assert reply.status_code == 400, (name, reply.text[:300])
    # What is let in, the engine survives.
    for name, fields in itertools.chain(
        GOOD.items(), {"99 brackets": {"grammar": "root ::= " + "(" * 99 + '"a"' + ")" * 99}}.items()
    ):
        reply = await boss.client.post("/api/chat/completions", json=chat(max_tokens=3) | fields)
        assert reply.status_code < 500 or reply.status_code == 502, (name, reply.text[:300])
        assert pids(local) == [process], name
