"""What a model may call while it answers: the tools of one answer, and one round of calls to them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from llamaforge.exceptions import ToolError
from llamaforge.tools.step import CallLike, bind, shorten
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Calls of one round that run at the same time; the others wait for one of them.
AT_ONCE: Final = 8


class Progress(Protocol):
    """What a running tool may tell whoever waits for the answer."""

    async def add_status(self, status: dict[str, Any]) -> None:
        """Shows and stores one entry of the answer's `statusHistory`."""
        ...

    async def add_source(self, source: dict[str, Any]) -> None:
        """Shows and stores one of the answer's sources, in the form of contract/socket.md."""
        ...


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a call gave. text: for the model. files, embeds: for the page, in the wire's form. failed: it did not work."""

    text: str
    files: tuple[dict[str, Any], ...] = ()
    embeds: tuple[str, ...] = ()
    failed: bool = False


class Tool(Protocol):
    """Something that a model may call.

    definition: OpenAI's function object (name, description, parameters). seconds: how long one call may take.
    """

    definition: dict[str, Any]
    seconds: float

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """One call. An OuiError's sentence goes to the model; cancelling it is a person's stop."""
        ...


async def run_calls(
    calls: Sequence[CallLike], tools: Mapping[str, Tool], progress: Progress
) -> list[tuple[str, ToolResult]]:
    """The results of one round, by call id, in the order of the calls. What goes wrong is a result that says so."""
    free = asyncio.Semaphore(AT_ONCE)

    async def run(call: CallLike) -> tuple[str, ToolResult]:
        async with free:
            return call.call_id, _bounded(await _run(call, tools, progress))

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(call), name=f"tool {call.name[:50]}") for call in calls]
    return [task.result() for task in running]


async def _run(call: CallLike, tools: Mapping[str, Tool], progress: Progress) -> ToolResult:
    try:
        bound = bind(call, tools)
    except ToolError as error:
        return _failed(str(error))
    tool = bound.tool
    try:
        async with asyncio.timeout(tool.seconds) as limit:
            return await tool.run(bound.arguments, progress)
    except OuiError as error:
        return _failed(error.detail)
    except Exception as error:
        # A tool is other people's code: what it raises is for the model to hear, and must not end the answer.
        if isinstance(error, TimeoutError) and limit.expired():
            return _failed(f"The tool did not answer within {tool.seconds:g} seconds.")
        log.exception("a tool failed", tool=call.name)
        return _failed(f"The tool failed ({type(error).__name__}).")


def _failed(text: str) -> ToolResult:
    return ToolResult(text=text, failed=True)


def _bounded(result: ToolResult) -> ToolResult:
    text = shorten(result.text)
    return result if text is result.text else msgspec.structs.replace(result, text=text)
