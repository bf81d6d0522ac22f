"""Filters of pipelines servers: what they make of a question before a model reads it, and of an answer before it is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from open_webui.connections.base import RemoteFilter, Target
from open_webui.connections.gate import Gate
from open_webui.connections.pipelines import FilterAway
from open_webui.errors import BadRequest, OuiError
from open_webui.internal.log import get_logger
from open_webui.principal import Principal

log = get_logger(__name__)
# What a filter is shown of a request and can't change by it.
FIXED: Final = frozenset({"model", "messages", "stream", "metadata", "files", "chat_id", "id", "session_id", "user"})
NOT_A_PROMPT: Final = (
    "The filters of this model made a conversation of the prompt, which this address has no place for."
    " Send it as a chat."
)


async def inlet(
    gate: Gate, principal: Principal, target: Target, body: dict[str, Any], metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A request after all filters of the model; the same one where there are none. metadata: what filters are told besides.

    Raises OuiError where one refuses it, or can't be asked and has to be.
    """
    filters = gate.models.remote_filters(target)
    if not filters:
        return body
    shown = body | {
        "model": target.model_id,
        "metadata": {"user_id": principal.id, "chat_id": None, "message_id": None} | dict(metadata or {}),
    }
    for one in filters:
        try:
            shown = await gate.filter(principal, one, "inlet", shown)
        except FilterAway as error:
            if one.required:
                raise
            log.warning("a question went to its model without a filter", filter=one.entry.name, why=error.detail)
    kept = {name: body[name] for name in FIXED & body.keys()}
    return kept | {name: shown[name] for name in shown.keys() - FIXED} | {"messages": shown["messages"]}


async def outlet(
    gate: Gate,
    principal: Principal,
    filters: Sequence[RemoteFilter],
    body: dict[str, Any],
    failed: Callable[[OuiError], Awaitable[None]],
) -> dict[str, Any]:
    """An answer after these filters. One that fails changes nothing, and what the others made of it stays. failed: hears why."""
    for one in filters:
        try:
            body = await gate.filter(principal, one, "outlet", body)
        except OuiError as error:
            log.info("a pipelines server's filter failed after an answer", reason=error.detail)
            await failed(error)
    return body


def as_conversation(payload: Mapping[str, Any], pictures: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """A prompt, its system prompt and its pictures (parts of a message) as the messages that filters look at."""
    system, prompt = payload.get("system"), payload.get("prompt")
    first = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    text = prompt if isinstance(prompt, str) else ""
    content = [{"type": "text", "text": text}, *pictures] if pictures else text
    return [*first, {"role": "user", "content": content}]


def as_prompt(messages: Sequence[Any]) -> dict[str, Any]:
    """The same back again. Raises BadRequest for what is no prompt any more."""
    roles = [one.get("role") if isinstance(one, dict) else None for one in messages]
    if roles not in (["user"], ["system", "user"]):
        raise BadRequest(NOT_A_PROMPT)
    text, pictures = _taken_apart(messages[-1].get("content"))
    out: dict[str, Any] = {"prompt": text} | ({"images": pictures} if pictures else {})
    if len(messages) == 2:
        if not isinstance(system := messages[0].get("content"), str):
            raise BadRequest(NOT_A_PROMPT)
        out["system"] = system
    return out


def _taken_apart(content: Any) -> tuple[str, list[str]]:
    """The text of a message and its pictures, as base64. Raises BadRequest for anything else in it."""
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    pictures: list[str] = []
    for part in content if isinstance(content, list) else [None]:
        said = part if isinstance(part, dict) else {}
        address = said.get("image_url")
        url = address.get("url") if isinstance(address, dict) else None
        if said.get("type") == "text" and isinstance(text := said.get("text"), str):
            texts.append(text)
        elif said.get("type") == "image_url" and isinstance(url, str) and url.startswith("data:"):
            pictures.append(url.partition(",")[2])
        else:
            raise BadRequest(NOT_A_PROMPT)
    return "".join(texts), pictures
