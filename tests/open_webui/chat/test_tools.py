"""One round of tool calls: what tools give, what goes wrong, and how much of it happens at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from llamaforge.tools.step import MAX_RESULT_CHARS
from open_webui.chat.approval import NEVER, REFUSED, UNASKED, Approval, words_of
from open_webui.chat.tools import AT_ONCE, run_calls
from open_webui.errors import BadRequest
from open_webui.tools.port import Progress, ToolResult
from tests.open_webui.chat.conftest import Noted


class Called(msgspec.Struct):
    """chat.tools.Call."""

    call_id: str
    name: str
    arguments: str = "{}"


class Scripted:
    """A tool that does what a test says."""

    def __init__(self, act: Callable[[dict[str, Any]], Awaitable[str]], seconds: float = 5) -> None:
        self.definition = {"name": "scripted", "parameters": {"type": "object", "properties": {}}}
        self.seconds = seconds
        self._act = act

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        await progress.add_status({"description": "at it"})
        return ToolResult(text=await self._act(arguments))


async def run(tool: Scripted, *calls: Called) -> list[tuple[str, ToolResult]]:
    return await run_calls(calls or (Called("c", "t"),), {"t": tool}, Noted())


async def said(tool: Scripted, *calls: Called) -> str:
    ((_, result),) = await run(tool, *calls)
    return result.text


async def echo(arguments: dict[str, Any]) -> str:
    return str(arguments)


async def test_a_call_gets_its_arguments_and_may_tell_its_progress() -> None:
    progress = Noted()
    results = await run_calls([Called("c", "t", '{"city":"Rome"}')], {"t": Scripted(echo)}, progress)
    assert results == [("c", ToolResult(text="{'city': 'Rome'}"))]
    assert progress.statuses == [{"description": "at it"}]


async def test_results_stand_in_the_order_of_the_calls_and_not_of_their_ends() -> None:
    first = asyncio.Event()

    async def act(arguments: dict[str, Any]) -> str:
        if arguments["n"] == 0:
            await first.wait()
        first.set()
        return str(arguments["n"])

    results = await run(Scripted(act), Called("a", "t", '{"n":0}'), Called("b", "t", '{"n":1}'))
    assert [(i, r.text) for i, r in results] == [("a", "0"), ("b", "1")]


async def test_only_some_run_at_once() -> None:
    running = most = 0

    async def act(_arguments: dict[str, Any]) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return ""

    await run(Scripted(act), *(Called(str(n), "t") for n in range(3 * AT_ONCE)))
    assert most == AT_ONCE


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
async def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert await said(Scripted(echo), Called("c", "t", arguments)) == "{}"


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", '"x"', "null", "{'a': 1}", "\ud800", "[" * 5_000])
async def test_other_arguments_are_told_to_the_model(arguments: str) -> None:
    ((_, result),) = await run(Scripted(echo), Called("c", "t", arguments))
    assert result.failed
    assert "JSON" in result.text


async def test_an_unknown_tool_is_told_with_the_names_that_there_are() -> None:
    ((_, result),) = await run(Scripted(echo), Called("c", "other"))
    assert result == ToolResult(text="There is no tool 'other'. There are: t.", failed=True)


async def test_what_a_tool_raises_is_a_result(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_arguments: dict[str, Any]) -> str:
        raise BadRequest("There is no such city.")

    async def break_down(_arguments: dict[str, Any]) -> str:
        raise ValueError("secret")

    async def time_out(_arguments: dict[str, Any]) -> str:
        raise TimeoutError

    assert await said(Scripted(refuse)) == "There is no such city."
    assert await said(Scripted(break_down)) == "The tool failed (ValueError)."
    assert await said(Scripted(time_out)) == "The tool failed (TimeoutError)."
    assert "a tool failed" in caplog.text


async def test_a_tool_that_takes_too_long_is_ended() -> None:
    ended = asyncio.Event()

    async def hang(_arguments: dict[str, Any]) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    assert await said(Scripted(hang, seconds=0.01)) == "The tool did not answer within 0.01 seconds."
    assert ended.is_set()


async def test_a_stop_ends_all_calls() -> None:
    here, left = asyncio.Event(), []

    async def hang(arguments: dict[str, Any]) -> str:
        here.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.append(arguments["n"])
        return ""

    task = asyncio.create_task(run(Scripted(hang), Called("a", "t", '{"n":0}'), Called("b", "t", '{"n":1}')))
    await here.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(left) == [0, 1]


async def test_a_long_result_is_cut() -> None:
    async def much(_arguments: dict[str, Any]) -> str:
        return "x" * (MAX_RESULT_CHARS + 1)

    text = await said(Scripted(much))
    assert text.startswith("x" * MAX_RESULT_CHARS + "\n[")
    assert len(text) < MAX_RESULT_CHARS + 200


@pytest.mark.parametrize(
    ("said", "text"),
    [(True, "{}"), ("once", "{}"), ("always", "{}"), (False, REFUSED), (None, REFUSED), ("yes", REFUSED), ([1], REFUSED),
     ("never", NEVER.format("t")), (BadRequest("gone"), f"{UNASKED} gone")],
)  # fmt: skip
async def test_a_call_waits_until_the_person_allows_it(said: Any, text: str) -> None:
    progress = Noted()
    progress.says = said
    approval = Approval(ask=True)
    ((_, result),) = await run_calls([Called("c", "t")], {"t": Scripted(echo)}, progress, approval=approval)
    assert (result.text, result.failed) == (text, text != "{}")
    ((kind, data),) = progress.asked
    assert (kind, data["tool_call"]) == ("confirmation", {"id": "c", "name": "t", "arguments": {}})


@pytest.mark.parametrize("word", ["always", "never"])
async def test_what_was_said_of_a_tool_counts_for_its_next_calls_and_is_kept(word: str) -> None:
    progress, kept = Noted(), []
    progress.says = word

    async def remember(name: str, said: str) -> None:
        kept.append((name, said))
        raise BadRequest("The chat is gone.")

    approval = Approval(ask=True, remember=remember)
    for _ in range(2):
        ((_, result),) = await run_calls([Called("c", "t")], {"t": Scripted(echo)}, progress, approval=approval)
        assert result.failed == (word == "never")
    assert len(progress.asked) == 1
    assert kept == [("t", word)]


async def test_never_counts_where_nobody_is_asked() -> None:
    approval, progress = Approval(said={"t": "never"}), Noted()
    ((_, result),) = await run_calls([Called("c", "t")], {"t": Scripted(echo)}, progress, approval=approval)
    assert result == ToolResult(text=NEVER.format("t"), failed=True)
    assert progress.asked == []


@pytest.mark.parametrize("odd", [None, 7, "always", ["t"], {"t": 1, "u": None, "v": {}, "w": "ALWAYS"}])
def test_odd_words_of_tools_are_none(odd: Any) -> None:
    assert words_of({"tool_approvals": odd}) == {}


async def test_arguments_that_do_not_fit_are_corrected_before_anybody_is_asked() -> None:
    tool, progress = Scripted(echo), Noted()
    tool.definition["parameters"] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    for arguments in ("{}", '{"n": "x"}'):
        ((_, result),) = await run_calls(
            [Called("c", "t", arguments)], {"t": tool}, progress, approval=Approval(ask=True)
        )
        assert result.failed
        assert "'n'" in result.text
    assert progress.asked == []
    assert await said(tool, Called("c", "t", '{"n": "3"}')) == "{'n': 3}"
