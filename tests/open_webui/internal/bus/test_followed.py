"""What is taken over from the database: when others say that it changed, when they come or go, and now and then besides."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from open_webui.internal.bus import followed
from open_webui.internal.bus.followed import Followed
from open_webui.internal.bus.memory import Hub, MemoryBus


class Fragile(MemoryBus):
    """A bus whose carrier can be away."""

    up = True

    @property
    def is_up(self) -> bool:
        return self.up


class Taken:
    """Counts how often it was taken over. failing: by an error of the database."""

    def __init__(self) -> None:
        self.times = 0
        self.failing = False

    async def __call__(self) -> None:
        self.times += 1
        if self.failing:
            raise sa.exc.OperationalError("SELECT", {}, OSError("away"))

    async def until(self, times: int) -> None:
        async with asyncio.timeout(30):
            while self.times < times:  # noqa: ASYNC110 - it is counted, nobody is told
                await asyncio.sleep(0.005)


@pytest.fixture
def other() -> MemoryBus:
    return MemoryBus(Hub.of("followed"))


@pytest.fixture
async def bus() -> AsyncIterator[Fragile]:
    made = Fragile(Hub.of("followed"))
    yield made
    await made.close()


async def follow(bus: Fragile, taken: Taken, every: float = 60.0) -> Followed:
    thing = Followed("thing", bus, taken, every=every)
    await thing.renew()
    taken.times = 0
    thing.open()
    await bus.open()
    await asyncio.sleep(0)
    return thing


async def test_news_and_who_comes_and_goes(bus: Fragile, other: MemoryBus) -> None:
    taken = Taken()
    thing = await follow(bus, taken)
    assert taken.times == 0
    await other.open()
    await taken.until(1)
    other.publish("thing", None)
    await taken.until(2)
    other.publish("something else", None)
    await other.close()
    await taken.until(3)
    assert taken.times == 3
    await thing.close()


async def test_a_change_is_taken_over_here_and_told(bus: Fragile, other: MemoryBus) -> None:
    taken, told = Taken(), asyncio.Event()
    thing = await follow(bus, taken)
    other.subscribe("thing", lambda _peer, _payload: told.set())
    await other.open()
    await taken.until(1)
    await thing.changed()
    assert taken.times == 2
    async with asyncio.timeout(30):
        await told.wait()
    await thing.close()


async def test_while_the_bus_is_away_it_is_looked_at_often(bus: Fragile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LOOK_SECONDS", 0.02)
    taken = Taken()
    thing = await follow(bus, taken)
    bus.up = False
    await taken.until(2)
    bus.up = True
    await thing.close()


async def test_it_is_taken_over_now_and_then_whatever_is_heard(bus: Fragile) -> None:
    taken = Taken()
    thing = await follow(bus, taken, every=0.02)
    await taken.until(2)
    await thing.close()


async def test_a_try_that_failed_is_made_again(bus: Fragile, other: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LOOK_SECONDS", 0.02)
    taken = Taken()
    thing = await follow(bus, taken)
    taken.failing = True
    await other.open()
    await taken.until(3)
    taken.failing = False
    await thing.close()


async def test_what_was_read_earlier_does_not_come_later(bus: Fragile) -> None:
    running, most, order = 0, 0, []

    async def take() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        order.append(len(order))
        running -= 1

    thing = Followed("thing", bus, take, every=60)
    await asyncio.gather(*(thing.changed() for _ in range(5)))
    assert (most, len(order)) == (1, 5)
