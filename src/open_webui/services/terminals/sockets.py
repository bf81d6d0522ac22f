"""Sockets of people that go through to a terminal server: what one types there, and what the terminal says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Protocol
from urllib.parse import quote

import aiohttp
import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from open_webui.access.api_keys import check_key
from open_webui.errors import NotFound, OuiError
from open_webui.internal.forwarded import is_own_origin
from open_webui.internal.log import get_logger
from open_webui.models import chats
from open_webui.principal import Principal
from open_webui.services.terminals import addresses
from open_webui.services.terminals.servers import Terminals
from open_webui.tools.servers import Server

log = get_logger(__name__)
# Of one person at once; seconds until a socket says whose it is, and for a server to take it.
MOST: Final = 20
SIGN_IN_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 30.0
# Seconds between two signs of life on both sides.
PING_SECONDS: Final = 25.0
MAX_TOKEN: Final = 4096
# What an API key needs: the tag of the routes of terminals.
SCOPE: Final = "terminals"
# Bytes of a message from a server; those of a client are bounded as all sockets are.
MAX_MESSAGE: Final = 2**20
# Frames that a client may send at once, and each second after those: keys that are held down, and a mouse that moves.
BURST: Final = 2_000
A_SECOND: Final = 400
# Why a socket ends, beside the codes of WebSocket.
NOT_SIGNED_IN, NOT_FOR_YOU, AWAY, TOO_MANY = 4001, 4003, 4502, 4029
_FRAMES: Final = "open_webui.frames"
# How the ids of chats begin that lie nowhere but in their page.
TEMPORARY: Final = ("temporary:", "local:")
_PING: Final = b"\x89\x00"


class Frames(Protocol):
    """What the server's own WebSocket connection takes besides (socket/frames.py)."""

    def accept_bytes(self, size: int, burst: int, a_second: float) -> None: ...

    def write_frame(self, frame: bytes) -> None: ...


class Refused(Exception):
    """Why a socket is closed: a code, and a sentence."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason


async def attach(terminals: Terminals, socket: WebSocket, server_id: str, session_id: str) -> None:
    """Serves a client's socket until either side ends it, or its right ends."""
    if not _is_from_here(terminals, socket) or not addresses.SESSION_ID.fullmatch(session_id):
        await socket.close(1008)
        return
    frames: Frames | None = socket.scope.get("extensions", {}).get(_FRAMES)
    if frames is not None:
        # A client may type before it is known; large messages are for those who are.
        frames.accept_bytes(MAX_TOKEN, BURST, A_SECOND)
    await socket.accept()
    try:
        token, principal, named = await _signed_in(terminals, socket)
        chat_id = socket.query_params.get("chat_id") or named
        server = await _server(terminals, principal, server_id, chat_id)
        if frames is not None:
            frames.accept_bytes(terminals.deps.settings.websocket_max_message_kb * 1024, BURST, A_SECOND)
        await _serve(terminals, socket, (token, principal), server, session_id, chat_id)
    except Refused as refusal:
        await _close(socket, refusal.code, refusal.reason)
    except OuiError as error:
        await _close(socket, {429: TOO_MANY, 401: NOT_FOR_YOU, 403: NOT_FOR_YOU}.get(error.status, AWAY), error.detail)
    except WebSocketDisconnect:
        pass


def _is_from_here(terminals: Terminals, socket: WebSocket) -> bool:
    """Whether a page of this origin, or of one that may call, opened it, or no page at all."""
    origin = socket.headers.get("origin")
    if origin is None or origin in terminals.deps.allowed_origins:
        return True
    headers = socket.headers
    return is_own_origin(origin, socket.url.scheme, headers.get("host"), headers.get("x-forwarded-host"))


async def _signed_in(terminals: Terminals, socket: WebSocket) -> tuple[str, Principal, str | None]:
    """Whose it is, by its header or its first message, and the chat that this names. A cookie is not taken: pages of other
    sites send it, too.
    """
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    chat_id = None
    if scheme.lower() != "bearer" or not token.strip():
        try:
            async with asyncio.timeout(SIGN_IN_SECONDS):
                token, chat_id = said_in(await socket.receive_text())
        except (TimeoutError, KeyError):
            token = ""
    token = token.strip()
    principal = await terminals.deps.identifier.identify(token) if 0 < len(token) <= MAX_TOKEN else None
    if principal is None or not principal.is_active:
        raise Refused(NOT_SIGNED_IN, "Sign in again.")
    if principal.key is not None:
        address = socket.client.host if socket.client is not None else ""
        check_key(principal.key, SCOPE, address, socket.url.path, terminals.deps.config)
    return token, principal, chat_id


