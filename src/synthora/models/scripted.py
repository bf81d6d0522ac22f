"""ScriptedBackend: a model that answers as it is told. For tests and demonstrations, through the code of real ones."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from llamaforge.formats import completions
from synthora.callbacks import BaseCallBackHandler
from synthora.exceptions import ScriptEndedError
from synthora.messages import BaseMessage
from synthora.messages.parts import as_tool_call
from synthora.models.provider import Json, ProviderBackend
from synthora.types import ModelBackendType, Node


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. chunks: the text in the pieces in which it is streamed, else word by word.

    delay: seconds before each piece, or before a whole answer. error: raised instead of an end, after all pieces.
    usage: as OpenAI's API has it, in tokens. Tool calls are dictionaries or `ToolCall`s.
    """

    text: str = ""
    chunks: Sequence[str] | None = None
    tool_calls: Sequence[Any] = ()
    delay: float = 0.0
    error: Exception | None = None
    finish_reason: str | None = None
    usage: Mapping[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})

    def pieces(self) -> list[str]:
        """The text as it is streamed."""
        if self.chunks is not None:
            return list(self.chunks)
        return [piece for piece in self.text.replace(" ", " \0").split("\0") if piece]

    def reason(self) -> str:
        """The finish reason."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


Answer = str | Reply | BaseMessage | Exception | Callable[[list[Json]], Any]


class ScriptedBackend(ProviderBackend):
    """Each request takes the next answer: text, a Reply, a message, an exception to raise, or a function.

    A function gets the request's messages (OpenAI's dictionaries) and returns any of the others. `requests` has the
    parameters of every request.
    """

    def __init__(  # noqa: PLR0917 -- in the order of the other backends
        self,
        model_type: str = "scripted",
        answers: Iterable[Answer] = (),
        source: Node | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        repeat: bool = False,
    ) -> None:
        """repeat: begin anew after the last answer, instead of raising ScriptEndedError."""
        super().__init__(model_type, source, ModelBackendType.SCRIPTED, config, name, handlers)
        self._answers = deque(answers)
        self._repeat = repeat
        self.requests: list[Json] = []

    @classmethod
    def default(cls, model_type: str = "scripted", *args: Any, **kwargs: Any) -> Self:
        """As the constructor."""
        return cls(model_type, *args, **kwargs)

    def say(self, *answers: Answer) -> None:
        """Add answers at the end."""
        self._answers.extend(answers)

    def _ask(self, parameters: Json) -> Json:
        reply = self._next(parameters)
        time.sleep(reply.delay)
        return self._whole(reply)

    async def _aask(self, parameters: Json) -> Json:
        reply = self._next(parameters)
        await asyncio.sleep(reply.delay)
        return self._whole(reply)

    def _ask_stream(self, parameters: Json) -> Iterator[Json]:
        return self._played(self._next(parameters))

    async def _aask_stream(self, parameters: Json) -> AsyncIterator[Json]:
        return self._aplayed(self._next(parameters))

    def _next(self, parameters: Json) -> Reply:
        self.requests.append(parameters)
        try:
            answer = self._answers.popleft()
        except IndexError:
            raise ScriptEndedError(f"The script of '{self.name}' has no answer left.") from None
        if self._repeat:
            self._answers.append(answer)
        if callable(answer):
            answer = answer(parameters["messages"])
        reply = _as_reply(answer)
        if reply.error is not None and not reply.pieces() and not reply.tool_calls:
            raise reply.error
        return reply

    def _played(self, reply: Reply) -> Iterator[Json]:
        for chunk in self._chunks(reply):
            time.sleep(reply.delay)
            yield chunk
        if reply.error is not None:
            raise reply.error

    async def _aplayed(self, reply: Reply) -> AsyncIterator[Json]:
        for chunk in self._chunks(reply):
            await asyncio.sleep(reply.delay)
            yield chunk
        if reply.error is not None:
            raise reply.error

    def _chunks(self, reply: Reply) -> Iterator[Json]:
        *texts, last = completions.chat_chunks(
            reply.pieces(), self.model_type, reason=reply.reason(), usage=_usage(reply.usage)
        )
        yield from texts
        for index, call in enumerate(reply.tool_calls):
            yield {**last, "usage": None, "choices": [{"index": 0, "delta": _call_delta(call, index)}]}
        if reply.error is None:
            yield last

    def _whole(self, reply: Reply) -> Json:
        if reply.error is not None:
            raise reply.error
        text = "".join(reply.pieces())
        whole = completions.chat_completion(text, self.model_type, reason=reply.reason(), usage=_usage(reply.usage))
        if reply.tool_calls:
            calls = [as_tool_call(call).to_openai() for call in reply.tool_calls]
            whole["choices"][0]["message"]["tool_calls"] = calls
        return whole


def _usage(usage: Mapping[str, int]) -> Json:
    """Usage with its total."""
    return completions.usage_of(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))


def _as_reply(answer: Any) -> Reply:
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, Exception):
        return Reply(error=answer)
    if isinstance(answer, str):
        return Reply(answer)
    if isinstance(answer, BaseMessage):
        return Reply(answer.content or "", tool_calls=answer.tool_calls or ())
    raise TypeError(f"{answer!r} is no answer: give text, a Reply, a message or an exception.")


def _call_delta(call: Any, index: int) -> Json:
    return {"tool_calls": [{"index": index, **as_tool_call(call).to_openai()}]}
