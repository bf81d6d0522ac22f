"""The link between two processes: what is lost is sent again, who is silent is lost, who is heard again is told anew."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from open_webui.internal.bus import link
from open_webui.internal.bus.link import LinkBus
from open_webui.internal.bus.port import PeerLost
from open_webui.internal.bus.transport import ALL, Carrier, _joined
from tests.open_webui.internal.bus.test_bus import Heard, until
from tests.support.carriers import Wire, WireEnd


class Linked(Heard):
    """A bus on a wire."""

    def __init__(self, wire: Wire, **options: int) -> None:
        self.end: WireEnd = wire.transport()
        super().__init__(LinkBus(self.end, **options))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats every 10 ms; a peer is lost when it was silent for 30 of them."""
    monkeypatch.setattr(link, "BEAT", 0.01)
    monkeypatch.setattr(link, "SILENCE", 0.3)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def pair(wire: Wire) -> AsyncIterator[tuple[Linked, Linked]]:
    one, two = Linked(wire), Linked(wire)
    for linked in (one, two):
        await linked.bus.open()
    await until(lambda: one.bus.peers and two.bus.peers)
    yield one, two
    wire.loses = lambda _data: False
    for linked in (one, two):
        await linked.bus.close()


def test_what_goes_to_one_channel_is_written_as_one_and_to_all_at_last() -> None:
    batch = [(ALL, b"beat"), ("a", b"1"), ("b", b"2"), ("a", b"3"), (ALL, b"leave"), ("a", b"4")]
    assert list(_joined(batch)) == [[("a", b"134"), ("b", b"2"), (ALL, b"beatleave")]]
    assert list(_joined([])) == []
    large = bytes(700_000)
    assert [len(one) for one in _joined([("a", large), ("b", large), ("a", large)])] == [2, 1]


class Forgetful(Carrier):
    """A carrier whose driver swallows the first cancellation of everything that it waits in."""

    def __init__(self) -> None:
        super().__init__("a test", (OSError,))
        self.connected = 0

    async def _wait(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1_000)
        await asyncio.sleep(1_000)

    async def connect(self) -> None:
        self.connected += 1
        if self.connected == 2:
            await self._wait()

    read = _wait

    async def write(self, _batch: object) -> None:
        await self._wait()

    async def disconnect(self) -> None:
        pass


@pytest.mark.parametrize("renews", [False, True])
async def test_a_driver_that_swallows_a_cancellation_does_not_hold_up_the_end(renews: bool) -> None:
    carrier = Forgetful()
    await carrier.open("a", lambda _data: None, lambda _is_up: None)
    carrier.send("b", b"data")
    await asyncio.sleep(0.01)
    if renews:
        # Said again with each beat, as long as it is silent.
        await until(lambda: carrier.renew() or carrier.connected == 2)
    serving = list(carrier._serving)
    await carrier.close()
    assert not carrier.is_up
    assert carrier._keeping is None
    assert all(task.done() for task in serving)


def kind(data: bytes) -> bytes:
    return data[4:5]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_lost_on_the_way_news_come_in_order_and_once(
    wire: Wire, pair: tuple[Linked, Linked], seed: int
) -> None:
    chance = random.Random(seed)
    one, two = pair
    # Beats too, but a peer that is silent for so long would be lost by right.
    wire.loses = lambda data: chance.random() < (0.2 if kind(data) != b"B" else 0.1)
    for number in range(150):
        one.bus.publish("news", number)
        two.bus.publish("news", -number)
        if chance.random() < 0.2:
            await asyncio.sleep(0)
        if chance.random() < 0.03:
            await wire.stop()
            await asyncio.sleep(0)
            await wire.start()
    await until(lambda: len(one.news()) >= 150 and len(two.news()) >= 150)
    assert two.news() == list(range(150))
    assert one.news() == [-number for number in range(150)]
    await until(lambda: not one.bus._kept_bytes and not two.bus._kept_bytes)


@pytest.mark.parametrize("lost", [b"B", b"R", b"G"])
async def test_the_last_news_are_not_missed_when_what_tells_of_them_is_lost(
    wire: Wire, pair: tuple[Linked, Linked], lost: bytes
) -> None:
    one, two = pair
    losses = 0

    def loses(data: bytes) -> bool:
        nonlocal losses
        losses += kind(data) in {b"N", lost}
        return kind(data) in {b"N", lost} and losses <= 4

    wire.loses = loses
    one.bus.publish("news", "last")
    await until(lambda: two.news() == ["last"])


