"""Sockets that rest are small and own nothing that runs; packets come one after the other; many leave without a search."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from open_webui.access.policy import USER, declare
from tests.support.live import PASSWORD, Actor, Live
from tests.support.raw_socket import RawSocket, frame
from tests.support.server import Server


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def port(live: Live) -> int:
    return urlsplit(live.url).port or 0


@pytest.fixture
async def opened(live: Live, admin: Actor) -> AsyncIterator[Callable[[], Awaitable[RawSocket]]]:
    """Opens sockets of one person; they end with the test."""
    async with AsyncExitStack() as stack:

        async def open_one() -> RawSocket:
            socket = await stack.enter_async_context(await RawSocket.open(port(live)))
            await socket.sign_in(admin.token)
            return socket

        yield open_one


def engine_of(live: Live) -> Any:
    return live.app.state.sockets.server.eio


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it looks at tells nobody
            await asyncio.sleep(0.01)


async def test_a_socket_that_rests_has_no_task_and_no_request(
    live: Live, opened: Callable[[], Awaitable[RawSocket]]
) -> None:
    await opened()
    await until(lambda: len(engine_of(live).sockets) == 1)
    tasks = len(asyncio.all_tasks())
    for _ in range(20):
        await opened()
    # What the last one said is handled.
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert live.app.state.sockets.server.environ == {sid: {"address": "127.0.0.1"} for sid in engine_of(live).sockets}
    for socket in engine_of(live).sockets.values():
        assert not {"scope", "request", "response"} & vars(socket.connection).keys()


async def calls(work: Awaitable[Any]) -> int:
    """How many functions are called until it is done, C functions included."""
    found = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal found
        found += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        await work
    finally:
        sys.setprofile(None)
    return found


async def test_one_that_leaves_costs_the_same_among_many(live: Live) -> None:
    manager = live.app.state.sockets.server.manager
    cost: list[int] = []
    for others in (10, 1_000):
        for n in range(others):
            await manager.connect(await manager.pre_connect(f"engine-{others}-{n}", "/"), "/")
        leaving = manager.sid_from_eio_sid(f"engine-{others}-5", "/")
        assert manager.is_connected(leaving, "/")
        cost.append(await calls(manager.disconnect(leaving, "/")))
        assert not manager.is_connected(leaving, "/")
        assert manager.eio_sid_from_sid(leaving, "/") is None
    assert cost[0] == cost[1]


async def test_all_leave_at_once_and_nothing_is_left(live: Live, opened: Callable[[], Awaitable[RawSocket]]) -> None:
    sockets = [await opened() for _ in range(100)]
    for socket in sockets:
        await socket.__aexit__()
    await until(lambda: not live.server.server_state.connections)
    await until(lambda: not live.server.server_state.tasks)
    server = live.app.state.sockets.server
    assert live.app.state.sockets.presence.sessions() == []
    assert (server.eio.sockets, server.environ) == ({}, {})
    assert not list(server.manager.get_participants("/", "x"))


async def close_code(socket: RawSocket) -> int:
    """What the server says as it closes."""
    while True:
        try:
            await socket.text()
        except EOFError as closed:
            return int.from_bytes(closed.args[0][:2], "big")


async def test_a_server_that_stops_ends_them_all_in_time(make_server: Callable[..., Server]) -> None:
    server = make_server().start()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http:
        form = {"name": "Admin One", "email": "admin.one@example.com", "password": PASSWORD}
        token = (await http.post("/api/v1/auths/signup", json=form)).json()["token"]
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(await RawSocket.open(server.port)) for _ in range(150)]
        for socket in sockets[:100]:
            await socket.sign_in(token)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        for socket in sockets:
            # It was told, and not that the connection was cut.
            assert await close_code(socket) == 1012
        assert await stopping == 0
    assert "Cancel" not in server.log
    assert "Traceback" not in server.log


async def test_packets_are_handled_one_after_the_other_and_before_the_end(
    live: Live, opened: Callable[[], Awaitable[RawSocket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page says as it is closed counts."""
    seen: list[str] = []
    goes_on = asyncio.Event()

    async def on_usage(_session: Any, data: Any) -> None:
        seen.append(f"begins {data['model']}")
        await goes_on.wait()
        seen.append(f"ends {data['model']}")

    sockets = live.app.state.sockets
    monkeypatch.setitem(sockets.handlers, "usage", declare(USER)(on_usage))
    removed = sockets.presence.remove
    monkeypatch.setattr(sockets.presence, "remove", lambda sid: (seen.append("gone"), removed(sid))[1])
    socket = await opened()
    said = [frame(f'42["usage",{{"model":"{n}"}}]'.encode()) for n in "ab"]
    await socket.send(*said, frame((1001).to_bytes(2, "big"), 8))
    await until(lambda: bool(seen))
    await asyncio.sleep(0.02)
    assert seen == ["begins a"]
    goes_on.set()
    await until(lambda: "gone" in seen)
    assert seen == ["begins a", "ends a", "begins b", "ends b", "gone"]


async def test_a_client_that_leaves_is_let_go(live: Live, opened: Callable[[], Awaitable[RawSocket]]) -> None:
    socket = await opened()
    await socket.say("1")
    await socket.heard_until_over()
    await until(lambda: live.app.state.sockets.presence.sessions() == [])
    assert engine_of(live).sockets == {}


async def test_pings_are_sent_and_answered(live: Live, opened: Callable[[], Awaitable[RawSocket]]) -> None:
    socket = await opened()
    [resting] = engine_of(live).sockets.values()
    now = asyncio.get_running_loop().time()
    resting.look(now + 24)
    resting.look(now + 25.5)
    assert await socket.text() == "2"
    await socket.say("3")
    assert await socket.ask("heartbeat", {}) == []
    # That one was answered, and the next is due later.
    resting.look(now + 24.5)
    resting.look(now + 50)
    assert await socket.text() == "2"
    resting.look(now + 69)
    assert await socket.ask("heartbeat", {}) == []
    resting.look(now + 71)
    assert await socket.heard_until_over() == []


async def test_a_poller_asks_for_no_websocket(live: Live) -> None:
    """A request that says "websocket" and is none is answered."""
    async with live.client() as http:
        reply = await http.get("/ws/socket.io/?EIO=4&transport=websocket", headers={"Upgrade": "websocket"})
    assert reply.status_code == 400
    assert engine_of(live).sockets == {}


async def test_a_handler_that_fails_ends_nothing_else(
    live: Live, opened: Callable[[], Awaitable[RawSocket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await opened(), await opened()

    async def fail(_text: str) -> str:
        raise OSError("broken")

    monkeypatch.setattr(engine_of(live).incoming, "check", fail)
    await first.say('42["heartbeat",{}]')
    await first.heard_until_over()
    monkeypatch.undo()
    assert await second.ask("heartbeat", {}) == []
