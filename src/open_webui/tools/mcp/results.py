"""What an MCP server gives, as a model and a page take it."""

from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.tools.openapi import MAX_SCHEMA, MAX_TEXT, tool_name
from open_webui.tools.port import ToolResult

# Characters of one resource that a model may come to read, and of a prompt.
MAX_RESOURCE: Final = 1_000_000
MAX_PROMPT: Final = 200_000
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MOST_PICTURES: Final = 20


def definition(server_id: str, tool: dict[str, Any]) -> dict[str, Any] | None:
    """The function that a model sees; its name begins with the server's, since many have a `search`. None: it is too large."""
    schema = tool.get("inputSchema")
    described = {
        "name": tool_name(f"{server_id}_{tool.get('name')}"),
        "description": str(tool.get("description") or tool.get("title") or "")[:MAX_TEXT],
        "parameters": schema if isinstance(schema, dict) else {"type": "object", "properties": {}},
    }
    return described if len(msgspec.json.encode(described)) <= MAX_SCHEMA else None


def result_of(value: dict[str, Any]) -> ToolResult:
    """The result of a `tools/call`."""
    texts: list[str] = []
    files: list[dict[str, Any]] = []
    for block in value.get("content") or ():
        if isinstance(block, dict):
            _take(block, texts, files)
    structured = value.get("structuredContent")
    if structured is not None and not any(texts):
        texts.append(msgspec.json.encode(structured).decode())
    text = "\n\n".join(text for text in texts if text) or "Done; the server said nothing."
    return ToolResult(
        text=text,
        files=tuple(files),
        failed=value.get("isError") is True,
        blocks=tuple(block for block in value.get("content") or () if isinstance(block, dict)),
        structured=structured if isinstance(structured, dict) else None,
    )


def resource_of(value: dict[str, Any]) -> ToolResult:
    """The result of a `resources/read`: texts as they are, pictures as files, of anything else what it is."""
    contents = [one for one in value.get("contents") or () if isinstance(one, dict)]
    texts: list[str] = []
    files: list[dict[str, Any]] = []
    for one in contents:
        text = one.get("text")
        said = text if isinstance(text, str) else _media(one.get("mimeType"), one.get("blob"), files)
        texts.append(said if len(contents) == 1 else f"{one.get('uri')}:\n{said}")
    text = "\n\n".join(texts) or "The resource is empty."
    if len(text) > MAX_RESOURCE:
        text = f"{text[:MAX_RESOURCE]}\n[The resource has {len(text):,} characters. The rest was left out.]"
    blocks = tuple({"type": "resource", "resource": one} for one in contents)
    return ToolResult(text=text, files=tuple(files), blocks=blocks)


def prompt_of(value: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """The text of a `prompts/get` and its pictures. Where others speak than the person, it says who does.

    Raises BadRequest for one that is too long.
    """
    texts: list[str] = []
    files: list[dict[str, Any]] = []
    messages = [one for one in value.get("messages") or () if isinstance(one, dict)]
    others_speak = any(one.get("role") != "user" for one in messages)
    for message in messages:
        content = message.get("content")
        parts: list[str] = []
        for block in content if isinstance(content, list) else [content]:
            if isinstance(block, dict):
                _take_of_prompt(block, parts, files)
        said = "\n\n".join(part for part in parts if part)
        if said:
            texts.append(f"{str(message.get('role')).capitalize()}: {said}" if others_speak else said)
    text = "\n\n".join(texts)
    if len(text) > MAX_PROMPT:
        raise BadRequest(f"The prompt has more than {MAX_PROMPT:,} characters.")
    return text, files


def _take_of_prompt(block: dict[str, Any], texts: list[str], files: list[dict[str, Any]]) -> None:
    """A picture goes along with the message, and needs no word in it."""
    count = len(files)
    said: list[str] = []
    _take(block, said, files)
    if len(files) == count:
        texts += said


def _take(block: dict[str, Any], texts: list[str], files: list[dict[str, Any]]) -> None:
    match block.get("type"):
        case "text":
            texts.append(str(block.get("text") or ""))
        case "image" | "audio":
            texts.append(_media(block.get("mimeType"), block.get("data"), files))
        case "resource_link":
            parts = (block.get("title") or block.get("name"), block.get("uri"), block.get("description"))
            texts.append(" - ".join(str(part) for part in parts if part))
        case "resource":
            resource = block.get("resource")
            if not isinstance(resource, dict):
                return
            if isinstance(text := resource.get("text"), str):
                texts.append(f"{resource.get('uri')}:\n{text}")
            else:
                texts.append(f"{resource.get('uri')}: {_media(resource.get('mimeType'), resource.get('blob'), files)}")


def _media(mime: Any, data: Any, files: list[dict[str, Any]]) -> str:
    """A picture is kept for the page; of anything else is said what it is."""
    if mime in _PICTURES and isinstance(data, str) and len(files) < MOST_PICTURES:
        files.append({"type": "image", "url": f"data:{mime};base64,{data}"})
        return "A picture, which the person sees."
    size = len(data) * 3 // 4 if isinstance(data, str) else 0
    return f"{size:,} bytes of type {mime}, which are not shown."
