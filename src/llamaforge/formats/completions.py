"""OpenAI's shapes, which every backend speaks beside plain text: chunks, whole answers, usage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]


def new_id(prefix: str) -> str:
    """A fresh id such as "chatcmpl-…"."""
    return f"{prefix}-{uuid.uuid4().hex}"


def chat_chunks(
    pieces: Iterable[str], model: str, *, reason: str = "stop", usage: Json | None = None
) -> Iterator[Json]:
    """Pieces of text as the chunks of a chat completion, the last one with its finish reason and usage."""
    head = {"id": new_id("chatcmpl"), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    first: Json = {"role": "assistant"}
    for piece in pieces:
        yield {**head, "choices": [{"index": 0, "delta": {**first, "content": piece}, "finish_reason": None}]}
        first = {}
    last: Json = {**head, "choices": [{"index": 0, "delta": first, "finish_reason": reason}]}
    yield last if usage is None else {**last, "usage": usage}


def text_chunks(
    pieces: Iterable[str], model: str, *, reason: str = "stop", usage: Json | None = None
) -> Iterator[Json]:
    """Pieces of text as the chunks of a plain completion."""
    head = {"id": new_id("cmpl"), "object": "text_completion", "created": int(time.time()), "model": model}
    for piece in pieces:
        yield {**head, "choices": [{"index": 0, "text": piece, "logprobs": None, "finish_reason": None}]}
    last: Json = {**head, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": reason}]}
    yield last if usage is None else {**last, "usage": usage}


def chat_completion(text: str, model: str, *, reason: str = "stop", usage: Json | None = None) -> Json:
    """A whole answer as a chat completion."""
    message = {"role": "assistant", "content": text}
    whole: Json = {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
    }
    return whole if usage is None else {**whole, "usage": usage}


def text_completion(text: str, model: str, *, reason: str = "stop", usage: Json | None = None) -> Json:
    """A whole continuation as a plain completion."""
    whole: Json = {
        "id": new_id("cmpl"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}],
    }
    return whole if usage is None else {**whole, "usage": usage}


def chunk_text(chunk: Json) -> str:
    """The text that one chunk of either kind adds."""
    for choice in chunk.get("choices") or ():
        text = (choice["delta"] or {}).get("content") if "delta" in choice else choice.get("text")
        if isinstance(text, str):
            return text
    return ""


def usage_of(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Json:
    """Usage as OpenAI's API reports it, in tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
