"""One process asks a provider for its models, and the others take its list over.

News say that a list was fetched, by its hash; who has another one fetches it from who asked the provider. A process that
starts finds the list in the cache, if they share one. Failures are each process's own: what one can't reach, another may.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec

from open_webui.connections.base import ModelEntry
from open_webui.connections.source import Source
from open_webui.connections.specs import Spec
from open_webui.errors import OuiError
from open_webui.internal.bus.port import Bus
from open_webui.internal.cache import RedisCache

_TOPIC: Final = "listing"
# The most that a process is waited for that has another list; then the provider is asked.
_SECONDS: Final = 5.0
# How long a process that starts waits for what is cached.
_RECALL_SECONDS: Final = 0.25
# What is cached: when the list was fetched, in seconds since 1970, and its entries.
_decode_cached = msgspec.json.Decoder(tuple[float, list[ModelEntry]]).decode


class SharedLists:
    """The lists of all connections, between this process and the others."""

    def __init__(
        self, bus: Bus, sources: Callable[[], Mapping[Spec, Source]], cache: RedisCache | None = None, ttl: float = 0.0
    ) -> None:
        """sources: those there are now. cache: that all processes share, if they do. ttl: seconds that a list is good for."""
        self._bus = bus
        self._sources = sources
        self._cache = cache
        self._ttl = ttl
        self._fetching: set[asyncio.Task[None]] = set()
        bus.subscribe(_TOPIC, self._hear)
        bus.serve(_TOPIC, self._give)
        bus.on_joined(self._tell_all)
        bus.on_left(lambda _peer: self._look_again())

    def place(self) -> int:
        """How many processes ask before this one: those that come first by name."""
        return sum(peer < self._bus.instance for peer in self._bus.peers)

    def fetched(self, source: Source) -> None:
        """Tells the others that a source was asked and has answered, and those that start later."""
        spec = self._spec_of(source)
        if spec is None:
            return
        if self._bus.peers:
            self._bus.publish(_TOPIC, _news(spec, source))
        if self._cache is not None:
            value = msgspec.json.encode((time.time(), source.entries))
            self._in_background(self._cache.put(_key(spec), value, seconds=self._ttl))

    async def recall(self, source: Source) -> tuple[list[ModelEntry], float] | None:
        """What another process got from a source not long ago, and for how many seconds that is good still."""
        spec = self._spec_of(source)
        if self._cache is None or spec is None:
            return None
        try:
            async with asyncio.timeout(_RECALL_SECONDS):
                value = await self._cache.get(_key(spec))
            fetched_at, entries = _decode_cached(value or b"")
        except (TimeoutError, msgspec.MsgspecError):
            return None
        left = self._ttl - abs(time.time() - fetched_at)
        return (entries, left) if left > 0 else None

    def _spec_of(self, source: Source) -> Spec | None:
        return next((spec for spec, one in self._sources().items() if one is source), None)

    def _tell_all(self, peer: str) -> None:
        self._look_again()
        for spec, source in self._sources().items():
            if source.wait is not None:
                self._bus.send(peer, _TOPIC, _news(spec, source))

    def _look_again(self) -> None:
        """Another process may have to ask now."""
        for source in self._sources().values():
            source.look_again()

    def _find(self, list_id: str) -> Source | None:
        return next((source for spec, source in self._sources().items() if _id(spec) == list_id), None)

    def _hear(self, peer: str, news: list[Any]) -> None:
        list_id, digest, wait = news
        source = self._find(list_id)
        if source is None:
            # Of settings that this process does not have, or not yet.
            return
        if digest == _digest(source.entries):
            source.take_over(source.entries, wait)
            return
        self._in_background(self._fetch(peer, list_id, source, wait))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="lists of models, between processes")
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, peer: str, list_id: str, source: Source, wait: float) -> None:
        try:
            entries = await self._bus.call(peer, _TOPIC, list_id, timeout=_SECONDS)
            source.take_over(msgspec.convert(entries, list[ModelEntry]), wait)
        except (OuiError, TimeoutError, msgspec.ValidationError):
            source.refresh()

    async def _give(self, _peer: str, list_id: str) -> Any:
        source = self._find(list_id)
        return None if source is None else msgspec.to_builtins(source.entries)

    async def close(self) -> None:
        for task in self._fetching:
            task.cancel()
        await asyncio.gather(*self._fetching, return_exceptions=True)


def _news(spec: Spec, source: Source) -> list[Any]:
    return [_id(spec), _digest(source.entries), source.wait]


def _key(spec: Spec) -> str:
    return f"models:{_id(spec)}"


def _id(spec: Spec) -> str:
    """The same for the same settings, of which it tells nothing: a key is among them."""
    return hashlib.blake2b(msgspec.json.encode(spec), digest_size=16).hexdigest()


def _digest(entries: list[ModelEntry]) -> str:
    return hashlib.blake2b(msgspec.json.encode(entries), digest_size=16).hexdigest()
