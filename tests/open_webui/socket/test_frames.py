"""Events as ready frames: whole, in order, to the right sockets, over WebSockets and long polling; and to slow readers."""

import asyncio
import base64
import json
import os
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import socketio
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from open_webui.socket import engine, frames
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live

MakeLive = Callable[..., Awaitable[Live]]

# The database has no part in it.
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


def emitter_of(live: Live) -> Any:
    return live.app.state.sockets.emitter


def socket_of(live: Live, sid: str) -> Any:
    """What Engine.IO has of a socket."""
    server = live.app.state.sockets.server
    return server.eio.sockets[server.manager.eio_sid_from_sid(sid, "/")]


def numbers(page: Page) -> list[int]:
    return [data for name, data in page.others if name == "number"]


async def until(condition: Any, timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what it looks at tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_the_protocol_says(size: int) -> None:
    payload = b"x" * size
    reader = StreamReader()
    reader.feed_data(frames.text_frame(payload))
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(parsing)
    except StopIteration as parsed:
        frame = parsed.value
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)
    assert reader.buffer == b""


@on_sqlite
async def test_events_come_in_the_order_in_which_they_were_sent(live: Live, page: Page, admin: Actor) -> None:
    emitter = emitter_of(live)
    for number in range(500):
        text = "x" * (70_000 if number % 50 == 0 else number)
        await emitter.to_users([admin.id], "number", {"n": number, "text": text})
        if number % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(numbers(page)) == 500)
    assert [data["n"] for data in numbers(page)] == list(range(500))


@on_sqlite
async def test_an_acknowledgement_and_a_heartbeat_in_between_do_no_harm(live: Live, page: Page, admin: Actor) -> None:
    emitter = emitter_of(live)

    async def send() -> None:
        for number in range(200):
            await emitter.to_users([admin.id], "number", {"n": number})
            await asyncio.sleep(0.001)

    async def ask() -> None:
        for _ in range(50):
            assert await page.socket.call("user-join", {"auth": {"token": page.token}}, timeout=30) is not None

    await asyncio.gather(send(), ask())
    await until(lambda: len(numbers(page)) == 200)
    assert [data["n"] for data in numbers(page)] == list(range(200))


@on_sqlite
async def test_text_of_every_kind_arrives_as_it_is(live: Live, page: Page, admin: Actor) -> None:
    text = 'ünïcödé 漢字 🙂 \u2028 \x00 " \\ </script>'
    await emitter_of(live).to_users([admin.id], "number", {"text": text})
    await until(lambda: bool(numbers(page)))
    assert numbers(page) == [{"text": text}]


@on_sqlite
async def test_a_socket_that_is_gone_is_passed_over(live: Live, page: Page, admin: Actor) -> None:
    emitter = emitter_of(live)
    async with open_page(admin.client, admin.token) as other:
        gone = other.sid
    emitter.to_sockets([gone], "number", {})
    emitter.to_sockets(["no-such-socket"], "number", {})
    emitter.to_sockets([page.sid], "number", {"n": 1})
    await until(lambda: bool(numbers(page)))
    assert live.app.state.sockets.presence.get(gone) is None


@on_sqlite
async def test_a_socket_that_takes_a_new_id_is_found_by_it(live: Live, admin: Actor) -> None:
    """Socket.IO may leave and enter again over one connection."""
    async with raw_socket(live, admin.token) as (reader, writer, first):
        writer.write(masked(b"41"))
        writer.write(masked(b"40" + json.dumps({"token": admin.token}).encode()))
        second = json.loads((await next_text(reader, b"40"))[2:])["sid"]
        assert second != first
        emitter = emitter_of(live)
        await until(lambda: live.app.state.sockets.presence.get(second) is not None)
        emitter.to_sockets([first], "number", {"n": 1})
        emitter.to_sockets([second], "number", {"n": 2})
        assert json.loads((await next_text(reader, b"42"))[2:]) == ["number", {"n": 2}]


@on_sqlite
async def test_long_polling_gets_the_same_in_the_same_order(make_live: MakeLive) -> None:
    # A client that leaves waits for its last poll, which ends with these.
    live = await make_live(
        enable_websocket_support=False, websocket_server_ping_interval=1, websocket_server_ping_timeout=3
    )
    async with live.client() as http:
        form = {"name": "Poll", "email": "poll@example.com", "password": "correct horse battery"}
        who = (await http.post("/api/v1/auths/signup", json=form)).json()
    heard: list[Any] = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("number", heard.append)
    await client.connect(
        live.url, auth={"token": who["token"]}, socketio_path="/ws/socket.io", transports=["polling"], wait_timeout=30
    )
    try:
        await client.call("user-join", {"auth": {"token": who["token"]}}, timeout=30)
        for number in range(100):
            await emitter_of(live).to_users([who["id"]], "number", {"n": number, "text": "🙂"})
            if number % 10 == 9:  # the client takes 16 packets at once
                await until(lambda n=number: len(heard) > n)
        assert [data["n"] for data in heard] == list(range(100))
        assert heard[0]["text"] == "🙂"
    finally:
        await client.disconnect()


