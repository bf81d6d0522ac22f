"""ScriptedBackend: answers as told, through the same code as real ones."""

import time
from typing import get_overloads

import pytest
from pydantic import BaseModel

from synthora.exceptions import ScriptEndedError
from synthora.messages import assistant, user
from synthora.models import BaseModelBackend, ProviderBackend, Reply, ScriptedBackend, WrapperBackend

CALL = {"id": "a", "function": {"name": "add", "arguments": '{"x":1}'}}


async def test_all_kinds_of_answers():
    backend = ScriptedBackend(
        answers=[
            "hi there",
            Reply("abc", chunks=["a", "bc"]),
            assistant("said"),
            Reply(tool_calls=[CALL, {**CALL, "id": "b"}]),
            lambda messages: messages[-1]["content"].upper(),
        ]
    )
    assert [m.chunk for m in backend.run(user("x"), stream=True)] == ["hi ", "there", None]
    assert [m.chunk async for m in await backend.async_run(user("x"), stream=True)] == ["a", "bc", None]
    assert backend.run(user("x")).content == "said"
    last = list(backend.run(user("x"), stream=True))[-1]
    assert [(c.id, c.function.arguments) for c in last.tool_calls] == [("a", '{"x":1}'), ("b", '{"x":1}')]
    assert last.metadata["finish_reason"] == "tool_calls"
    assert (await backend.async_run(user("shout"))).content == "SHOUT"
    with pytest.raises(ScriptEndedError, match="no answer left"):
        backend.run(user("x"))
    assert len(backend.requests) == 6
    assert backend.requests[4]["messages"][0]["content"] == "shout"


async def test_errors():
    error = OSError("cut")
    backend = ScriptedBackend(
        answers=[error, Reply("a b", error=error), Reply("a", error=error), error, 3], repeat=False
    )
    with pytest.raises(OSError, match="cut"):
        backend.run(user("x"), stream=True)  # at once, as by a provider that refuses
    got = []
    with pytest.raises(OSError, match="cut"):
        got.extend(m.content for m in backend.run(user("x"), stream=True))
    assert got == ["a ", "a b"]
    with pytest.raises(OSError, match="cut"):
        backend.run(user("x"))
    with pytest.raises(OSError, match="cut"):
        await backend.async_run(user("x"), stream=True)
    with pytest.raises(TypeError, match="3 is no answer"):
        backend.run(user("x"))


def test_delay_usage_and_repeat():
    backend = ScriptedBackend(
        "m", [Reply("a", delay=0.02, usage={"prompt_tokens": 5, "completion_tokens": 1})], repeat=True,
        config={"prices": {"m": {"input": 1, "output": 1, "cached_input": 0}}},
    )  # fmt: skip
    started = time.monotonic()
    answers = [backend.run(user("x")), list(backend.run(user("x"), stream=True))[-1]]
    assert time.monotonic() - started >= 0.06
    assert [answer.metadata["cost"] for answer in answers] == [pytest.approx(6e-6)] * 2
    backend.say("more")


def test_structured_output():
    class Answer(BaseModel):
        ok: bool

    backend = ScriptedBackend(answers=['{"ok": true}'], config={"response_format": Answer})
    assert list(backend.run(user("x"), stream=True))[-1].parsed == Answer(ok=True)
    assert backend.requests[0]["response_format"]["json_schema"]["name"] == "Answer"


async def test_an_empty_answer():
    backend = ScriptedBackend(answers=["", ""])
    assert backend.run(user("x")).content == ""
    assert [m.content async for m in await backend.async_run(user("x"), stream=True)] == [""]


@pytest.mark.parametrize("cls", [BaseModelBackend, ProviderBackend, WrapperBackend])
def test_what_run_returns_is_typed(cls):
    """A message where `stream` is False, an iterator of them where it is True; either where the configuration decides."""
    for method, pieces in ((cls.run, "Pieces"), (cls.async_run, "AsyncPieces")):
        hints = [form.__annotations__ for form in get_overloads(method)]
        assert [(hint.get("stream"), hint["return"]) for hint in hints] == [
            ("Literal[False]", "BaseMessage"), ("Literal[True]", pieces), (None, "Any"),
        ]  # fmt: skip
