"""What comes from an OpenAI-compatible provider: checked, and changed from one kind of completion into the other."""

from __future__ import annotations

from typing import TypeGuard, cast

from llamaforge.exceptions import APIError
from llamaforge.formats.completions import Json


class Ending:
    """Watches a stream: every chunk must be one, and the answer must come to its end."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._finished = False

    def seen(self, chunk: object) -> Json:
        """`chunk` itself. Raises APIError for what is none."""
        choices = (chunk.get("choices") or []) if isinstance(chunk, dict) else None
        if not isinstance(chunk, dict) or not _objects(choices):
            raise APIError(f"{self._base} sent something that is no answer.")
        if any(choice.get("finish_reason") for choice in choices):
            self._finished = True
        return cast("Json", chunk)

    def check(self) -> None:
        """Raises APIError unless the answer was finished."""
        if not self._finished:
            raise APIError(f"{self._base} ended its answer in the middle.")


def checked(answer: object, base: str) -> Json:
    """`answer` if it has choices or data, as answers have. Raises APIError."""
    if isinstance(answer, dict) and (_objects(answer.get("choices")) or _objects(answer.get("data"))):
        return cast("Json", answer)
    raise APIError(f"{base} sent something that is no answer.")


def _objects(items: object) -> TypeGuard[list[Json]]:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def text(answer: Json) -> str:
    """The words of a whole answer of either kind."""
    for choice in answer.get("choices", ()):
        message = choice.get("message")
        words = message.get("content") if isinstance(message, dict) else choice.get("text")
        if isinstance(words, str):
            return words
    return ""


def vectors(answer: Json, count: int) -> list[list[float]]:
    """The vectors in the order of the texts. Raises APIError when there are not as many."""
    items = sorted(answer.get("data", ()), key=lambda item: item.get("index", 0))
    vectors = [item.get("embedding") for item in items]
    if len(vectors) != count or not all(isinstance(vector, list) for vector in vectors):
        raise APIError(f"The provider sent {len(vectors)} vectors for {count} texts.")
    return cast("list[list[float]]", vectors)


def as_completion(answer: Json) -> Json:
    """A chat completion as a completion without roles."""
    choices = [
        {"index": choice.get("index", 0), "text": text({"choices": [choice]}), "logprobs": None}
        | {"finish_reason": choice.get("finish_reason")}
        for choice in answer.get("choices", ())
    ]
    return {**answer, "object": "text_completion", "choices": choices}


def as_completion_chunk(chunk: Json) -> Json:
    """A chunk of a chat completion as one of a completion without roles."""
    choices = [
        {"index": choice.get("index", 0), "text": (choice.get("delta") or {}).get("content") or "", "logprobs": None}
        | {"finish_reason": choice.get("finish_reason")}
        for choice in chunk.get("choices", ())
    ]
    return {**chunk, "object": "text_completion", "choices": choices}


def as_chat(answer: Json) -> Json:
    """A completion without roles as a chat completion."""
    choices = [
        {"index": choice.get("index", 0), "message": {"role": "assistant", "content": choice.get("text") or ""}}
        | {"logprobs": None, "finish_reason": choice.get("finish_reason")}
        for choice in answer.get("choices", ())
    ]
    return {**answer, "object": "chat.completion", "choices": choices}


def as_chat_chunk(chunk: Json) -> Json:
    """A chunk of a completion without roles as one of a chat completion."""
    choices = [
        {"index": choice.get("index", 0), "delta": {"role": "assistant", "content": choice.get("text") or ""}}
        | {"finish_reason": choice.get("finish_reason")}
        for choice in chunk.get("choices", ())
    ]
    return {**chunk, "object": "chat.completion.chunk", "choices": choices}
