"""What a bus promises, whatever carries it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from open_webui.errors import Conflict
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.bus.port import Bus, PeerLost


class Heard:
    """What a bus was told."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.events: list[tuple[str, ...]] = []
        bus.on_joined(lambda peer: self.events.append(("joined", peer)))
        bus.on_left(lambda peer: self.events.append(("left", peer)))
        bus.subscribe("news", lambda peer, payload: self.events.append(("news", peer, payload)))

    def news(self) -> list[str]:
        return [event[2] for event in self.events if event[0] == "news"]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a bus tells when it likes
            await asyncio.sleep(0.005)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Heard, Heard]]:
    hub = Hub()
    one, two = Heard(MemoryBus(hub)), Heard(MemoryBus(hub))
    for heard in (one, two):
        await heard.bus.open()
    await until(lambda: one.bus.peers and two.bus.peers)
    yield one, two
    await one.bus.close()
    await two.bus.close()


async def test_who_joins_and_leaves_is_told(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    await until(lambda: ("joined", two.bus.instance) in one.events and ("joined", one.bus.instance) in two.events)
    await two.bus.close()
    await until(lambda: ("left", two.bus.instance) in one.events)
    assert not one.bus.peers


async def test_news_come_in_order_and_once(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    sent = [f"{number}" for number in range(300)]
    for number in sent:
        if int(number) % 2:
            one.bus.publish("news", number)
        else:
            one.bus.send(two.bus.instance, "news", number)
    await until(lambda: len(two.news()) >= len(sent))
    assert two.news() == sent
    assert not one.news(), "nobody hears what he says himself"


async def test_a_question_gets_its_answer(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def double(peer: str, payload: int) -> list[object]:
        assert peer == one.bus.instance
        return [payload * 2, b"\x00\xff"]

    two.bus.serve("double", double)
    assert await one.bus.call(two.bus.instance, "double", 21, timeout=5) == [42, b"\x00\xff"]


async def test_a_question_that_is_refused_raises_the_same_refusal(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def refuse(_peer: str, _payload: None) -> None:
        raise Conflict("This is being written.")

    two.bus.serve("refuse", refuse)
    with pytest.raises(Conflict, match="being written"):
        await one.bus.call(two.bus.instance, "refuse", None, timeout=5)


async def test_a_question_without_an_answer_ends_in_time(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def think(_peer: str, _payload: None) -> None:
        await asyncio.sleep(60)

    two.bus.serve("think", think)
    with pytest.raises(TimeoutError):
        await one.bus.call(two.bus.instance, "think", None, timeout=0.05)


async def test_nobody_is_asked_who_is_not_there(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    await two.bus.close()
    with pytest.raises(PeerLost):
        await one.bus.call(two.bus.instance, "double", 1, timeout=5)
    one.bus.send(two.bus.instance, "news", "nothing")


async def test_news_that_cannot_be_taken_keep_nobody_from_the_next(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    def fail(_peer: str, _payload: str) -> None:
        raise RuntimeError("no")

    two.bus.subscribe("broken", fail)
    one.bus.publish("broken", "x")
    one.bus.publish("news", "y")
    await until(lambda: two.news() == ["y"])
