"""The stage that turns stored messages into a provider's: texts, pictures, earlier thinking left out."""

from typing import Any

from open_webui.chat.turn import Draft, Turn


def history(turn: Turn, draft: Draft) -> Draft:
    """Adds the conversation up to the question."""
    messages = [message for raw in turn.history if (message := provider_message(raw)) is not None]
    return Draft(messages=draft.messages + tuple(messages), fields=draft.fields)


def provider_message(raw: dict[str, Any]) -> dict[str, Any] | None:
    """One message for a provider from one of the wire; None for an answer that says nothing."""
    role = raw.get("role")
    if role == "assistant":
        text = _answer_text(raw)
        return {"role": "assistant", "content": text} if text else None
    if role not in ("user", "system", "tool", "developer"):
        return None
    content = raw.get("content")
    if role == "user":
        pictures = _pictures(raw.get("files"))
        if pictures and isinstance(content, str):
            return {"role": "user", "content": [{"type": "text", "text": content}, *pictures]}
    out = {"role": role, "content": content if content is not None else ""}
    for name in ("name", "tool_call_id"):
        if isinstance(raw.get(name), str):
            out[name] = raw[name]
    return out


def _answer_text(raw: dict[str, Any]) -> str:
    """What an answer said, from its content or, where only `output` is given, from its message items."""
    content = raw.get("content")
    if isinstance(content, str) and content:
        return content
    return "".join(
        part["text"]
        for item in _dicts(raw.get("output"))
        if item.get("type") == "message"
        for part in _dicts(item.get("content"))
        if isinstance(part.get("text"), str)
    )


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _pictures(files: Any) -> list[dict[str, Any]]:
    """The pictures among a message's files, as data URLs; other addresses are for the file stage, which comes later."""
    out = []
    for file in _dicts(files):
        if file.get("type") == "image" or str(file.get("content_type", "")).startswith("image/"):
            url = file.get("url")
            if isinstance(url, str) and url.startswith(("data:image/", "https://", "http://")):
                out.append({"type": "image_url", "image_url": {"url": url}})
    return out
