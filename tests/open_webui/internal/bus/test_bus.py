"""What a bus promises, whatever carries it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from open_webui.errors import Conflict, OuiError, ProviderError, TooManyRequests
from open_webui.internal.bus.port import Bus, PeerLost
from open_webui.internal.bus.transport import ALL
from tests.open_webui.internal.bus.conftest import LINKS
from tests.support.carriers import Carriage, LinkCarriage

links = pytest.mark.parametrize("carriage", LINKS, indirect=True)


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


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a bus tells when it likes
            await asyncio.sleep(0.005)


Opening = Callable[..., Awaitable[Heard]]


@pytest.fixture
async def opened(carriage: Carriage) -> AsyncIterator[Opening]:
    """Opens a bus, which has heard all that were opened before when it is given."""
    there: dict[str, list[Heard]] = {}

    async def open_one(prefix: str = "one", **options: int) -> Heard:
        heard = Heard(carriage.bus(prefix, **options))
        await heard.bus.open()
        others = there.setdefault(prefix, [])
        others.append(heard)
        await until(lambda: all(len(one.bus.peers) == len(others) - 1 for one in others))
        await until(lambda: sum(event[0] == "joined" for event in heard.events) == len(others) - 1)
        return heard

    yield open_one
    for others in there.values():
        for heard in others:
            await heard.bus.close()


@pytest.fixture
async def pair(opened: Opening) -> tuple[Heard, Heard]:
    return await opened(), await opened()


async def test_who_joins_and_leaves_is_told(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    await until(lambda: ("joined", two.bus.instance) in one.events and ("joined", one.bus.instance) in two.events)
    await two.bus.close()
    await until(lambda: ("left", two.bus.instance) in one.events)
    assert not one.bus.peers
    assert one.events == [("joined", two.bus.instance), ("left", two.bus.instance)]


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


async def test_each_of_many_hears_what_is_published_and_what_is_for_it(opened: Opening) -> None:
    first, *others = [await opened() for _ in range(4)]
    for number in range(50):
        first.bus.publish("news", number)
        for index, other in enumerate(others):
            first.bus.send(other.bus.instance, "news", f"{number} for {index}")
    for index, other in enumerate(others):
        await until(lambda other=other: len(other.news()) == 100)
        assert other.news() == [news for number in range(50) for news in (number, f"{number} for {index}")]


async def test_what_a_newcomer_is_told_when_it_joins_comes_before_what_follows(opened: Opening) -> None:
    one = await opened()
    one.bus.on_joined(lambda peer: one.bus.send(peer, "news", "all so far"))
    two = await opened()
    one.bus.publish("news", "more")
    await until(lambda: len(two.news()) == 2)
    assert two.news() == ["all so far", "more"]


async def test_a_large_payload_arrives_whole(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    # Parts of it equal each other.
    payload = [b"\x00" * 1_000_000, "größer", None, 1.5, {"key": [True]}]
    one.bus.publish("news", payload)
    one.bus.publish("news", "behind")
    await until(lambda: len(two.news()) == 2)
    assert two.news() == [payload, "behind"]


async def test_a_question_gets_its_answer(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def double(peer: str, payload: int) -> list[object]:
        assert peer == one.bus.instance
        return [payload * 2, b"\x00\xff"]

    two.bus.serve("double", double)
    assert await one.bus.call(two.bus.instance, "double", 21, timeout=30) == [42, b"\x00\xff"]


async def test_a_question_is_heard_behind_what_was_sent_before(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def so_far(_peer: str, _payload: None) -> list[str]:
        return two.news()

    two.bus.serve("so far", so_far)
    for number in range(100):
        one.bus.publish("news", number)
    assert await one.bus.call(two.bus.instance, "so far", None, timeout=30) == list(range(100))


@pytest.mark.parametrize(
    "error",
    [
        Conflict("This is being written."),
        TooManyRequests("Later.", headers={"Retry-After": "3"}),
        ProviderError("No.", status=418, body={"error": "teapot"}, retryable=True, hint="Ask for coffee."),
        OuiError("In general.", status=507),
    ],
)
async def test_a_question_that_is_refused_raises_the_same_refusal(pair: tuple[Heard, Heard], error: OuiError) -> None:
    one, two = pair

    async def refuse(_peer: str, _payload: None) -> None:
        raise error

    two.bus.serve("refuse", refuse)
    with pytest.raises(type(error), match=error.detail) as caught:
        await one.bus.call(two.bus.instance, "refuse", None, timeout=30)
    assert type(caught.value) is type(error)
    assert all(getattr(caught.value, name) == value for name, value in vars(error).items())
    assert (str(caught.value), caught.value.status) == (error.detail, error.status)


async def test_a_question_that_breaks_who_answers_is_an_error_of_the_server(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def fail(_peer: str, _payload: None) -> None:
        raise RuntimeError("a secret")

    two.bus.serve("fail", fail)
    with pytest.raises(OuiError, match="on the server") as caught:
        await one.bus.call(two.bus.instance, "fail", None, timeout=30)
    assert caught.value.status == 500


async def test_a_question_without_an_answer_ends_in_time(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    async def think(_peer: str, _payload: None) -> None:
        await asyncio.sleep(60)

    two.bus.serve("think", think)
    with pytest.raises(TimeoutError):
        await one.bus.call(two.bus.instance, "think", None, timeout=0.05)


async def test_nobody_is_asked_who_is_not_there(pair: tuple[Heard, Heard]) -> None:
    one, two = pair
    with pytest.raises(PeerLost, match="can't be reached"):
        await one.bus.call(two.bus.instance, "nobody answers this", 1, timeout=30)
    await two.bus.close()
    await until(lambda: not one.bus.peers)
    with pytest.raises(PeerLost):
        await one.bus.call(two.bus.instance, "double", 1, timeout=30)
    one.bus.send(two.bus.instance, "news", "nothing")


async def test_news_that_cannot_be_taken_keep_nobody_from_the_next(pair: tuple[Heard, Heard]) -> None:
    one, two = pair

    def fail(_peer: str, _payload: str) -> None:
        raise RuntimeError("no")

    two.bus.subscribe("broken", fail)
    one.bus.publish("broken", "x")
    one.bus.publish("news", "y")
    await until(lambda: two.news() == ["y"])


async def test_instances_with_other_prefixes_do_not_hear_each_other(opened: Opening) -> None:
    mine, other = await opened("one"), await opened("two")
    mine_too, other_too = await opened("one"), await opened("two")
    mine.bus.publish("news", "mine")
    other.bus.publish("news", "theirs")
    await until(lambda: mine_too.news() and other_too.news())
    assert (mine_too.news(), other_too.news()) == (["mine"], ["theirs"])
    assert set(mine.bus.peers) == {mine_too.bus.instance}


@links
async def test_a_stream_goes_on_when_the_carrier_was_away_in_its_middle(
    carriage: Carriage, pair: tuple[Heard, Heard]
) -> None:
    one, two = pair
    joined = len(one.events), len(two.events)
    for number in range(20_000):
        one.bus.publish("news", number)
        two.bus.send(one.bus.instance, "news", -number)
        if number % 100 == 0:
            await asyncio.sleep(0)
        if number == 7_000:
            await carriage.stop()
        if number == 7_500:
            await until(lambda: not one.bus.is_up and not two.bus.is_up)
            with pytest.raises(PeerLost):
                await one.bus.call(two.bus.instance, "anything", None, timeout=30)
            await one.bus.flush()
        if number == 14_000:
            await carriage.start()
    await until(lambda: len(two.news()) >= 20_000 and len(one.news()) >= 20_000)
    assert two.news() == list(range(20_000))
    assert one.news() == [-number for number in range(20_000)]
    assert (len(one.events), len(two.events)) == (joined[0] + 20_000, joined[1] + 20_000), "nobody left"


@links
async def test_all_that_is_kept_is_carried_when_the_carrier_is_back(
    carriage: Carriage, pair: tuple[Heard, Heard]
) -> None:
    one, two = pair
    await carriage.stop()
    await until(lambda: not one.bus.is_up)
    for number in range(100):
        one.bus.publish("news", [number, bytes(200_000)])
    await carriage.start()
    await until(lambda: len(two.news()) == 100)
    assert [news[0] for news in two.news()] == list(range(100))
    assert ("left", one.bus.instance) not in two.events


@links
async def test_what_is_more_than_is_kept_begins_anew(carriage: Carriage, opened: Opening) -> None:
    one, two = await opened(kept_bytes=20_000), await opened()
    one.bus.on_joined(lambda peer: one.bus.send(peer, "news", "all so far"))
    one.bus.publish("news", "before")
    await until(lambda: two.news() == ["before"])
    await carriage.stop()
    await until(lambda: not one.bus.is_up)
    for number in range(1_000):
        one.bus.publish("news", number)
    del one.events[:], two.events[:]
    await carriage.start()
    await until(two.news)
    one.bus.publish("news", "after")
    await until(lambda: "after" in two.news())
    peer = one.bus.instance
    assert two.events == [("left", peer), ("news", peer, "all so far"), ("news", peer, "after")]
    assert one.events == [("joined", two.bus.instance)]


@links
async def test_an_answer_that_the_carrier_takes_along_is_not_waited_for(
    carriage: Carriage, pair: tuple[Heard, Heard]
) -> None:
    one, two = pair
    asked = asyncio.Event()

    async def think(_peer: str, _payload: None) -> None:
        asked.set()
        await asyncio.sleep(60)

    two.bus.serve("think", think)
    asking = asyncio.ensure_future(one.bus.call(two.bus.instance, "think", None, timeout=30))
    await asked.wait()
    await carriage.stop()
    with pytest.raises(PeerLost):
        await asking
    await carriage.start()


@links
async def test_foreign_data_are_ignored(
    carriage: LinkCarriage, pair: tuple[Heard, Heard], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = pair
    rogue = carriage.transport()
    await rogue.open("rogue", lambda _data: None, lambda _is_up: None)
    frame = one.bus._frame
    foreign = [
        b"",
        b"hello",
        b"\xff" * 33,
        frame(b"N", 1, 1, b"\xc1"),
        frame(b"N", 1, 1, b"\x92\x01\x02"),
        frame(b"B", 0, 0, b"\x81\xa1x\xa1y"),
        frame(b"B", 0, 0, b""),
        b"oui2" + frame(b"N")[4:],
        b"oui1N" + b"\xff" * 12 + frame(b"N")[17:],
        frame(b"?"),
    ]
    with caplog.at_level(logging.DEBUG, "open_webui.internal.bus"):
        for data in foreign:
            rogue.send(ALL, data)
            rogue.send(two.bus.instance, data)
        await rogue.flush()
        one.bus.publish("news", "real")
        await until(two.news)
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert two.events == [("joined", one.bus.instance), ("news", one.bus.instance, "real")]
    assert list(two.bus.peers) == [one.bus.instance]
    await rogue.close()


@links
async def test_a_bus_opens_while_its_carrier_is_away(
    carriage: Carriage, opened: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    one = await opened()
    await carriage.stop()
    two = Heard(carriage.bus())
    await two.bus.open()
    assert not two.bus.is_up
    assert not two.bus.peers
    two.bus.publish("news", "to nobody")
    await two.bus.flush()
    await carriage.start()
    await until(lambda: one.bus.peers and two.bus.peers)
    two.bus.publish("news", "hello")
    await until(lambda: one.news() == ["hello"])
    await two.bus.close()
