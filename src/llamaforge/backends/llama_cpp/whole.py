"""The chunks of an answer put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llamaforge.formats.completions import Json


def whole_text(chunks: Iterable[Json]) -> Json:
    """The chunks of a plain completion as one."""
    answer: Json = {}
    texts: list[str] = []
    probabilities: list[Any] = []
    reason: str | None = None
    for chunk in chunks:
        answer |= chunk
        for choice in chunk["choices"]:
            texts.append(choice["text"])
            probabilities += (choice.get("logprobs") or {}).get("content") or ()
            reason = choice["finish_reason"] or reason
    logprobs = {"content": probabilities} if probabilities else None
    whole = {"index": 0, "text": "".join(texts), "logprobs": logprobs, "finish_reason": reason}
    return {**answer, "choices": [whole]}


def whole_chat(chunks: Iterable[Json]) -> Json:
    """The chunks of a chat completion as one."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: dict[int, Json] = {}
    answer: Json = {}
    probabilities: list[Any] = []
    reason: str | None = None
    for chunk in chunks:
        answer |= chunk
        for choice in chunk["choices"]:
            delta = choice["delta"]
            texts.append(delta.get("content") or "")
            thoughts.append(delta.get("reasoning_content") or "")
            for part in delta.get("tool_calls") or ():
                _add_call(calls, part)
            probabilities += (choice.get("logprobs") or {}).get("content") or ()
            reason = choice["finish_reason"] or reason
    text = "".join(texts)
    message: Json = {"role": "assistant", "content": text if text or not calls else None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    logprobs = {"content": probabilities} if probabilities else None
    whole = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
    return {**answer, "object": "chat.completion", "choices": [whole]}


def _add_call(calls: dict[int, Json], part: Json) -> None:
    call = calls.setdefault(part["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call["id"] = part.get("id") or call["id"]
    function = part.get("function") or {}
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""
