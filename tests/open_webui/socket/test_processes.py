"""Three processes on one database: what happens in one is heard in the tabs of the others, in order and once."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import socketio

from open_webui import state
from open_webui.events import Audience, ChatEvent
from open_webui.internal.bus.link import LinkBus
from open_webui.internal.bus.opening import asyncpg_options, listening_url
from open_webui.internal.bus.postgres import PostgresCarrier
from open_webui.socket import emitter as emitter_module
from open_webui.socket import reloads
from open_webui.socket.emitter import CALL, DISCONNECT, EVENT, LISTS
from open_webui.socket.engine import end_socket
from open_webui.socket.reloads import AT_ONCE
from tests.open_webui.chat.page import Event, Page, open_page, rebuilt
from tests.open_webui.chat.test_shared import joined, share
from tests.open_webui.socket.test_frames import numbers, until
from tests.support import live as live_module
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

MakeLive = Callable[..., Awaitable[Live]]
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_every_carrier = pytest.mark.parametrize("carrier", ["memory", "postgresql", "redis"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


BAD = [
    None, 7, "x", [], {}, ["nobody"], [["ann"], "all", None, ""], [["ann"], "some", None, "", b"{}"],
    [7, "all", None, "", b"{}"], [["ann"], "all", None, "", {"a": 1}], ["ann", {"chat_id": 7}], ["ann", "ann", "{}", "soon"],
    ["ann", {"chat_id": "c", "message_id": None, "type": "chat:list", "data": 7}],
]  # fmt: skip


@pytest.fixture(params=["memory"])
def carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What carries the bus: settings of the applications."""
    if request.param == "redis":
        return {"redis_url": request.getfixturevalue("redis_server").url, "redis_key_prefix": secrets.token_hex(4)}
    if request.param == "postgresql":
        monkeypatch.setattr(
            state, "open_bus", lambda settings: LinkBus(PostgresCarrier(asyncpg_options(listening_url(settings))))
        )
    return {}


@pytest.fixture
async def three(make_live: MakeLive, connections: None, carrier: dict[str, Any]) -> list[Live]:
    """Applications that serve one PostgreSQL."""
    found = [await make_live(**carrier) for _ in range(3)]
    await until(lambda: all(len(live.app.state.oui.bus.peers) == 2 for live in found))
    return found


@pytest.fixture
async def ann(three: list[Live]) -> AsyncIterator[Actor]:
    actor = await live_module.sign_up(three[0], "Ann")
    async with actor.client:
        yield actor


@pytest.fixture
async def bob(three: list[Live], ann: Actor) -> AsyncIterator[Actor]:
    actor = await live_module.sign_up(three[0], "Bob", role="user", admin=ann)
    async with actor.client:
        yield actor


@contextlib.asynccontextmanager
async def page_at(live: Live, actor: Actor) -> AsyncIterator[Page]:
    """A tab whose socket and requests are at this process."""
    async with live.client(actor.token) as http, open_page(http, actor.token) as page:
        yield page


