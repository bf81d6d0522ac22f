"""Side questions to a model (titles, tags, follow-ups): which model is asked, and one call without a stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from open_webui.chat import prompts
from open_webui.chat.delivery.record import Recorder, call_of
from open_webui.chat.wire import decode, usage_of
from open_webui.config import Config
from open_webui.connections.base import Models, Target
from open_webui.errors import ProviderError
from open_webui.principal import Principal

TITLE_TOKENS: Final = 1000


def task_model(config: Config, catalogue: Models, target: Target) -> Target:
    """The model for side questions about an answer by `target`: the configured one for its kind, else itself."""
    key = "task.model.external" if target.entry.kind == "openai" else "task.model.default"
    wanted = config[key]
    found = catalogue.find(wanted) if wanted else None
    return found or target


async def ask(
    recorder: Recorder,
    principal: Principal,
    target: Target,
    prompt: str,
    *,
    fields: Mapping[str, Any] | None = None,
) -> bytes:
    """One question; returns the provider's whole answer as JSON. Raises ProviderError."""
    payload = {"stream": False, "messages": [{"role": "user", "content": prompt}], **(fields or {})}
    call, status = call_of(principal, target, "task"), 200
    whole = b""
    try:
        reply = await target.connection.open(target.entry, payload, None)
        async with reply:
            whole = await reply.whole()
    except ProviderError as error:
        status = error.status
        raise
    finally:
        recorder.count(call, status, usage_of(whole))
    return whole


def said(whole: bytes) -> str:
    """The text of a whole answer."""
    chunk = decode(whole)
    for choice in (chunk.choices if chunk else None) or ():
        message = choice.message or choice.delta
        if message is not None and message.content:
            return message.content
    return ""


def conversation(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Role and text of messages that people or models wrote."""
    return [
        {"role": m.get("role"), "content": prompts.plain_text(m.get("content"))}
        for m in messages
        if m.get("role") in ("user", "assistant")
    ]
