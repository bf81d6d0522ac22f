"""A Qdrant by its REST API, as far as vectors of documents need it, and whether it answers."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec

from open_webui.connections.services import call_service
from open_webui.env import Settings
from open_webui.errors import ProviderError, Unavailable
from open_webui.internal.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")
AWAY: Final = "The vectors of documents are out of reach: Qdrant does not answer."
# Seconds in which nobody is kept waiting for a Qdrant that has just not answered.
REST_SECONDS: Final = 5.0
# How old what `answers` says may be, and how long it waits, in seconds.
LOOK_SECONDS: Final = 10.0
_LOOK_TIMEOUT: Final = 2.0
# Seconds for what no person waits for.
_WORK_TIMEOUT: Final = 60.0
# Statuses that say something about a request and nothing about the server.
_OWN_FAULTS: Final = frozenset({400, 404, 409, 413, 422})


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """What every answer is wrapped in."""

    result: T


class Point(msgspec.Struct, frozen=True):
    """A point, with what was asked for of it."""

    id: int
    score: float = 0.0
    vector: list[float] | None = None


class Points(msgspec.Struct, frozen=True):
    points: list[Point]
    next_page_offset: int | None = None


class Exists(msgspec.Struct, frozen=True):
    exists: bool


class _Size(msgspec.Struct, frozen=True):
    size: int


class _Params(msgspec.Struct, frozen=True):
    vectors: _Size


class _Graph(msgspec.Struct, frozen=True):
    m: int = 16


class _Config(msgspec.Struct, frozen=True):
    params: _Params
    hnsw_config: _Graph = _Graph()


class Collection(msgspec.Struct, frozen=True):
    """How a collection is set up."""

    config: _Config
    payload_schema: dict[str, Any] = {}

    @property
    def dimensions(self) -> int:
        return self.config.params.vectors.size

    @property
    def links(self) -> int:
        return self.config.hnsw_config.m


class Qdrant:
    """One for a process."""

    def __init__(self, http: aiohttp.ClientSession, settings: Settings) -> None:
        self._http = http
        self._url = settings.qdrant_uri
        self._key = settings.qdrant_api_key.get_secret_value()
        self._timeout = settings.qdrant_timeout
        self._probe = f"/collections/{settings.qdrant_collection_prefix}/exists"
        # When it was asked last, and whether it answered; seconds of this process's clock.
        self._asked_at: float | None = None
        self._is_up = True
        self._looking = asyncio.Lock()

    async def search(self, path: str, body: Any, kind: type[T]) -> T:
        """What a question of a person's gives; `ask` otherwise. Raises Unavailable at once where it has just not answered."""
        if not self._is_up and self._age() < REST_SECONDS:
            raise Unavailable(AWAY)
        try:
            return await self.ask("POST", path, body, kind, timeout=self._timeout)
        except ProviderError as error:
            if error.status == 404:
                raise Unavailable("The vectors of documents are being made anew.") from error
            log.warning("vectors were not searched", error=error.detail)
            raise Unavailable(AWAY) from error

    async def ask(self, method: str, path: str, body: Any, kind: type[T], timeout: float = _WORK_TIMEOUT) -> T:
        """The result of a request. Raises ProviderError, with the status and the reason that Qdrant gives."""
        url, headers = self._url + path, {"api-key": self._key} if self._key else {}
        given: dict[str, Any] = {"headers": headers, "payload": body, "timeout": timeout, "secrets": (self._key,)}
        try:
            # Tried once: a job is tried again as a whole, and nobody waits longer for a search.
            answer = await call_service(self._http, method, url, tries=1, **given)
        except ProviderError as error:
            self._note(is_up=error.status in _OWN_FAULTS)
            raise
        self._note(is_up=True)
        try:
            return msgspec.json.decode(answer, type=Answer[kind]).result  # type: ignore[valid-type]
        except (msgspec.DecodeError, RecursionError):
            raise ProviderError("Qdrant answered with something else than it was asked for.") from None

    async def answers(self) -> bool:
        """Whether it does, as of a few seconds ago at most."""
        async with self._looking:
            if self._age() > LOOK_SECONDS:
                try:
                    await self.ask("GET", self._probe, None, Exists, timeout=_LOOK_TIMEOUT)
                except ProviderError as error:
                    self._note(is_up=False)
                    log.warning("Qdrant does not answer", error=error.detail)
        return self._is_up

    def _age(self) -> float:
        return float("inf") if self._asked_at is None else time.monotonic() - self._asked_at

    def _note(self, *, is_up: bool) -> None:
        self._asked_at = time.monotonic()
        self._is_up = is_up


def pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of a list, each with so many of it at most."""
    for k in range(0, len(items), size):
        yield items[k : k + size]
