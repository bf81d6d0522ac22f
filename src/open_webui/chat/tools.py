"""One round of calls to the tools of an answer."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from llamaforge.exceptions import ToolError
from llamaforge.tools.step import CallLike, bind, shorten
from open_webui.chat.approval import Approval
from open_webui.errors import BadRequest, OuiError, ProviderError
from open_webui.internal.log import get_logger
from open_webui.tools.arguments import checked
from open_webui.tools.port import Progress, Tool, ToolResult, calling

log = get_logger(__name__)
# Calls of one round that run at the same time; the others wait for one of them.
AT_ONCE: Final = 8
# How providers say that a model takes no tools: 404 where no server of the model does.
_REFUSALS: Final = frozenset({400, 404, 422, 500, 501})
_TOOL_WORDS: Final = re.compile(r"\btools?\b|\btool[_ -]?(choice|use|call)|\bfunction[_ -]?call", re.IGNORECASE)


# Keeps a result that is too long for the model: its tool's name and the result, as the model gets it.
Keep = Callable[[str, ToolResult], Awaitable[ToolResult]]


async def run_calls(
    calls: Sequence[CallLike],
    tools: Mapping[str, Tool],
    progress: Progress,
    *,
    approval: Approval | None = None,
    keep: Keep | None = None,
) -> list[tuple[str, ToolResult]]:
    """The results of one round, by call id, in the order of the calls. What goes wrong is a result that says so.

    approval: whether a call may run. keep: of a result that is too long.
    """
    free = asyncio.Semaphore(AT_ONCE)

    async def run(call: CallLike) -> tuple[str, ToolResult]:
        async with free:
            result = await _run(call, tools, progress, approval)
            return call.call_id, _bounded(result if keep is None else await keep(call.name, result))

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(call), name=f"tool {call.name[:50]}") for call in calls]
    return [task.result() for task in running]


async def _run(call: CallLike, tools: Mapping[str, Tool], progress: Progress, approval: Approval | None) -> ToolResult:
    try:
        bound = bind(call, tools)
        tool, arguments = bound.tool, checked(bound.tool.definition, bound.arguments)
    except (ToolError, BadRequest) as error:
        return _failed(str(error))
    # Each call has a task of its own.
    calling.set(call.call_id)
    if approval is not None:
        refused = await approval.refusal(call.call_id, call.name, arguments, progress)
        if refused is not None:
            return _failed(refused)
    try:
        async with asyncio.timeout(tool.seconds) as limit:
            return await tool.run(arguments, progress)
    except OuiError as error:
        return _failed(error.detail)
    except Exception as error:
        # A tool is other people's code: what it raises is for the model to hear, and must not end the answer.
        if isinstance(error, TimeoutError) and limit.expired():
            return _failed(f"The tool did not answer within {tool.seconds:g} seconds.")
        log.exception("a tool failed", tool=call.name)
        return _failed(f"The tool failed ({type(error).__name__}).")


def refuses_tools(error: ProviderError) -> bool:
    """Whether a provider refused a request since its model takes no tools."""
    return error.status in _REFUSALS and _TOOL_WORDS.search(error.detail) is not None


def _failed(text: str) -> ToolResult:
    return ToolResult(text=text, failed=True)


def _bounded(result: ToolResult) -> ToolResult:
    text = shorten(result.text)
    return result if text is result.text else msgspec.structs.replace(result, text=text)
