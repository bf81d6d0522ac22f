"""CacheBackend: the same request twice costs one answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import threading
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from llamaforge import threads
from synthora.callbacks.manager import anotify, notify
from synthora.messages import BaseMessage, Usage
from synthora.models import structured
from synthora.models.base import AsyncPieces, BaseModelBackend, Pieces
from synthora.models.wrappers.base import Json, WrapperBackend, as_list, as_openai
from synthora.models.wrappers.stores import MemoryStore, Store
from synthora.types import CallBackEvent

# The requests that this task, or one that it stems from, is asking: those of each CacheBackend by their key.
_within: ContextVar[frozenset[tuple[int, str]]] = ContextVar("_within", default=frozenset())
# How an answer travels, or what it is said to cost, does not change it.
_NOT_IN_THE_KEY = frozenset(("stream", "stream_options", "prices", "timeout"))


class CacheBackend(WrapperBackend):
    """Finished answers by everything that shapes them: provider, model, messages and parameters. Errors are not kept.

    The metadata of a kept answer have `cached: True`, and a `cost` of 0 where it had one. Handlers are told of it as of
    any other, with `cached=True`. As a stream it is one message. Whether a model should answer the same question anew
    (at a temperature above 0, say) is for you to decide: this one does not.

    Whole answers to the same request at the same time are asked for once: by threads, and by the tasks of an event loop.
    A request with a parameter that has no lasting form (a function, an object of a class of one's own) is always asked.
    """

    def __init__(self, backend: BaseModelBackend, store: Store | None = None) -> None:
        """store: in memory where left out."""
        super().__init__(backend)
        self.store = store or MemoryStore()
        self._asked: dict[tuple[int, str], tuple[int, threading.Event]] = {}
        self._aasked: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Event] = {}

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        key = self._key(messages, arguments)
        if key is None:
            return super()._whole(messages, arguments)
        if (kept := self._found(key, messages, arguments)) is not None:
            return kept
        # What a forked process finds here is asked by threads that it has not.
        place, mine = (os.getpid(), key), (threading.get_ident(), threading.Event())
        thread, answered = self._asked.setdefault(place, mine)
        try:
            if thread != mine[0]:
                answered.wait()
            # Another may have come to its end since the first look.
            if (kept := self._found(key, messages, arguments)) is not None:
                return kept
            answer = super()._whole(messages, arguments)
            self._keep(key, answer)
        finally:
            if answered is mine[1]:
                del self._asked[place]
                answered.set()
        return answer

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        key = self._key(messages, arguments)
        if key is None:
            return super()._open(messages, arguments)
        kept = self._read(self.store.get(key), arguments)
        if kept is None:
            return self._kept_when_done(key, super()._open(messages, arguments))
        kept.chunk = kept.content
        self._tell(messages, kept, stream=True)
        return _one(kept)

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        key = self._key(messages, arguments)
        if key is None:
            return await super()._awhole(messages, arguments)
        if (kept := await self._afound(key, messages, arguments)) is not None:
            return kept
        place, mine = (asyncio.get_running_loop(), key), asyncio.Event()
        answered = self._aasked.setdefault(place, mine)
        within = _within.get()
        token = _within.set(within | {(id(self), key)})
        try:
            # Who asks within the same request (a handler of it, say) would wait for himself.
            if answered is not mine and (id(self), key) not in within:
                await answered.wait()
            if (kept := await self._afound(key, messages, arguments)) is not None:
                return kept
            answer = await super()._awhole(messages, arguments)
            await self._akeep(key, answer)
        finally:
            _within.reset(token)
            if answered is mine:
                del self._aasked[place]
                answered.set()
        return answer

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        key = self._key(messages, arguments)
        if key is None:
            return await super()._aopen(messages, arguments)
        kept = self._read(await self._aget(key), arguments)
        if kept is None:
            return self._akept_when_done(key, await super()._aopen(messages, arguments))
        kept.chunk = kept.content
        await self._atell(messages, kept, stream=True)
        return _aone(kept)

    def _found(self, key: str, messages: Any, arguments: Json) -> BaseMessage | None:
        """The kept answer, which handlers have been told of."""
        kept = self._read(self.store.get(key), arguments)
        if kept is not None:
            self._tell(messages, kept, stream=False)
        return kept

    async def _afound(self, key: str, messages: Any, arguments: Json) -> BaseMessage | None:
        kept = self._read(await self._aget(key), arguments)
        if kept is not None:
            await self._atell(messages, kept, stream=False)
        return kept

    # ---- keeping

    def _kept_when_done(self, key: str, pieces: Pieces) -> Pieces:
        last: BaseMessage | None = None
        with contextlib.closing(pieces):
            for last in pieces:
                yield last
        if last is not None:
            self._keep(key, last)

    async def _akept_when_done(self, key: str, pieces: AsyncPieces) -> AsyncPieces:
        last: BaseMessage | None = None
        async with contextlib.aclosing(pieces):
            async for message in pieces:
                last = message
                yield message
        if last is not None:
            await self._akeep(key, last)

    def _keep(self, key: str, message: BaseMessage) -> None:
        if message.is_complete:
            self.store.set(key, message.model_dump_json(exclude={"chunk", "parsed", "source"}))

    async def _aget(self, key: str) -> str | None:
        # What lies in memory needs no thread.
        return self.store.get(key) if type(self.store) is MemoryStore else await threads.call(self.store.get, key)

    async def _akeep(self, key: str, message: BaseMessage) -> None:
        if type(self.store) is MemoryStore:
            self._keep(key, message)
        else:
            await threads.call(self._keep, key, message)

    def _key(self, messages: Any, arguments: Json) -> str | None:
        """The same for the same request, in any process; None for one that can't be told from others."""
        asked = {**self.config, **arguments}
        parts = {
            "provider": [str(self.backend_type), getattr(self.backend, "base_url", None), self.model_type],
            "messages": [_identity(message) for message in as_list(messages)],
            "parameters": {name: asked[name] for name in sorted(asked) if name not in _NOT_IN_THE_KEY},
        }
        try:
            text = json.dumps(parts, sort_keys=True, default=_plain)
        except (TypeError, ValueError):
            return None
        return hashlib.sha256(text.encode()).hexdigest()

    def _read(self, kept: str | None, arguments: Json) -> BaseMessage | None:
        """The message, None for what is none (of an older version, say)."""
        if kept is None:
            return None
        try:
            message = BaseMessage.model_validate({**json.loads(kept), "source": self.source})
        except (ValueError, ValidationError):
            return None
        metadata = message.metadata
        metadata["usage"] = Usage.of(metadata.get("usage"))
        metadata["cached"] = True
        if "cost" in metadata:
            metadata["cost"] = 0.0
        shape = {**self.config, **arguments}.get("response_format")
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            message.parsed = structured.parse(message, shape)
        return message

    # ---- telling

    def _tell(self, messages: Any, kept: BaseMessage, *, stream: bool) -> None:
        for event, told in self._events(messages, kept, stream=stream):
            notify(self.callback_manager.handlers, event, self.source, **told)

    async def _atell(self, messages: Any, kept: BaseMessage, *, stream: bool) -> None:
        for event, told in self._events(messages, kept, stream=stream):
            await anotify(self.callback_manager.handlers, event, self.source, **told)

    def _events(self, messages: Any, kept: BaseMessage, *, stream: bool) -> list[tuple[CallBackEvent, Json]]:
        about = {"model": self.model_type, "stream": stream, "cached": True}
        chunk = [(CallBackEvent.LLM_CHUNK, {**about, "message": kept})] if stream else []
        return [
            (CallBackEvent.LLM_START, {**about, "messages": [as_openai(message) for message in as_list(messages)]}),
            *chunk,
            (CallBackEvent.LLM_END, {**about, "message": kept}),
        ]


def _identity(message: Any) -> Any:
    """All of a message that a request may have, in the form of any provider."""
    if not isinstance(message, BaseMessage):
        return message
    stored = message.model_dump(mode="json", include={"ordered"})
    return {**message.to_openai_message(), **stored, "reasoning": message.metadata.get("reasoning")}


def _plain(value: Any) -> Any:
    """What JSON can't say: a class asks for its schema. Raises ValueError for what has no lasting form."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, set | frozenset):
        return sorted(to_jsonable_python(item) for item in value)
    return to_jsonable_python(value)


def _one(message: BaseMessage) -> Pieces:
    yield message


async def _aone(message: BaseMessage) -> AsyncPieces:
    yield message