async def ask_at(live: Live, page: Page, body: dict[str, Any]) -> str:
    """The page's question goes to another process than its socket, as behind a proxy. Returns the chat's id."""
    async with live.client(page.token) as http:
        reply = await http.post("/api/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["chat_id"])


def presence_of(live: Live) -> Any:
    return live.app.state.sockets.presence


def emitter_of(live: Live) -> Any:
    return live.app.state.sockets.emitter


def bus_of(live: Live) -> Any:
    return live.app.state.oui.bus


def without_presence(events: list[Event]) -> list[Event]:
    return [event for event in events if event["data"]["type"] not in {"chat:presence", "typing"}]


async def heard_all(page: Page, emitter: Any, user_id: str) -> None:
    """Waits until what was sent so far to this person has come."""
    before = len(page.others)
    await emitter.to_users([user_id], "number", -1)
    await until(lambda: len(page.others) > before)


@on_every_carrier
@on_postgresql
class TestAnswers:
    async def test_every_frame_comes_in_order_and_once_wherever_the_tab_is(self, three: list[Live], ann: Actor) -> None:
        here, there, third = three
        async with page_at(here, ann) as asker, page_at(there, ann) as beside, page_at(third, ann) as other:
            body = asker.ask("slow", "Go", background_tasks={"title_generation": True})
            chat_id = await ask_at(there, asker, body)
            await asyncio.gather(*(page.idle(chat_id) for page in (asker, beside, other)))
            await heard_all(asker, emitter_of(there), ann.id)
            await heard_all(other, emitter_of(there), ann.id)
            assert asker.events == beside.events == other.events
            assert rebuilt([], asker.of(body["id"])) == fixed_text()
            versions = [d["sequence_number"] for d in asker.data("response:completion") if "sequence_number" in d]
            assert versions == sorted(versions)
            assert [d for d in asker.data("chat:completion") if d.get("done")]

    async def test_a_tab_of_another_process_that_looks_at_another_chat_hears_no_progress(
        self, three: list[Live], ann: Actor
    ) -> None:
        here, there, _ = three
        async with page_at(here, ann) as asker, page_at(there, ann) as beside:
            first = asker.ask("echo", "One")
            chat_id = (await asker.post(first))["chat_id"]
            await asyncio.gather(asker.idle(chat_id), beside.idle(chat_id))
            assert await joined(beside, chat_id) is True
            beside.events.clear()
            second = asker.ask("echo", "Two")
            other_id = (await asker.post(second))["chat_id"]
            await beside.idle(other_id)
            assert "response:completion" not in {e["data"]["type"] for e in beside.events}
            assert [d for d in beside.data("chat:completion", second["id"]) if d.get("done")]

    async def test_who_looks_on_from_a_third_process_sees_all_of_it(
        self, three: list[Live], ann: Actor, bob: Actor
    ) -> None:
        here, there, third = three
        async with page_at(here, ann) as owner, page_at(third, bob) as reader:
            first = owner.ask("echo", "One")
            chat_id = (await owner.post(first))["chat_id"]
            await owner.idle(chat_id)
            await share(owner, chat_id, bob.id, "read", "write")
            assert await joined(owner, chat_id) is True
            assert await joined(reader, chat_id) is True
            await owner.until(lambda p: len((p.data("chat:presence") or [{"users": ()}])[-1]["users"]) == 2)
            assert owner.data("chat:presence")[-1] == reader.data("chat:presence")[-1]
            typing = {"chat_id": chat_id, "data": {"type": "typing", "data": {"typing": True}}}
            assert await owner.socket.call("events:chat", typing, timeout=30) is True
            await reader.until(lambda p: bool(p.data("typing")))
            [event] = [e for e in reader.events if e["data"]["type"] == "typing"]
            assert event["user"] == {"id": ann.id, "name": ann.name}
            assert owner.data("typing") == []
            owner.events.clear()
            reader.events.clear()

            second = owner.ask("slow", "Two", chat_id=chat_id, parent_id=first["id"])
            await ask_at(there, owner, second)
            await asyncio.gather(owner.idle(chat_id), reader.idle(chat_id))
            assert rebuilt([], reader.of(second["id"])) == rebuilt([], owner.of(second["id"])) == fixed_text()
            assert all(event["shared"] for event in reader.events)
            assert not any("shared" in event for event in without_presence(owner.events))
            [turn] = reader.data("chat:messages")
            assert turn["currentId"] == second["id"]
            # And the answer of who looks on reaches the owner.
            grant = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
            model = {
                "id": "echo",
                "base_model_id": None,
                "name": "echo",
                "meta": {},
                "params": {},
                "access_grants": grant,
            }
            async with third.client(ann.token) as http:
                assert (await http.post("/api/v1/models/create", json=model)).status_code == 200
            third_turn = reader.ask("echo", "Three", chat_id=chat_id, parent_id=second["id"])
            await reader.post(third_turn)
            await owner.until(lambda p: any(d.get("done") for d in p.data("chat:completion", third_turn["id"])))
        await until(lambda: presence_of(there).people_in(chat_id) == [])

    async def test_a_tab_that_comes_in_the_middle_of_an_answer_misses_nothing(
        self, three: list[Live], ann: Actor, upstream: Upstream
    ) -> None:
        """Its frames begin no later than the answer stands when it knows its own id."""
        here, _, third = three
        async with page_at(here, ann) as asker:
            body = asker.ask("gated", "Go")
            chat_id = (await asker.post(body))["chat_id"]
            upstream.release(5)
            await asker.until(lambda p: len(rebuilt([], p.of(body["id"])).split()) >= 5)
            async with page_at(third, ann) as late:
                [running] = here.app.state.oui.running.of_chat(chat_id)
                fetched = here.app.state.oui.running.overlay(chat_id)[body["id"]]
                upstream.release(100)
                await late.idle(chat_id)
                assert not running.answer.text.startswith(" ")
                text = rebuilt(fetched["output"], late.of(body["id"]), after=fetched["meta"]["sequence_number"])
                assert text == fixed_text()

    async def test_a_chat_changed_elsewhere_is_told(self, three: list[Live], ann: Actor) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page, there.client(ann.token) as http:
            chat = (await http.post("/api/v1/chats/new", json={"chat": {"title": "made there"}})).json()["id"]
            await page.until(lambda p: any(d["chat_id"] == chat for d in p.data("chat:list")))
            await http.post(f"/api/v1/chats/{chat}/messages/m", json={"content": "edited"})
            await page.until(lambda p: [d["content"] for d in p.data("chat:message", "m")] == ["edited"])


@on_every_carrier
@on_postgresql
class TestEvents:
    async def test_many_events_keep_their_order(self, three: list[Live], ann: Actor) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page:
            for number in range(300):
                await emitter_of(there).to_users([ann.id], "number", {"n": number, "text": "🙂" * (number % 50) * 40})
                if number % 7 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(numbers(page)) == 300)
            assert [data["n"] for data in numbers(page)] == list(range(300))

    async def test_a_process_that_has_nobody_for_an_event_is_not_sent_it(
        self, three: list[Live], ann: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, there, third = three
        sent: list[tuple[str, str]] = []
        monkeypatch.setattr(bus_of(here), "send", lambda peer, topic, _payload: sent.append((peer, topic)))
        async with page_at(there, ann):
            await until(lambda: presence_of(here).is_connected(ann.id))
            emitter = emitter_of(here)
            await emitter.to_users([ann.id, "nobody"], "number", {})
            await emitter.chat("nobody", ChatEvent("c", None, "chat:title", "T"))
            await emitter.watchers(ChatEvent("c", None, "chat:messages", {}), [ann.id])
            emitter.answer(ChatEvent("c", "m", "status", {}), Audience(frozenset({"nobody"}), "x"))
            assert sent == [(bus_of(there).instance, EVENT)]
            sent.clear()
            emitter.answer(ChatEvent("c", "m", "status", {}), Audience(frozenset({"n"}), f"{bus_of(third).instance}.x"))
            assert sent == [(bus_of(third).instance, EVENT)]

    async def test_an_event_is_encoded_once_for_all(
        self, three: list[Live], ann: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, there, third = three
        async with page_at(here, ann) as one, page_at(there, ann) as two, page_at(third, ann) as three_:
            await until(lambda: len(presence_of(here).remote.interested([ann.id], None)) == 2)
            encoded: list[str] = []
            original = emitter_module.event_body
            monkeypatch.setattr(
                emitter_module, "event_body", lambda name, payload: encoded.append(name) or original(name, payload)
            )
            await emitter_of(here).to_users([ann.id], "number", {"n": 1})
            await until(lambda: all(numbers(page) for page in (one, two, three_)))
            assert encoded == ["number"]

    async def test_of_a_flood_of_changed_lists_a_tab_hears_no_more_than_from_one_process(
        self, three: list[Live], ann: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A window holds them all, also where the machine is slow.
        monkeypatch.setattr(reloads, "WINDOW_SECONDS", 5.0)
        async with page_at(three[0], ann) as page:
            await until(lambda: all(presence_of(live).is_connected(ann.id) for live in three))
            for number in range(50):
                for live in three:
                    data = {"chat_id": str(number), "folder_id": None}
                    await emitter_of(live).chat(ann.id, ChatEvent(str(number), None, "chat:list", data))
            await page.until(lambda p: p.data("chat:list")[-1:] == [{"chat_id": "49", "folder_id": None}])
            await asyncio.sleep(1.2)
            # Those at once, and what was left over when each window ended: here's, and then the others'.
            assert AT_ONCE < len(page.events) <= AT_ONCE + 4
            assert page.data("chat:list")[-1]["chat_id"] == "49"

    async def test_what_no_process_sends_is_passed_over(self, three: list[Live], ann: Actor) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page:
            for topic in (EVENT, LISTS, DISCONNECT):
                for payload in BAD:
                    bus_of(there).publish(topic, payload)
            await heard_all(page, emitter_of(there), ann.id)
            assert page.events == []
            assert page.socket.connected
            for payload in BAD:
                with contextlib.suppress(Exception):
                    await bus_of(there).call(bus_of(here).instance, CALL, payload, timeout=1)
            assert page.events == []


@on_every_carrier
@on_postgresql
class TestPresence:
    async def test_who_is_connected_and_what_is_used_is_the_same_everywhere(
        self, three: list[Live], ann: Actor, bob: Actor
    ) -> None:
        here, there, third = three
        async with page_at(here, ann) as one, page_at(there, bob) as two:
            # Known everywhere before either page knew its own id.
            assert all(set(presence_of(live).user_ids()) == {ann.id, bob.id} for live in three)
            assert all(emitter_of(live).is_connected(bob.id) for live in three)
            await one.socket.emit("usage", {"model": "m1"})
            await two.socket.emit("usage", {"model": "m2"})
            async with third.client(ann.token) as http:
                async with asyncio.timeout(30):
                    while True:
                        usage = (await http.get("/api/usage")).json()
                        if len(usage["model_ids"]) == 2:
                            break
                assert usage == {"model_ids": ["m1", "m2"], "user_count": 2}
        await until(lambda: all(not presence_of(live).user_ids() for live in three))

    async def test_a_socket_says_where_it_is(self, three: list[Live], ann: Actor) -> None:
        async with page_at(three[1], ann) as page:
            instance, _, secret = page.sid.partition(".")
            assert instance == bus_of(three[1]).instance
            assert len(secret) == 20

    async def test_a_process_that_goes_takes_its_people_with_it(
        self, three: list[Live], ann: Actor, bob: Actor
    ) -> None:
        here, there, third = three
        async with page_at(here, ann) as owner, page_at(there, bob) as reader:
            chat_id = (await owner.post(owner.ask("echo", "One")))["chat_id"]
            await owner.idle(chat_id)
            await share(owner, chat_id, bob.id, "read")
            assert await joined(owner, chat_id) is True
            assert await joined(reader, chat_id) is True
            await owner.until(lambda p: len((p.data("chat:presence") or [{"users": ()}])[-1]["users"]) == 2)
            await bus_of(there).close()
            await owner.until(lambda p: p.data("chat:presence")[-1]["users"] == [{"id": ann.id, "name": ann.name}])
            assert all(set(presence_of(live).user_ids()) == {ann.id} for live in (here, third))
            # What it would have heard is sent nowhere, and nothing fails.
            await owner.post(owner.ask("echo", "Two", chat_id=chat_id))

    async def test_tabs_fetch_what_they_show_when_events_may_have_been_lost(
        self, three: list[Live], ann: Actor
    ) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page:
            chat_id = (await page.post(page.ask("echo", "One")))["chat_id"]
            await page.idle(chat_id)
            assert await joined(page, chat_id) is True
            bus, other = bus_of(here), bus_of(there)
            bus.say_left(other.instance)
            other.say_joined(bus.instance)
            await page.until(lambda p: "chat:reload" in {e["data"]["type"] for e in p.events})
            [event] = [e for e in page.events if e["data"]["type"] == "chat:reload"]
            assert event == {"chat_id": chat_id, "data": {"type": "chat:reload"}}


@on_postgresql
class TestEnds:
    async def test_a_users_sockets_end_in_every_process(self, three: list[Live], ann: Actor, bob: Actor) -> None:
        here, there, third = three
        async with page_at(here, bob) as one, page_at(there, bob) as two, page_at(third, ann) as other:
            await emitter_of(third).disconnect_user(bob.id)
            async with asyncio.timeout(30):
                await asyncio.gather(one.gone.wait(), two.gone.wait())
            assert one.others == two.others == [("access:updated", {})]
            assert other.socket.connected
            await until(lambda: all(set(presence_of(live).user_ids()) == {ann.id} for live in three))


@on_every_carrier
@on_postgresql
class TestCalls:
    async def test_a_tab_of_another_process_answers(self, three: list[Live], ann: Actor) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page:
            asked: list[Any] = []

            async def answer(payload: Any) -> Any:
                asked.append(payload)
                return {"value": 2**70, "text": "🙂"}

            page.socket.on("events", answer)
            for live in (here, there):
                question = {"data": {"type": "execute", "data": {"code": "1"}}, "n": 2**70}
                reply = await emitter_of(live).call(page.sid, ann.id, question, 5)
                assert reply == {"value": 2**70, "text": "🙂"}
                assert asked.pop() == question

    async def test_no_answer_is_a_timeout(self, three: list[Live], ann: Actor) -> None:
        here, there, _ = three
        async with page_at(here, ann) as page:

            async def never(_payload: Any) -> None:
                await asyncio.sleep(60)

            page.socket.on("events", never)
            for live in (here, there):
                with pytest.raises(TimeoutError, match="did not answer"):
                    await emitter_of(live).call(page.sid, ann.id, {}, 0.1)

    async def test_a_tab_that_is_gone_or_somebody_elses_is_not_asked(
        self, three: list[Live], ann: Actor, bob: Actor
    ) -> None:
        here, there, third = three
        async with page_at(here, ann) as page:
            sid, asked = page.sid, []
            page.socket.on("events", asked.append)
            for live in (here, there):
                for session_id, user_id in ((sid, bob.id), (sid + "x", ann.id), ("", ann.id), ("nowhere.x", ann.id)):
                    with pytest.raises(LookupError, match="gone"):
                        await emitter_of(live).call(session_id, user_id, {}, 5)
        for live in (here, there):
            with pytest.raises(LookupError, match="gone"):
                await emitter_of(live).call(sid, ann.id, {}, 60)
        await bus_of(here).close()
        with pytest.raises(LookupError):
            await emitter_of(third).call(sid, ann.id, {}, 5)
        assert asked == []

    async def test_a_process_that_goes_while_it_is_asked(
        self, three: list[Live], ann: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, there, _ = three
        monkeypatch.delitem(bus_of(here)._answerers, CALL)
        with pytest.raises(LookupError):
            await emitter_of(there).call(f"{bus_of(here).instance}.x", ann.id, {}, 5)


@on_sqlite
async def test_who_asked_a_tab_that_leaves_hears_it_at_once(live: Live, admin: Actor) -> None:
    emitter = emitter_of(live)
    async with open_page(admin.client, admin.token) as page:
        came = asyncio.Event()

        async def never(_payload: Any) -> None:
            came.set()
            await asyncio.sleep(60)

        page.socket.on("events", never)
        waiting = asyncio.ensure_future(emitter.call(page.sid, admin.id, {}, 60))
        await came.wait()
    with pytest.raises(LookupError, match="gone"):
        await asyncio.wait_for(waiting, 30)
    assert emitter._questions == {}


@on_sqlite
async def test_an_answer_counts_only_from_who_was_asked(live: Live, admin: Actor, user: Actor) -> None:
    async with open_page(admin.client, admin.token) as page:

        async def other_hands(_payload: Any) -> str:
            await page.socket.call("user-join", {"auth": {"token": user.token}}, timeout=30)
            return "mine now"

        page.socket.on("events", other_hands)
        with pytest.raises(LookupError, match="gone"):
            await emitter_of(live).call(page.sid, admin.id, {}, 5)


@on_sqlite
async def test_a_socket_that_ends_while_it_connects_leaves_nothing(
    live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library does not tell the end of a socket whose connect is still being handled."""
    sockets = live.app.state.sockets
    sid = ""

    async def flush() -> None:
        nonlocal sid
        [session] = sockets.presence.sessions()
        sid = session.sid
        await end_socket(sockets.server, sid)

    monkeypatch.setattr(sockets, "_sync", SimpleNamespace(flush=flush))
    page = Page(admin.client, admin.token)
    with pytest.raises(socketio.exceptions.SocketIOError):
        await page.connect()
    await until(lambda: sid and sockets.presence.sessions() == [])
    assert not sockets.server.manager.is_connected(sid, "/")
    await page.socket.disconnect()


@on_sqlite
async def test_one_process_says_nothing_to_others(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = live.app.state.oui.bus
    for name in ("send", "flush", "call"):
        monkeypatch.setattr(bus, name, lambda *_, **__: pytest.fail("there is nobody"))
    assert live.app.state.sockets.presence.announce is None
    assert not {EVENT, LISTS, DISCONNECT} & bus._handlers.keys()
    assert CALL not in bus._answerers
    async with open_page(admin.client, admin.token) as page:
        chat_id = (await page.post(page.ask("echo", "One")))["chat_id"]
        assert await joined(page, chat_id) is True
        await page.idle(chat_id)
        await page.socket.emit("usage", {"model": "m"})
        await live.app.state.sockets.emitter.disconnect_user(admin.id)
        await page.gone.wait()
