"""The ends of an answer, each in the order of the contract: stored before anybody is told of it."""

from typing import Any, Final

from open_webui.chat.running import RunningAnswer
from open_webui.errors import OuiError
from open_webui.models.messages import MessageRow

INTERRUPTED: Final = (
    "The server stopped while this answer was being written. What had arrived is kept; continue or regenerate it."
)


async def complete(running: RunningAnswer) -> None:
    """The end of a whole answer."""
    reducer, sender = running.answer, running.sender
    running.say(reducer.close("completed"))
    await sender.flush()
    choice = {"index": 0, "delta": {}, "finish_reason": reducer.finish_reason or "stop"}
    await sender.event("chat:completion", running.turn.chunk(choice))
    if reducer.usage is not None:
        await sender.event("chat:completion", {"usage": reducer.usage})
    running.is_complete = True
    await running.finish()
    done: dict[str, Any] = {"done": True, "output": reducer.output()}
    if reducer.usage is not None:
        done["usage"] = reducer.usage
    if running.turn.is_temporary:
        done["title"] = ""
    else:
        await sender.event("chat:list", {"chat_id": running.turn.chat_id, "folder_id": running.turn.folder_id})
        done["title"] = await running.titled()
    await sender.wait_for_reply()
    await sender.event("chat:completion", done)


async def fail(running: RunningAnswer, error: OuiError) -> None:
    """The end of an answer that failed: the part that arrived stays, the reason beside it."""
    sender = running.sender
    running.say(running.answer.close("incomplete"))
    await sender.flush()
    reason = {"content": error.detail}
    await running.finish({"error": reason})
    await sender.wait_for_reply()
    await sender.event("chat:message:error", {"error": reason, "done": True})


async def stopped(running: RunningAnswer) -> None:
    """The end of an answer that a person stopped."""
    sender = running.sender
    running.answer.close("incomplete")
    await running.finish()
    await sender.ordered("chat:tasks:cancel", {"output": running.answer.output()})
    await sender.event("chat:tasks:cancel")


async def interrupted(running: RunningAnswer) -> None:
    """The end of an answer that the server's own end cut short."""
    running.answer.close("incomplete")
    await running.finish(interruption(running.body))
    await running.sender.ordered("chat:message:error", {"error": {"content": INTERRUPTED}, "done": True})


async def taken(running: RunningAnswer, row: MessageRow | None) -> None:
    """The end of an answer that another process has ended: what that stored is told. row: the message, if it is there."""
    if row is not None and not row.done:
        # It is being answered anew.
        return
    body = {} if row is None else row.body
    if error := body.get("error"):
        await running.sender.ordered("chat:message:error", {"error": error, "done": True})
        return
    await running.sender.ordered("chat:tasks:cancel", {"output": body.get("output") or running.answer.output()})
    await running.sender.event("chat:tasks:cancel")


def interruption(body: dict[str, Any]) -> dict[str, Any]:
    """What marks a message as interrupted."""
    return {"error": {"content": INTERRUPTED}, "meta": {**(body.get("meta") or {}), "interrupted": True}}