async def test_who_is_silent_is_lost_and_told_all_anew_when_it_is_heard_again(
    wire: Wire, pair: tuple[Linked, Linked]
) -> None:
    one, two = pair
    for linked in pair:
        linked.bus.on_joined(lambda peer, linked=linked: linked.bus.send(peer, "news", "all so far"))
    one.bus.publish("news", "to two")
    two.bus.publish("news", "to one")
    await until(lambda: one.news() == ["to one"] and two.news() == ["to two"])
    await until(lambda: not one.bus._kept_bytes and not two.bus._kept_bytes)
    asking = asyncio.ensure_future(one.bus.call(two.bus.instance, "anything", None, timeout=30))
    two.end.is_deaf = True
    # What two says does not arrive, and it hears nothing, not even itself: a half-open connection.
    wire.loses = lambda data: data[5:17] == two.bus.instance.encode()
    await until(lambda: not one.bus.peers)
    with pytest.raises(PeerLost):
        await asking
    assert two.end.renewed > 0, "it finds out that its connection is dead"
    assert one.events[-1] == ("left", two.bus.instance)
    del one.events[:], two.events[:]
    two.end.is_deaf, wire.loses = False, lambda _data: False
    await until(lambda: one.news() and two.news())
    assert one.events == [("joined", two.bus.instance), ("news", two.bus.instance, "all so far")]
    told = [event for event in two.events if event[0] != "joined"]
    assert told == [("left", one.bus.instance), ("news", one.bus.instance, "all so far")]
    assert two.events.count(("joined", one.bus.instance)) == 1, "it tells all anew, too"
    one.bus.publish("news", "on it goes")
    two.bus.publish("news", "on it goes")
    await until(lambda: one.news()[-1:] == two.news()[-1:] == ["on it goes"])


async def test_a_process_that_was_stopped_for_long_does_not_lose_the_others(pair: tuple[Linked, Linked]) -> None:
    one, two = pair
    now = asyncio.get_running_loop().time()
    for linked in pair:
        for peer in linked.bus._peers.values():
            peer.heard_at = now - 10
        linked.bus._echo_at = now - 10
        linked.bus._look_around(late=10)
        assert linked.bus.peers
        assert not linked.end.renewed
    one.bus.publish("news", "still here")
    await until(lambda: two.news() == ["still here"])


async def test_nobody_is_lost_while_the_carrier_is_away(wire: Wire, pair: tuple[Linked, Linked]) -> None:
    one, two = pair
    await wire.stop()
    one.bus.publish("news", "kept")
    for peer in one.bus._peers.values():
        peer.heard_at = -1_000
    one.bus._look_around(late=0)
    assert one.bus.peers
    await wire.start()
    await until(lambda: two.news() == ["kept"])
    assert one.bus.peers


async def test_who_is_alone_pays_nothing_for_what_is_published(wire: Wire) -> None:
    alone = Linked(wire)
    await alone.bus.open()
    before = alone.end.sent
    alone.bus.publish("news", object())
    alone.bus.send("nobody", "news", object())
    assert alone.end.sent == before
    await alone.bus.close()


async def test_much_news_are_acknowledged_before_the_next_beat(
    pair: tuple[Linked, Linked], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    monkeypatch.setattr(link, "BEAT", 1_000)
    await asyncio.sleep(0.05)
    for _ in range(40):
        one.bus.publish("news", bytes(100_000))
    await until(lambda: len(two.news()) == 40)
    await until(lambda: one.bus._kept_bytes <= link._ACKNOWLEDGE_BYTES + 200_000)


async def test_only_the_peer_that_does_not_keep_up_is_cut(wire: Wire) -> None:
    first, slow, quick = (Linked(wire, kept_bytes=100_000) for _ in range(3))
    for linked in (first, slow, quick):
        await linked.bus.open()
    await until(lambda: all(len(linked.bus.peers) == 2 for linked in (first, slow, quick)))
    wire.loses = lambda data: data[5:17] == slow.bus.instance.encode() and kind(data) != b"B"
    slow.end.is_deaf = True
    first.bus.send(slow.bus.instance, "news", bytes(90_000))
    first.bus.send(quick.bus.instance, "news", bytes(50_000))
    assert first.bus._peers[slow.bus.instance].is_cut
    await until(quick.news)
    slow.end.is_deaf, wire.loses = False, lambda _data: False
    await until(lambda: not first.bus._peers[slow.bus.instance].is_cut)
    assert ("left", first.bus.instance) not in quick.events
    for linked in (first, slow, quick):
        await linked.bus.close()


async def test_who_closes_in_the_middle_of_an_answer_leaves_nobody_waiting(pair: tuple[Linked, Linked]) -> None:
    one, two = pair
    asked = asyncio.Event()

    async def think(_peer: str, _payload: None) -> None:
        asked.set()
        await asyncio.sleep(60)

    two.bus.serve("think", think)
    asking = asyncio.ensure_future(one.bus.call(two.bus.instance, "think", None, timeout=30))
    await asked.wait()
    await two.bus.close()
    with pytest.raises(PeerLost):
        await asking
    assert not two.bus._answering
