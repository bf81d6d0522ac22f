"""The tools of an answer, for the plugins that take part in it: a pipe or a filter may call them by itself (`__tools__`)."""

from typing import Any

import msgspec

from open_webui.chat.approval import Approval
from open_webui.chat.context.stage import StageContext
from open_webui.chat.tools import run_calls
from open_webui.chat.turn import Draft, Turn
from open_webui.models.base import new_id
from open_webui.tools.port import Asked, ToolResult


class _Call(msgspec.Struct, frozen=True):
    """`llamaforge.tools.step.CallLike`."""

    call_id: str
    name: str
    arguments: str


def with_tools(asked: Asked, turn: Turn, draft: Draft, context: StageContext) -> Asked:
    """What an answer wants of tools, with those that it has. A call by a plugin is one like the model's: its arguments are
    checked, a person who wants to be asked is asked, and what it shows is shown.
    """
    if not draft.tools:
        return asked
    approval = Approval.of(turn, context.services)

    async def call(name: str, arguments: dict[str, Any]) -> ToolResult:
        made = _Call(f"call_{new_id()}", name, msgspec.json.encode(arguments).decode())
        [(_, result)] = await run_calls([made], draft.tools, context, approval=approval)
        if result.files:
            await context.emit("files", {"files": list(result.files)})
        if result.embeds:
            await context.emit("embeds", {"embeds": list(result.embeds)})
        return result

    return msgspec.structs.replace(asked, tools=draft.tools, call=call)
