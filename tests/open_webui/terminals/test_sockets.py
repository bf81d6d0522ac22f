"""Sockets that go through to a terminal server, and a real shell at their end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from open_webui.services.terminals import sockets, watch
from tests.open_webui.terminals.test_requests import granted, set_up
from tests.support.live import Actor, Live
from tests.support.terminal_server import TerminalServer, open_terminal_server


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
async def server() -> AsyncIterator[TerminalServer]:
    async with open_terminal_server() as found:
        yield found


@asynccontextmanager
async def open_socket(
    live: Live, path: str = "box/api/terminals/s1", **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession(cookies=options.pop("cookies", None)) as http,
        http.ws_connect(f"{live.url}/api/v1/terminals/{path}", **options) as socket,
    ):
        yield socket


async def closed(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code with which a socket ends, after whatever it still says."""
    async with asyncio.timeout(10):
        async for _ in socket:
            pass
    return socket.close_code


def auth(token: str, **more: str) -> dict[str, str]:
    return {"type": "auth", "token": token} | more


async def run(socket: aiohttp.ClientWebSocketResponse, command: str, until: bytes) -> bytes:
    await socket.send_bytes(command.encode() + b"\n")
    said = b""
    async with asyncio.timeout(10):
        while until not in said:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            said += message.data
    return said


async def test_one_types_and_reads(live: Live, admin: Actor, user: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry(**granted(user)))
    async with open_socket(live) as socket:
        await socket.send_json(auth(user.token))
        assert b"42" in await run(socket, "echo $((6 * 7))", b"42")
        assert len(await run(socket, "head -c 300000 /dev/zero | tr '\\0' x; echo end", b"end")) > 300_000
        await socket.send_str('{"type": "resize", "cols": 80, "rows": 24}')
        assert (await socket.receive()).data == '{"type": "resize", "cols": 80, "rows": 24}'
        # A token that is told again stays here.
        await socket.send_json(auth(user.token))
        await socket.send_str("next")
        assert (await socket.receive()).data == "next"
        # The server's end is the client's.
        await socket.send_bytes(b"exit\n")
        assert await closed(socket) == 4000
    ((_, path, headers),) = [request for request in server.received if "terminals" in request[1]]
    assert path == f"/api/terminals/s1?user_id={user.id}"
    assert user.token not in str(headers)
    # The chat that it names is told to the server, where there is one.
    document = {"chat": {"title": "mine", "history": {"currentId": None, "messages": {}}}}
    chat = (await user.client.post("/api/v1/chats/new", json=document)).json()["id"]
    for chat_id in (chat, "", "temporary:1"):
        async with open_socket(live) as socket:
            await socket.send_json(auth(user.token, chat_id=chat_id))
            await run(socket, "echo ready", b"ready")
        assert server.received[-1][2].get("x-session-id", "") == (chat if chat_id == chat else "")
    async with open_socket(live) as socket:
        await socket.send_json(auth(admin.token, chat_id=chat))
        assert await closed(socket) == sockets.NOT_FOR_YOU
    # The client's end is the server's.
    server.socket_closed.clear()
    async with open_socket(live, headers={"authorization": f"Bearer {user.token}"}) as socket:
        await run(socket, "echo ready", b"ready")
    await asyncio.wait_for(server.socket_closed.wait(), 30)


REFUSED = [
    ("", "box/api/terminals/s1", sockets.NOT_SIGNED_IN),
    ("nonsense", "box/api/terminals/s1", sockets.NOT_SIGNED_IN),
    ("other", "box/api/terminals/s1", sockets.NOT_FOR_YOU),
    ("pending", "box/api/terminals/s1", sockets.NOT_SIGNED_IN),
    ("user", "never/api/terminals/s1", sockets.NOT_FOR_YOU),
    ("user", "box/api/terminals/s1?chat_id=nothing", sockets.NOT_FOR_YOU),
    ("user", "box/api/terminals/s1?chat_id=a%00b", sockets.NOT_FOR_YOU),
    ("user", "gone/api/terminals/s1", sockets.AWAY),
    ("user", "wrong/api/terminals/s1", sockets.AWAY),
    ("user", "site/api/terminals/s1", sockets.AWAY),
]


