"""Tools over synthora's backends: the loop, its handlers, and answers that are objects."""

# ruff: noqa: ARG002 -- handlers take what they are told

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from llamaforge.exceptions import InvalidOutputError
from synthora.callbacks import AsyncCallBackHandler, BaseCallBackHandler
from synthora.messages import BaseMessage, assistant, system, user
from synthora.models import RetryBackend, ScriptedBackend
from synthora.models.scripted import Reply
from synthora.tools import arun_tools, run_tools
from synthora.types import NodeType


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def calls(*arguments: str, name: str = "add") -> Reply:
    return Reply(
        tool_calls=[{"id": f"c{n}", "function": {"name": name, "arguments": a}} for n, a in enumerate(arguments)]
    )


def given(messages: list[dict[str, Any]]) -> str:
    """An answer that says what the tools gave."""
    return ", ".join(m["content"] for m in messages if m["role"] == "tool")


class Notes(BaseCallBackHandler):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_tool_start(self, source: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("start", source.name, source.type, source.ancestor.name, args))

    def on_tool_end(self, source: Any, result: Any) -> None:
        self.seen.append(("end", result.unwrap()))

    def on_tool_error(self, source: Any, result: Any) -> None:
        self.seen.append(("error", type(result.unwrap_err()).__name__, result.unwrap_err_val()))


@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_run_and_the_answer_comes(stream: bool) -> None:
    backend = ScriptedBackend(answers=[calls('{"a":1,"b":2}', '{"a":3,"b":4}'), given])
    answer = run_tools(backend, [system("Be short."), user("1+2, 3+4?")], [add], stream=stream)
    assert (answer.message.content, answer.rounds) == ("3, 7", 2)
    assert [message.role for message in answer.messages] == [
        "system", "user", "assistant", "tool_response", "tool_response", "assistant",
    ]  # fmt: skip
    assert backend.requests[0]["tools"][0]["function"]["description"] == "Adds two numbers."


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_without_blocking(stream: bool) -> None:
    async def slow(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a * b

    backend = ScriptedBackend(answers=[calls('{"a":6,"b":7}', name="slow"), given])
    answer = await arun_tools(backend, user("6*7?"), [slow], stream=stream)
    assert answer.message.content == "42"


def test_handlers_are_told_of_each_call() -> None:
    notes = Notes()
    backend = ScriptedBackend(answers=[calls('{"a":1,"b":2}'), calls('{"a":1}'), given], handlers=[notes], name="m")
    run_tools(RetryBackend(backend), user("?"), [add])
    assert notes.seen[:2] == [("start", "add", NodeType.TOOL, "m", ({"a": 1, "b": 2},)), ("end", 3)]
    assert notes.seen[3][:2] == ("error", "ToolError")
    assert "b: Field required" in notes.seen[3][2]


async def test_asynchronous_handlers_are_awaited() -> None:
    loop, seen = asyncio.get_running_loop(), []

    class Later(AsyncCallBackHandler):
        async def on_tool_end(self, source: Any, result: Any) -> None:
            assert asyncio.get_running_loop() is loop
            seen.append(result.unwrap())

    backend = ScriptedBackend(answers=[calls('{"a":1,"b":2}'), given], handlers=[Later()])
    await arun_tools(backend, user("?"), [add])
    assert seen == [3]


class City(BaseModel):
    name: str


@pytest.mark.parametrize("stream", [False, True])
def test_an_object_that_does_not_fit_is_asked_for_again(stream: bool) -> None:
    backend = ScriptedBackend(answers=["Rome, I think", '{"name": "Rome"}'])
    answer = run_tools(backend, user("?"), [], response_format=City, stream=stream)
    assert answer.output == City(name="Rome")
    assert "City" in backend.requests[1]["messages"][-1]["content"]


async def test_an_object_that_never_fits_is_an_error() -> None:
    backend = ScriptedBackend(answers=["a", "b"])
    with pytest.raises(InvalidOutputError):
        await arun_tools(backend, user("?"), [], response_format=City, retries=1)


def test_the_conversation_can_go_on_with_the_answers_messages() -> None:
    backend = ScriptedBackend(answers=[calls('{"a":1,"b":2}'), given, "again"])
    first = run_tools(backend, user("?"), [add])
    more = run_tools(backend, [*first.messages, user("And?")], [add])
    assert more.message.content == "again"
    assert isinstance(first.messages[2], BaseMessage)
    assert assistant("3").content == first.message.content
