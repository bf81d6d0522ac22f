"""What processes tell each other of their sockets: the same everywhere whatever happens, forgotten with who told it."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.principal import Principal
from open_webui.socket import remote
from open_webui.socket.presence import Presence, SocketSession
from open_webui.socket.remote import TOPIC, PresenceSync

USERS = ("ann", "bob", "eve")
CHATS = ("x", "y")


def session(sid: str, user_id: str, name: str = "") -> SocketSession:
    principal = Principal(id=user_id, role="user", name=name or user_id, email=f"{user_id}@example.com")
    return SocketSession(sid, "token", principal)


class Process:
    """A process without its server: its sockets, what it is told, and what it would say to its own sockets."""

    def __init__(self, hub: Hub) -> None:
        self.bus = MemoryBus(hub)
        self.presence = Presence()
        self.changed: list[str] = []
        self.missed = 0
        self.sync = PresenceSync(self.bus, self.presence, viewers_changed=self.changed.extend, events_lost=self._miss)

    def _miss(self) -> None:
        self.missed += 1

    def seen(self) -> tuple[set[str], dict[str, list[Any]]]:
        return set(self.presence.user_ids()), {chat: self.presence.people_in(chat) for chat in CHATS}


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def start(hub: Hub, count: int = 1) -> list[Process]:
    made = [Process(hub) for _ in range(count)]
    for process in made:
        await process.bus.open()
    await settled()
    return made


async def test_all_know_the_same_under_any_history() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        hub = Hub()
        processes = await start(hub, 2)
        for step in range(50):
            process = rng.choice(processes)
            sid, user, chat = f"{process.bus.instance}.{rng.choice('abc')}", rng.choice(USERS), rng.choice(CHATS)
            match rng.choice(["add", "add", "remove", "join", "join", "leave", "come", "go"]):
                case "add":
                    process.presence.add(session(sid, user))
                case "remove":
                    process.presence.remove(sid)
                case "join":
                    process.presence.join(chat, sid)
                case "leave":
                    process.presence.leave(chat, sid)
                case "come" if len(processes) < 4:
                    processes += await start(hub)
                case "go" if len(processes) > 1:
                    processes.remove(process)
                    await process.bus.close()
            if rng.random() < 0.5 or step == 49:
                await settled()
                users = {s.principal.id for p in processes for s in p.presence.sessions()}
                people = {
                    chat: sorted(
                        {s.principal.id for p in processes for s in p.presence.watchers_by_chat().get(chat, [])}
                    )
                    for chat in CHATS
                }
                for each in processes:
                    seen_users, seen_people = each.seen()
                    assert seen_users == users
                    assert {chat: [p["id"] for p in found] for chat, found in seen_people.items()} == people
                    assert all(each.presence.is_connected(user) is (user in users) for user in USERS)


async def test_an_event_goes_to_who_may_have_a_socket_for_it() -> None:
    here, there, third = await start(Hub(), 3)
    there.presence.add(session(f"{there.bus.instance}.a", "ann"))
    third.presence.add(session(f"{third.bus.instance}.b", "bob"))
    third.presence.join("x", f"{third.bus.instance}.b")
    await settled()
    interested = here.presence.remote.interested
    assert interested(("ann",), None) == [there.bus.instance]
    assert interested(("eve",), "x") == [third.bus.instance]
    assert interested(("eve",), "y") == []
    assert interested((), "y", f"{there.bus.instance}.zzz") == [there.bus.instance]
    assert interested((), "y", f"{here.bus.instance}.zzz") == []
    assert interested((), None, "temporary") == []


async def test_a_process_that_has_told_nothing_yet_may_have_anybody() -> None:
    here, there = await start(Hub(), 2)
    assert here.presence.remote.interested(("ann",), "x") == []
    here.bus.say_left(there.bus.instance)
    await settled()
    assert here.presence.remote.interested(("ann",), "x") == [there.bus.instance]


async def test_only_a_change_of_people_is_one() -> None:
    here, there = await start(Hub(), 2)
    for sid in "ab":
        there.presence.add(session(sid, "ann"))
        there.presence.join("x", sid)
    await settled()
    assert here.changed == ["x"]
    there.presence.add(session("a", "ann", "Ann the second"))
    there.presence.join("x", "a")
    await settled()
    assert here.changed == ["x", "x"]
    assert here.presence.people_in("x") == [{"id": "ann", "name": "Ann the second"}]
    there.presence.leave("x", "a")
    there.presence.leave("x", "a")
    await settled()
    assert here.changed == ["x", "x"]
    there.presence.remove("b")
    await settled()
    assert here.changed == ["x", "x", "x"]
    assert here.seen() == ({"ann"}, {"x": [], "y": []})


async def test_a_lost_process_is_forgotten_and_its_chats_have_changed() -> None:
    here, there = await start(Hub(), 2)
    there.presence.add(session("a", "ann"))
    there.presence.join("x", "a")
    there.presence.use_model("a", "m")
    await settled()
    assert here.presence.models_in_use() == ["m"]
    here.changed.clear()
    await there.bus.close()
    await settled()
    assert here.changed == ["x"]
    assert here.seen() == (set(), {"x": [], "y": []})
    assert here.presence.models_in_use() == []
    assert here.missed == 0


async def test_news_that_were_lost_on_the_way_are_made_up_for() -> None:
    """As a bus says it: who sent is to tell everything again, who lost is to forget what it was told."""
    here, there = await start(Hub(), 2)
    there.presence.add(session("a", "ann"))
    await settled()
    here.bus.say_left(there.bus.instance)
    there.bus.say_joined(here.bus.instance)
    await settled()
    assert (here.missed, there.missed) == (1, 0)
    assert here.presence.is_connected("ann")
    there.bus.say_joined(here.bus.instance)
    await settled()
    assert here.missed == 1


async def test_a_model_is_told_once_a_second_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr(remote, "time", SimpleNamespace(monotonic=lambda: at))
    here, there = await start(Hub(), 2)
    heard: list[Any] = []
    here.bus.subscribe(TOPIC, lambda _peer, payload: heard.append(payload))
    for _ in range(10):
        there.presence.use_model("a", "m")
        at += 0.25
    await settled()
    assert len(heard) == 3
    at += remote.MODEL_IN_USE_SECONDS + 0.9
    assert here.presence.models_in_use() == ["m"]
    at += 0.2
    assert here.presence.models_in_use() == []


async def test_a_flush_ends_when_all_have_heard_and_many_share_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, third = await start(Hub(), 3)
    asked: list[str] = []
    call = here.bus.call

    async def counted(peer: str, topic: str, payload: Any, *, timeout: float) -> Any:
        asked.append(peer)
        return await call(peer, topic, payload, timeout=timeout)

    monkeypatch.setattr(here.bus, "call", counted)

    async def connect(number: int) -> None:
        here.presence.add(session(str(number), f"user {number}"))
        await here.sync.flush()
        assert all(p.presence.is_connected(f"user {number}") for p in (there, third))

    await asyncio.gather(*map(connect, range(50)))
    # The first went alone, the others came while it was under way.
    assert len(asked) == 4
    await there.bus.close()
    await third.bus.close()
    await here.sync.flush()
    assert len(asked) == 4


async def test_a_flush_waits_for_no_process_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FLUSH_SECONDS", 0.01)
    here, there, third = await start(Hub(), 3)

    async def never(_peer: str, _payload: Any) -> None:
        await asyncio.sleep(60)

    there.bus.serve(TOPIC, never)
    del third.bus._answerers[TOPIC]
    await asyncio.wait_for(here.sync.flush(), 30)
    # One who gives up leaves the round to the others.
    monkeypatch.setattr(remote, "FLUSH_SECONDS", 0.2)
    first, second = (asyncio.ensure_future(here.sync.flush()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 30)


BAD = [
    None, 7, "x", [], {}, ["UserConnected"], ["UserConnected", 7], ["UserConnected", None], ["Nonsense", "x"],
    [["UserConnected"], "x"], ["ViewerJoined", "x", "ann"], ["ViewerJoined", "x", "ann", "public"],
    ["ViewerLeft", {}, "ann"], ["Snapshot", ["ann"]], ["Snapshot", [7], {}, []],
    ["Snapshot", ["ann"], {"x": ["ann"]}, []], ["ModelUsed", ["m"]],
]  # fmt: skip


@pytest.mark.parametrize("payload", BAD)
async def test_news_that_no_process_sends_change_nothing(payload: Any) -> None:
    here, there = await start(Hub(), 2)
    there.presence.add(session("a", "ann"))
    await settled()
    before = here.seen()
    there.bus.publish(TOPIC, payload)
    there.presence.add(session("b", "bob"))
    await settled()
    assert here.seen() == (before[0] | {"bob"}, before[1])
    assert here.changed == []


async def test_who_is_alone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    [alone] = await start(Hub())
    monkeypatch.setattr(alone.bus, "publish", lambda *_: pytest.fail("there is nobody to tell"))
    alone.presence.add(session("a", "ann"))
    alone.presence.join("x", "a")
    alone.presence.use_model("a", "m")
    alone.presence.remove("a")