async def test_who_may_not_is_told_why(
    live: Live, admin: Actor, user: Actor, other: Actor, pending: Actor, server: TerminalServer
) -> None:
    mine = granted(user)
    await set_up(
        admin, server.entry(**mine), server.entry(id="gone", url="http://127.0.0.1:9", **mine),
        server.entry(id="wrong", key="wrong", **mine), server.entry(id="site", auth_type="system_oauth", **mine),
    )  # fmt: skip
    tokens = {"other": other.token, "pending": pending.token, "user": user.token}
    for who, path, code in REFUSED:
        async with open_socket(live, path) as socket:
            await socket.send_json(auth(tokens.get(who, who)))
            assert await closed(socket) == code, (who, path)


async def test_odd_handshakes_and_messages(
    live: Live, admin: Actor, server: TerminalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(admin, server.entry())
    for options in (
        {"origin": "https://evil.example"},
        {"path": "box/api/terminals/a%2f..%2fb"},
        {"path": "box/api/terminals/" + "x" * 300},
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with open_socket(live, **options):
                pass
    for first in (
        "[1]",
        "x" * 100,
        '{"type": "auth", "token": 7}',
        '{"type": "auth", "token": "\\u0000"}',
        "[" * 3_000,
    ):
        async with open_socket(live, origin=live.url) as socket:
            await socket.send_str(first)
            assert await closed(socket) == sockets.NOT_SIGNED_IN
    for data, code in ((b"x", sockets.NOT_SIGNED_IN), (bytes(5_000), 1009)):
        async with open_socket(live) as socket:
            await socket.send_bytes(data)
            assert await closed(socket) == code
    # A cookie alone is nobody's.
    with monkeypatch.context() as brief:
        brief.setattr(sockets, "SIGN_IN_SECONDS", 0.05)
        async with open_socket(live, cookies={"token": admin.token}) as socket:
            assert await closed(socket) == sockets.NOT_SIGNED_IN
    async with open_socket(live) as socket:
        await socket.send_json(auth(admin.token))
        await run(socket, "echo ready", b"ready")
        await socket.send_bytes(bytes(live.settings.websocket_max_message_kb * 1024 + 1))
        assert await closed(socket) == 1009


async def test_a_socket_ends_with_the_right_to_it(
    live: Live, admin: Actor, user: Actor, other: Actor, server: TerminalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SWEEP_SECONDS", 0.05)
    await set_up(admin, server.entry(**granted(user, other)))
    async with open_socket(live) as signed_out, open_socket(live) as deleted, open_socket(live) as ungranted:
        for socket, actor in ((signed_out, user), (deleted, other), (ungranted, user)):
            await socket.send_json(auth(actor.token))
            await run(socket, "echo ready", b"ready")
        assert (await admin.client.delete(f"/api/v1/users/{other.id}")).status_code == 200
        assert await closed(deleted) == sockets.NOT_SIGNED_IN
        await set_up(admin, server.entry())
        assert await closed(ungranted) == sockets.NOT_SIGNED_IN
        assert await closed(signed_out) == sockets.NOT_SIGNED_IN
    async with open_socket(live) as socket:
        await socket.send_json(auth(admin.token))
        await run(socket, "echo ready", b"ready")
        server.socket_closed.clear()
        async with live.client(admin.token) as client:
            await client.post("/api/v1/auths/signout")
        assert await closed(socket) == sockets.NOT_SIGNED_IN
    await asyncio.wait_for(server.socket_closed.wait(), 30)
    assert server.open_sockets == set()


async def test_there_are_only_so_many(
    live: Live, admin: Actor, server: TerminalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MOST", 1)
    await set_up(admin, server.entry())
    async with open_socket(live) as first, open_socket(live) as second:
        await first.send_json(auth(admin.token))
        await run(first, "echo ready", b"ready")
        await second.send_json(auth(admin.token))
        assert await closed(second) == sockets.TOO_MANY
