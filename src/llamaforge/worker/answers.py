"""Chunks of an answer put together into a whole one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]


def assemble(chunks: Iterable[Json]) -> Json:
    """The whole answer that the chunks of a completion or chat completion amount to; they must be at least one."""
    whole: Json = {}
    texts: list[str] = []
    message: Json = {"role": "assistant", "content": None}
    reason: str | None = None
    chat = False
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if name != "choices"}
        for choice in chunk.get("choices") or ():
            reason = choice.get("finish_reason") or reason
            if "delta" in choice:
                chat = True
                _add(message, choice["delta"])
            else:
                texts.append(choice.get("text") or "")
    if chat:
        whole["object"] = "chat.completion"
        if message["content"] is None and "tool_calls" not in message:
            message["content"] = ""
        made: Json = {"message": message}
    else:
        made = {"text": "".join(texts)}
    whole["choices"] = [{"index": 0, **made, "logprobs": None, "finish_reason": reason}]
    return whole


def _add(message: Json, delta: Json) -> None:
    for name in ("content", "reasoning_content"):
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    for part in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        place = part.get("index", len(calls))
        while len(calls) <= place:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[place], part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def split_usage(chunk: Json, *, wanted: bool) -> Iterator[Json]:
    """A chunk as OpenAI streams it: usage in a last chunk of its own, without choices, and only for who asked for it."""
    if "usage" not in chunk:
        yield chunk
        return
    usage = chunk["usage"]
    if chunk.get("choices"):
        yield {name: value for name, value in chunk.items() if name != "usage"}
    if wanted and usage is not None:
        yield {**chunk, "choices": [], "usage": usage}
