"""What comes from an OpenAI-compatible provider: checked, and changed from one kind of completion into the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeGuard, cast

from llamaforge.events import lenient
from llamaforge.events.openai import error_of
from llamaforge.exceptions import APIConnectionError, APIError
from llamaforge.formats.completions import Json, choices_of, chunk_text


class Ending:
    """Watches a stream: every chunk must be one, and the answer must come to its end."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._said = self._finished = self._marked = False
        self._last: Json = {}

    def watch(self, stream: Any) -> Any:
        """A stream of the SDK, sync or async, whose end mark is noted, too: the SDK tells nothing of it."""
        events: Any = getattr(stream, "_iter_events", None)

        def noted() -> Iterator[Any]:
            for event in events():
                self._marked = self._marked or event.data.startswith("[DONE]")
                yield event

        async def anoted() -> AsyncIterator[Any]:
            async for event in events():
                self._marked = self._marked or event.data.startswith("[DONE]")
                yield event

        if events is not None:
            vars(stream)["_iter_events"] = anoted if hasattr(stream, "__anext__") else noted
        return stream

    def seen(self, chunk: object) -> Json:
        """`chunk` itself. Raises APIError for what is none."""
        if not isinstance(chunk, dict) or not _are_objects(chunk.get("choices") or []):
            raise APIError(f"{self._base} sent something that is no answer.")
        for choice in choices_of(chunk):
            self._finished = self._finished or bool(choice.get("finish_reason"))
            delta = choice.get("delta")
            self._said = self._said or bool(choice.get("text") or (isinstance(delta, dict) and any(delta.values())))
            self._last = chunk
        return chunk

    def rest(self) -> list[Json]:
        """A last chunk where the provider left out why the answer ends, though its end mark came.

        Raises APIConnectionError without that mark.
        """
        if self._finished:
            return []
        if not (self._said and self._marked):
            raise APIConnectionError(f"{self._base} ended its answer in the middle.")
        nothing: Json = {"delta": {}} if "delta" in choices_of(self._last)[0] else {"text": ""}
        return [{**self._last, "choices": [{"index": 0, **nothing, "finish_reason": "stop"}]}]


def checked(answer: object, base: str) -> Json:
    """`answer` if it has data, or choices that say something, as answers have. Raises APIError."""
    if isinstance(answer, dict):
        choices = answer.get("choices")
        said = _are_objects(choices) and all(isinstance(_message(choice), dict | str) for choice in choices)
        if (choices and said) or ("data" in answer and _are_objects(answer["data"])):
            return cast("Json", answer)
        if (error := error_of(answer)) is not None:
            raise APIError(f"{base} answered with an error: {error.detail or 'it gave no reason'}", status=error.status)
    raise APIError(f"{base} sent something that is no answer.")


def _message(choice: Json) -> object:
    return choice.get("message", choice.get("text"))


def _are_objects(items: object) -> TypeGuard[list[Json]]:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def text(answer: Json) -> str:
    """The words of a whole answer of either kind."""
    return chunk_text({"choices": [{**choice, "delta": choice.get("message")} for choice in choices_of(answer)]})


def vectors(answer: Json, count: int) -> list[list[float]]:
    """The vectors in the order of the texts. Raises APIError when there are not as many."""
    items = sorted(answer.get("data", ()), key=lambda item: lenient.count(item.get("index")) or 0)
    vectors = [item.get("embedding") for item in items]
    if len(vectors) != count or not all(isinstance(vector, list) for vector in vectors):
        raise APIError(f"The provider sent {len(vectors)} vectors for {count} texts.")
    return cast("list[list[float]]", vectors)


def as_completion(answer: Json) -> Json:
    """A chat completion, or a chunk of one, as a completion without roles."""
    choices = [
        {**_common(choice), "text": text({"choices": [choice]}) or chunk_text({"choices": [choice]})}
        for choice in choices_of(answer)
    ]
    return {**answer, "object": "text_completion", "choices": choices}


def as_chat(answer: Json, said: str = "message") -> Json:
    """A completion without roles as a chat completion, or as a chunk of one (said: "delta")."""
    choices = [
        {**_common(choice), said: {"role": "assistant", "content": choice.get("text") or ""}}
        for choice in choices_of(answer)
    ]
    return {**answer, "object": f"chat.completion{'.chunk' if said == 'delta' else ''}", "choices": choices}


def _common(choice: Json) -> Json:
    return {"index": choice.get("index", 0), "logprobs": None, "finish_reason": choice.get("finish_reason")}
