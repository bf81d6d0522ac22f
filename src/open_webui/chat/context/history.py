"""The stage that turns stored messages into a provider's: texts, pictures, tool calls with their results."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from open_webui.chat.code_tags import KIND as CODE
from open_webui.chat.code_tags import came_of, tagged
from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.utils import addresses

# Providers refuse a call without a result: what an interrupted answer had asked for is answered like this.
NOT_CARRIED_OUT: Final = "This call was not carried out."


async def history(turn: Turn, draft: Draft, _context: StageContext) -> Draft:
    """Adds the conversation up to the question."""
    reasoning = turn.target.entry.returns_reasoning
    messages: list[dict[str, Any]] = []
    for raw in turn.history:
        for message in provider_messages(raw, reasoning=reasoning):
            if messages and message["role"] == "user" == messages[-1]["role"]:
                # The answer between them failed or says nothing; many templates want the roles to take turns.
                messages[-1] = _joined(messages[-1], message)
            else:
                messages.append(message)
    return replace(draft, messages=draft.messages + tuple(messages))


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two messages of a person as one."""
    texts = (first["content"], second["content"])
    if all(isinstance(text, str) for text in texts):
        return {**first, **second, "content": "\n\n".join(text for text in texts if text)}
    return {**first, **second, "content": [part for content in texts for part in _parts(content)]}


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def provider_messages(raw: dict[str, Any], *, reasoning: bool = False) -> list[dict[str, Any]]:
    """The messages for a provider of one of the wire; none for an answer that says nothing.

    An answer with tool calls becomes several: what the model said and called, the results, what it said then.
    reasoning: whether the provider wants the model's earlier thinking back.
    """
    role = raw.get("role")
    if role == "assistant":
        return _answer(raw, reasoning=reasoning)
    if role not in ("user", "system", "tool", "developer"):
        return []
    content = raw.get("content")
    if role == "user":
        pictures = _pictures(raw.get("files"))
        if pictures and isinstance(content, str):
            return [{"role": "user", "content": [{"type": "text", "text": content}, *pictures]}]
    out = {"role": role, "content": content if content is not None else ""}
    for name in ("name", "tool_call_id"):
        if isinstance(raw.get(name), str):
            out[name] = raw[name]
    return [out]


def _answer(raw: dict[str, Any], *, reasoning: bool) -> list[dict[str, Any]]:
    items = _dicts(raw.get("output"))
    content = raw.get("content")
    said = "".join(_text(item) for item in items if item.get("type") == "message")
    # A person may have changed the text; the items beside it still hold the one before.
    edited = content if isinstance(content, str) and content and content != said else None
    if edited is not None:
        items = [item for item in items if item.get("type") != "message"]
        items.append({"type": "message", "content": [{"text": edited}]})
    return round_messages(items, reasoning=reasoning)


def round_messages(items: list[dict[str, Any]], *, reasoning: bool = False) -> list[dict[str, Any]]:
    """The messages for a provider of an answer's items: of each round the model's words and calls, then the results."""
    return [message for some in _rounds(items) for message in _round(some, reasoning=reasoning)]


def _rounds(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The items of each round: a new one begins with whatever the model says after results."""
    some: list[dict[str, Any]] = []
    for item in items:
        ended = some[-1].get("type") if some else None
        if ended == CODE or (ended == "function_call_output" and item.get("type") not in {CODE, ended}):
            yield some
            some = []
        some.append(item)
    if some:
        yield some


def _round(items: list[dict[str, Any]], *, reasoning: bool) -> list[dict[str, Any]]:
    of = {
        kind: [item for item in items if item.get("type") == kind]
        for kind in ("message", "reasoning", "function_call", "function_call_output", CODE)
    }
    calls = [call for call in of["function_call"] if isinstance(call.get("call_id"), str) and call["call_id"]]
    text = "".join([*(_text(item) for item in of["message"]), *map(tagged, of[CODE])])
    if not text and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning and (thought := "".join(_text(item) for item in of["reasoning"])):
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [_tool_call(call) for call in calls]
    results = {item.get("call_id"): _text(item, "output") for item in of["function_call_output"]}
    answers = [
        {"role": "tool", "tool_call_id": i, "content": results.get(i, NOT_CARRIED_OUT)}
        for i in (call["call_id"] for call in calls)
    ]
    return [message, *answers, *({"role": "user", "content": came_of(item)} for item in of[CODE])]


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    name, arguments = call.get("name"), call.get("arguments")
    function = {
        "name": name if isinstance(name, str) else "",
        "arguments": arguments if isinstance(arguments, str) and arguments.strip() else "{}",
    }
    return {"id": call["call_id"], "type": "function", "function": function}


def _text(item: dict[str, Any], field: str = "content") -> str:
    """The text of an item's parts."""
    content = item.get(field)
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _dicts(content) if isinstance(part.get("text"), str))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _pictures(files: Any) -> list[dict[str, Any]]:
    """The pictures among a message's files: data: URLs, addresses in the web, and stored ones by their addresses here."""
    out = []
    for file in _dicts(files):
        if file.get("type") == "image" or str(file.get("content_type", "")).startswith("image/"):
            url = file.get("url")
            file_id = addresses.file_id_of(file)
            if file_id is not None:
                url = addresses.address(file_id)
            if file_id is not None or (isinstance(url, str) and url.startswith(("data:image/", "https://", "http://"))):
                out.append({"type": "image_url", "image_url": {"url": url}})
    return out