def said_in(text: str) -> tuple[str, str | None]:
    """The token and the chat of a first message, `{"type": "auth", "token": ..., "chat_id": ...}`; empty for any other.

    A chat that is not stored is none.
    """
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return "", None
    if not isinstance(said, dict) or said.get("type") != "auth":
        return "", None
    token, chat_id = said.get("token"), said.get("chat_id")
    stored = isinstance(chat_id, str) and chat_id != "" and not chat_id.startswith(TEMPORARY)
    return token if isinstance(token, str) else "", chat_id if stored else None


async def _server(terminals: Terminals, principal: Principal, server_id: str, chat_id: str | None) -> Server:
    """The server. Raises Refused, also for a chat that is not the person's to write into."""
    try:
        server = terminals.find(principal, server_id)
        if chat_id is not None:
            await check_chat(terminals, principal, chat_id)
    except NotFound as error:
        raise Refused(NOT_FOR_YOU, error.detail) from None
    return server


async def check_chat(terminals: Terminals, principal: Principal, chat_id: str) -> None:
    """Raises NotFound for a chat that is not the person's to write into."""
    async with terminals.deps.database.look() as connection:
        if "\x00" in chat_id or await chats.get(connection, principal, chat_id, "write") is None:
            raise NotFound("There is no such chat, or it is not yours.")


async def _serve(
    terminals: Terminals,
    socket: WebSocket,
    whose: tuple[str, Principal],
    server: Server,
    session_id: str,
    chat_id: str | None,
) -> None:
    token, principal = whose
    with terminals.watch.hold(token, principal, server.id, "sockets", MOST) as held:
        try:
            async with _upstream(terminals, principal, server, session_id, chat_id) as upstream:
                code, reason = await _both(socket, upstream)
        except asyncio.CancelledError:
            if not held.ended:
                raise
            held.task.uncancel()
            code, reason = NOT_SIGNED_IN, "Your right to this terminal has ended."
    await _close(socket, code, reason)


@contextlib.asynccontextmanager
async def _upstream(
    terminals: Terminals, principal: Principal, server: Server, session_id: str, chat_id: str | None
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The server's side, which has been told its key. Raises OuiError."""
    headers = await terminals.headers(server, principal, chat_id)
    # A server of the kind looks for one of them, in its header or here.
    url = f"{server.url}/api/terminals/{quote(session_id, safe='')}?user_id={quote(principal.id, safe='')}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            upstream = await terminals.deps.http.ws_connect(
                url.replace("http", "ws", 1), headers=headers, max_msg_size=MAX_MESSAGE, heartbeat=PING_SECONDS,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )  # fmt: skip
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        log.info("a terminal can't be opened", server=server.id, why=repr(error)[:200])
        raise OuiError(f"The terminal server '{server.name}' can't be reached.", status=502) from None
    try:
        if key := headers.get("authorization", "").removeprefix("Bearer "):
            await upstream.send_json({"type": "auth", "token": key})
        yield upstream
    finally:
        await upstream.close()


async def _both(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
    """Passes messages both ways until one side ends; then the other is ended, too. How it is to end for the client."""
    ways = [asyncio.create_task(_up(socket, upstream)), asyncio.create_task(_down(socket, upstream))]
    pings = asyncio.create_task(_ping(socket.scope.get("extensions", {}).get(_FRAMES)))
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*ways, pings):
            task.cancel()
        await asyncio.gather(*ways, pings, return_exceptions=True)
    if (error := next((w.exception() for w in ways if not w.cancelled() and w.exception()), None)) is not None:
        log.info("a terminal's socket broke off", why=repr(error)[:200])
        return 1011, "The terminal's connection broke off."
    code = upstream.close_code
    if code == NOT_SIGNED_IN:
        # The client would take it for the end of its own session.
        return AWAY, "The terminal server did not take the key that it was given."
    if code is None or not (code in {1000, 1001, 1003, 1007, 1008, 1009, 1011} or 3000 <= code < 5000):
        code = 1000 if code in {None, 1005} else 1011
    return code, ""


async def _up(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> None:
    while (message := await socket.receive())["type"] == "websocket.receive":
        if (data := message.get("bytes")) is not None:
            await upstream.send_bytes(data)
        # A token of ours is not for a terminal server, whenever it comes.
        elif not said_in(text := message.get("text") or "")[0]:
            await upstream.send_str(text)


async def _down(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> None:
    async for message in upstream:
        if message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_text(message.data)


async def _ping(frames: Frames | None) -> None:
    """Signs of life, so that proxies keep a quiet terminal, and a client that is gone is known."""
    while frames is not None:
        await asyncio.sleep(PING_SECONDS)
        frames.write_frame(_PING)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            # 123 bytes are what a closing frame has room for.
            await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