@on_sqlite
async def test_a_poller_that_does_not_come_back_is_let_go(make_live: MakeLive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_WAITING_PACKETS", 10)
    live = await make_live(enable_websocket_support=False)
    async with live.client() as http:
        form = {"name": "Poll", "email": "poll@example.com", "password": "correct horse battery"}
        who = (await http.post("/api/v1/auths/signup", json=form)).json()
        path = "/ws/socket.io/?EIO=4&transport=polling"
        engine_id = json.loads((await http.get(path)).text[1:])["sid"]
        await http.post(f"{path}&sid={engine_id}", content="40" + json.dumps({"token": who["token"]}))
        await until(lambda: live.app.state.sockets.presence.is_connected(who["id"]))
        for number in range(12):
            await emitter_of(live).to_users([who["id"]], "number", {"n": number})
        await until(lambda: not live.app.state.sockets.presence.is_connected(who["id"]))


@on_sqlite
async def test_a_client_that_does_not_read_is_let_go_and_the_others_are_not(
    live: Live, page: Page, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_WAITING_BYTES", 100_000)
    presence, emitter = live.app.state.sockets.presence, emitter_of(live)
    async with raw_socket(live, admin.token) as (_, writer, sid):
        await until(lambda: presence.get(sid) is not None)
        writer.transport.pause_reading()
        for number in range(2_000):
            await emitter.to_users([admin.id], "number", {"n": number, "text": "x" * 10_000})
            await asyncio.sleep(0)
            if presence.get(sid) is None:
                break
        await until(lambda: presence.get(sid) is None)
    sent = number + 1
    await until(lambda: len(numbers(page)) == sent)
    assert [data["n"] for data in numbers(page)] == list(range(sent))


@on_sqlite
async def test_a_client_that_answers_no_ping_is_let_go_with_all_that_waits_for_it(live: Live, admin: Actor) -> None:
    presence, emitter = live.app.state.sockets.presence, emitter_of(live)
    async with raw_socket(live, admin.token) as (_, writer, sid):
        await until(lambda: presence.get(sid) is not None)
        engine_socket = socket_of(live, sid)
        transport = engine_socket.connection.transport
        writer.transport.pause_reading()
        for _ in range(1_000):
            emitter.to_sockets([sid], "number", {"text": "x" * 10_000})
        await asyncio.sleep(0.05)
        assert transport.get_write_buffer_size() > 0
        now = asyncio.get_running_loop().time()
        engine_socket.look(now + 26)  # the ping is due
        engine_socket.look(now + 45)
        assert not transport.is_closing()
        engine_socket.look(now + 47)
        await until(lambda: presence.get(sid) is None)
        emitter.to_sockets([sid], "number", {})
        assert live.app.state.sockets.server.eio.sockets == {}


@on_sqlite
async def test_one_message_of_any_size_is_sent(
    live: Live, page: Page, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is about what waits already."""
    monkeypatch.setattr(frames, "MAX_WAITING_BYTES", 1_000)
    await emitter_of(live).to_users([admin.id], "number", {"text": "x" * 3_000_000})
    await until(lambda: bool(numbers(page)))
    assert len(numbers(page)[0]["text"]) == 3_000_000


def masked(payload: bytes) -> bytes:
    """A client's text frame."""
    return Frame(Opcode.TEXT, payload).serialize(mask=True)


async def next_text(reader: asyncio.StreamReader, start: bytes) -> bytes:
    """The next message that begins so."""
    while True:
        head = await asyncio.wait_for(reader.readexactly(2), 30)
        size = head[1]
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        payload = await reader.readexactly(size)
        if payload.startswith(start):
            return payload


class raw_socket:  # noqa: N801 - used as a context manager
    """A WebSocket by hand, so that a test can stop reading: its streams, and its Socket.IO id."""

    def __init__(self, live: Live, token: str) -> None:
        self._live = live
        self._token = token

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        host, port = self._live.url.removeprefix("http://").split(":")
        plain = sockets.socket()
        plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 8_192)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, self._writer = await asyncio.open_connection(sock=plain)
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            f"GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        self._writer.write(masked(b"40" + json.dumps({"token": self._token}).encode()))
        sid = json.loads((await next_text(reader, b"40"))[2:])["sid"]
        return reader, self._writer, sid

    async def __aexit__(self, *_error: object) -> None:
        self._writer.close()
