"""The finisher that has filters look at an answer before its end is stored."""

from collections.abc import Awaitable, Callable
from typing import Any

from open_webui.chat.context.stage import StageContext
from open_webui.chat.running import RunningAnswer
from open_webui.connections import remote_filters
from open_webui.errors import OuiError


async def run_outlets(running: RunningAnswer, context: StageContext) -> None:
    """The answer's text after the outlets of its filters: those of pipelines servers, then this server's. Those who watch are
    told the messages that were changed.
    """
    gate, turn = context.services.gate, running.turn
    if remote := gate.models.remote_filters(turn.target):

        async def failed(error: OuiError) -> None:
            await context.add_status({"description": error.detail, "done": True, "error": True})

        async def ask(body: dict[str, Any]) -> dict[str, Any]:
            return await remote_filters.outlet(gate, turn.principal, remote, body, failed)

        await _through(running, ask)
    if context.filtering is not None and context.filtering.have("outlet"):
        await _through(running, context.filtering.outlet)


async def _through(running: RunningAnswer, outlet: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    turn, said = running.turn, running.answer.text
    last = {"id": turn.message_id, "role": "assistant", "content": said, "output": running.answer.output()}
    body = await outlet(
        {
            "model": turn.target.model_id,
            "messages": [*(_shown(message) for message in turn.history), last],
            "chat_id": turn.chat_id,
            "id": turn.message_id,
            "session_id": turn.session_id,
        }
    )
    changed = _said(body, turn.message_id)
    if changed is not None and changed != said:
        message = {"id": turn.message_id, "role": "assistant", "content": changed}
        await running.replace_text("chat:outlet", changed, {"messages": [message]})


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in ("id", "role", "content") if name in message}


def _said(body: dict[str, Any], message_id: str) -> str | None:
    for message in reversed(body["messages"]):
        if message.get("id") == message_id and isinstance(message.get("content"), str):
            text: str = message["content"]
            return text
    return None
