"""Several processes and a provider: one asks it, the others take its list over."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from open_webui.connections.base import ModelEntry
from open_webui.connections.sharing import SharedLists, _id, _key
from open_webui.connections.source import Source
from open_webui.connections.specs import Spec
from open_webui.errors import OuiError
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.cache import RedisCache
from tests.support.redis import Redis

SPEC = Spec(kind="openai", index=0, url="https://provider.example/v1", key="sk-1")
TTL = 0.02


class Provider:
    """What it offers, as one process reaches it, and how often that one asked."""

    key = "openai:0"

    def __init__(self, offers: list[str]) -> None:
        self.offers = offers
        self.asked = 0
        self.is_away = False

    async def list_models(self) -> list[ModelEntry]:
        self.asked += 1
        if self.is_away:
            raise OuiError("It is away.")
        return [
            ModelEntry(
                id=name, name=name, remote_id=name, connection=self.key, kind="openai", raw={"id": name, "x": [1.5]}
            )
            for name in self.offers
        ]


class Process:
    def __init__(
        self, name: str, offers: list[str], ttl: float = TTL, timeout: float = 1_000, cache: RedisCache | None = None
    ) -> None:
        """timeout: after which another asks in the place of one that is silent."""
        self.bus = MemoryBus(Hub.of("sharing"))
        self.bus.instance = name
        self.provider = Provider(offers)
        self.sources: dict[Spec, Source] = {}
        self.lists = SharedLists(self.bus, lambda: self.sources, cache, ttl)
        self._times = ttl, timeout
        self.changes = 0

    async def open(self, spec: Spec = SPEC) -> None:
        self.sources[spec] = Source(
            self.provider,  # type: ignore[arg-type]
            *self._times,
            self._changed,
            place=self.lists.place,
            fetched=self.lists.fetched,
            recall=self.lists.recall,
        )
        await self.sources[spec].settled.wait()
        await self.bus.open()
        await asyncio.sleep(0)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def listed(self) -> list[str]:
        return [entry.id for source in self.sources.values() for entry in source.entries]

    async def close(self) -> None:
        await self.bus.close()
        await asyncio.gather(*(source.close() for source in self.sources.values()))
        await self.lists.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - sources tell nobody
            await asyncio.sleep(0.002)


@pytest.fixture
async def processes() -> AsyncIterator[list[Process]]:
    opened: list[Process] = []
    yield opened
    for process in opened:
        await process.close()


async def start(processes: list[Process], *new: Process) -> None:
    processes += new
    for process in new:
        await process.open()


async def test_one_asks_and_the_others_take_it_over(processes: list[Process]) -> None:
    offers = ["m"]
    first, second, third = (Process(name, offers) for name in "abc")
    await start(processes, first, second, third)
    await until(lambda: first.provider.asked > 5)
    offers.append("new")
    await until(lambda: second.listed == third.listed == ["m", "new"])
    # Each asked when it started.
    assert (second.provider.asked, third.provider.asked) == (1, 1)
    assert second.sources[SPEC].entries == first.sources[SPEC].entries
    assert (second.sources[SPEC].error, second.changes) == (None, 2)


async def test_another_asks_when_the_first_is_gone(processes: list[Process]) -> None:
    first, second, third = (Process(name, ["m"]) for name in "abc")
    await start(processes, first, second, third)
    await until(lambda: first.provider.asked > 2)
    assert second.provider.asked == 1
    await first.close()
    processes.remove(first)
    await until(lambda: second.provider.asked > 3)
    assert third.provider.asked == 1


async def test_another_asks_when_the_first_gets_no_answer(processes: list[Process]) -> None:
    # So that the second's time comes in a moment: it waits for a try of the first, and a second.
    first, second = Process("a", ["m"], timeout=0.01), Process("b", ["m"], timeout=0.01)
    first.provider.is_away = True
    await start(processes, first, second)
    await until(lambda: first.listed == ["m"] and first.sources[SPEC].error is None)
    asked = second.provider.asked
    await until(lambda: second.provider.asked > asked)


async def test_who_comes_takes_what_the_others_know(processes: list[Process]) -> None:
    first, second = Process("b", ["m", "n"], ttl=1_000), Process("a", ["m"], ttl=1_000)
    second.provider.is_away = True
    await start(processes, first, second)
    await until(lambda: second.listed == ["m", "n"])
    assert second.sources[SPEC].error is None
    assert second.sources[SPEC].breaker.state == "closed"
    assert second.provider.asked == 1


async def test_an_administrator_asks_at_once_wherever_that_is(processes: list[Process]) -> None:
    first, second = Process("a", ["m"], ttl=1_000), Process("b", ["m"], ttl=1_000)
    await start(processes, first, second)
    second.provider.offers = ["other"]
    await second.sources[SPEC].refresh().wait()
    await until(lambda: first.listed == ["other"])
    assert (first.provider.asked, second.provider.asked) == (1, 2)


async def test_a_list_is_for_the_same_settings_only(processes: list[Process]) -> None:
    first, second = Process("a", ["m"], ttl=1_000), Process("b", ["n"], ttl=1_000)
    await start(processes, first)
    processes.append(second)
    await second.open(Spec(kind="openai", index=0, url=SPEC.url, key="sk-2"))
    await first.sources[SPEC].refresh().wait()
    await asyncio.sleep(0.01)
    assert (first.listed, second.listed) == (["m"], ["n"])


async def test_a_list_that_cannot_be_had_is_asked_for_at_the_provider(processes: list[Process]) -> None:
    first = Process("a", ["m"], ttl=1_000)
    await start(processes, first)
    other = MemoryBus(Hub.of("sharing"))
    await other.open()
    other.send("a", "listing", [_id(SPEC), "another hash", 1_000.0])
    await until(lambda: first.provider.asked == 2)
    await other.close()


@pytest.fixture
async def cache(redis_server: Redis) -> AsyncIterator[RedisCache]:
    made = RedisCache(redis_server.servers(), "sharing")
    yield made
    await made.remove(_key(SPEC))
    await made.close()


async def cached(cache: RedisCache) -> bytes:
    """What is kept of the list, once something is."""
    async with asyncio.timeout(30):
        while (value := await cache.get(_key(SPEC))) is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.002)
    return value


async def test_who_starts_finds_the_list_in_the_cache(processes: list[Process], cache: RedisCache) -> None:
    first = Process("a", ["m"], ttl=1_000, cache=cache)
    await first.open()
    await cached(cache)
    await first.close()
    second = Process("b", ["other"], ttl=1_000, cache=cache)
    await start(processes, second)
    assert (second.listed, second.provider.asked, second.changes) == (["m"], 0, 1)
    assert 0 < (second.sources[SPEC].wait or 0) <= 1_000
    # Who wants it fresh gets it from the provider, and so do those that start after that.
    await second.sources[SPEC].refresh().wait()
    assert second.listed == ["other"]
    async with asyncio.timeout(30):
        while b'"other"' not in await cached(cache):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("value", [b"", b"{", b"[1e12,[]]", b"[0,[]]", b'[1,[{"id":7}]]'])
async def test_what_is_cached_and_can_not_be_used_is_none(
    processes: list[Process], cache: RedisCache, value: bytes
) -> None:
    await cache.put(_key(SPEC), value, seconds=60)
    process = Process("a", ["m"], ttl=1_000, cache=cache)
    await start(processes, process)
    assert (process.listed, process.provider.asked) == (["m"], 1)


async def test_a_cache_that_is_away_keeps_nobody_from_starting(processes: list[Process]) -> None:
    gone = RedisCache(Redis().servers(), "sharing")
    process = Process("a", ["m"], ttl=1_000, cache=gone)
    await start(processes, process)
    assert (process.listed, process.provider.asked) == (["m"], 1)
    await gone.close()
