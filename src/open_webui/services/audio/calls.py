"""Calls: a page's websocket that is bridged to a service of speech, for whom it is allowed and within limits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from open_webui.access.identify import Identifier
from open_webui.audio.realtime import LATE, SAMPLE_RATE, Conversation, Service, service_of
from open_webui.config import Config
from open_webui.connections.base import Models
from open_webui.connections.gate import Gate
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError, ProviderError
from open_webui.internal.db import Database
from open_webui.internal.forwarded import is_own_origin
from open_webui.internal.log import get_logger
from open_webui.internal.straight import straight
from open_webui.models import chats
from open_webui.principal import Principal
from open_webui.services.terminals.watch import Watch

log = get_logger(__name__)
# Of one person at once, in one process: a page that is loaded anew may come before its old call has gone.
MOST: Final = 2
# Seconds until a socket says whose it is; for the service to take the call; for a page to take one message.
SIGN_IN_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 30.0
SEND_SECONDS: Final = 30.0
# Seconds that a call lasts; in which nobody says anything; and in which its page gives no sign, which it does every ten.
LONGEST: Final = 3_600.0
QUIET: Final = 600.0
SILENT: Final = 60.0
# Bytes of a page's first message, of the others (an answer of the chat, or what was written in it), and of the service's.
MAX_FIRST: Final = 8_192
MAX_SAID: Final = 2**20
MAX_HEARD: Final = 4 * 2**20
MAX_TOKEN: Final = 4_096
# Messages that a page may send at once, and each second after those: it sends 25 of sound.
BURST: Final = 500
A_SECOND: Final = 100
# Why a socket ends, beside the codes of WebSocket: as those of terminals.
NOT_SIGNED_IN, NOT_FOR_YOU, AWAY, TOO_MANY, OVER = 4001, 4003, 4502, 4029, 4008
MANY: Final = "You have {} {} already, which is the most at once."
ENDED: Final = "Your right to this call has ended."
LOST: Final = "The service of speech has ended the call."
_NOT_PERMITTED: Final = "You may not make calls on this server."
_OFF: Final = "Calls are not switched on: an administrator does that in the settings of audio."
# How the ids of chats begin that lie nowhere but in their page.
_TEMPORARY: Final = ("temporary:", "local:")
_FRAMES: Final = "open_webui.frames"
_CODES: Final = {401: NOT_FOR_YOU, 403: NOT_FOR_YOU, 404: NOT_FOR_YOU, 429: TOO_MANY, 400: 1008}


class Deps(Protocol):
    """What it needs of the state."""

    config: Config
    http: aiohttp.ClientSession
    database: Database
    gate: Gate
    identifier: Identifier

    @property
    def catalogue(self) -> Models: ...

    @property
    def allowed_origins(self) -> frozenset[str]: ...


class Frames(Protocol):
    """What the server's own WebSocket connection takes besides (socket/frames.py)."""

    def accept_bytes(self, size: int, burst: int, a_second: float) -> None: ...


class Refused(OuiError):
    """Why a call ends: a code of its socket, and a sentence that the page shows. It counts as a request that took too long."""

    status = 408

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Calls:
    """All calls of this process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.watch = Watch(deps.identifier, self.may_call, MANY)

    async def close(self) -> None:
        """Ends all of them."""
        await self.watch.close()

    def may_call(self, principal: Principal, model_id: str) -> bool:
        """Whether somebody may have a call with a model of the chat now."""
        try:
            self._model(principal, model_id)
        except OuiError:
            return False
        return True

    def _model(self, principal: Principal, model_id: str) -> object:
        """The voice that the model has of its own, if it has. Raises Forbidden, NotFound."""
        if not principal.may("chat.call"):
            raise Forbidden(_NOT_PERMITTED)
        if not self._deps.config["audio.realtime.enabled"]:
            raise Forbidden(_OFF)
        own = self._deps.catalogue.resolve(principal, model_id).meta.get("voice")
        return own.get("voice") if isinstance(own, dict) else None

    async def attach(self, socket: WebSocket) -> None:
        """Serves a page's socket until either side ends it, or its right ends."""
        if not self._is_from_here(socket):
            await socket.close(1008)
            return
        frames: Frames | None = socket.scope.get("extensions", {}).get(_FRAMES)
        if frames is not None:
            frames.accept_bytes(MAX_FIRST, BURST, A_SECOND)
        await socket.accept()
        try:
            token, principal, said = await self._signed_in(socket)
            model_id = await self._checked(principal, said)
            if frames is not None:
                frames.accept_bytes(MAX_SAID, BURST, A_SECOND)
            await self._serve(socket, token, principal, model_id)
        except OuiError as error:
            code = error.code if isinstance(error, Refused) else _CODES.get(error.status, AWAY)
            await _end(socket, code, error.detail)
        except WebSocketDisconnect:
            pass

    def _is_from_here(self, socket: WebSocket) -> bool:
        """Whether a page of this origin, or of one that may call, opened it, or no page at all."""
        headers = socket.headers
        origin = headers.get("origin")
        return (
            origin is None
            or origin in self._deps.allowed_origins
            or is_own_origin(origin, socket.url.scheme, headers.get("host"), headers.get("x-forwarded-host"))
        )

    async def _signed_in(self, socket: WebSocket) -> tuple[str, Principal, dict[str, Any]]:
        """Whose it is, by its first message. A cookie is not taken: pages of other sites send it, too. Nor is a key."""
        said: Any = None
        with contextlib.suppress(TimeoutError, KeyError):
            async with asyncio.timeout(SIGN_IN_SECONDS):
                said = _decoded(await socket.receive_text())
        token = said.get("token") if isinstance(said, dict) and said.get("type") == "auth" else None
        principal = None
        if isinstance(token, str) and 0 < len(token := token.strip()) <= MAX_TOKEN:
            principal = await self._deps.identifier.identify(token)
        if not isinstance(token, str) or principal is None or not principal.is_active:
            raise Refused(NOT_SIGNED_IN, "Sign in again.")
        if principal.via != "session":
            raise Refused(NOT_FOR_YOU, "Calls are for people at a page, not for API keys.")
        return token, principal, said

    async def _checked(self, principal: Principal, said: dict[str, Any]) -> str:
        """The chat's model. Raises Forbidden, NotFound, BadRequest."""
        model_id, chat_id = said.get("model_id"), said.get("chat_id")
        if not isinstance(model_id, str) or not model_id:
            raise BadRequest("Choose a model of this server for the chat first.")
        await self._deps.catalogue.wait_until_listed(model_id)
        self._model(principal, model_id)
        if chat_id and not (isinstance(chat_id, str) and chat_id.startswith(_TEMPORARY)):
            unknown = NotFound("There is no such chat, or it is not yours.")
            if not isinstance(chat_id, str) or "\x00" in chat_id:
                raise unknown
            async with self._deps.database.look() as connection:
                if await chats.get(connection, principal, chat_id, "write") is None:
                    raise unknown
        return model_id

    async def _serve(self, socket: WebSocket, token: str, principal: Principal, model_id: str) -> None:
        service = service_of(self._deps.config, self._model(principal, model_id))
        with self.watch.hold(token, principal, model_id, "calls", MOST) as held:
            try:
                async with self._deps.gate.audio(principal, "realtime", service.model) as meter:
                    call = _Call(socket, service)
                    try:
                        await call.run(self._deps.http)
                    finally:
                        meter.usage = call.usage
            except asyncio.CancelledError:
                if not held.ended:
                    raise
                held.task.uncancel()
                raise Refused(NOT_SIGNED_IN, ENDED) from None


class _Call:
    """One call. usage: the tokens that its service has told, None before it has told any."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self.usage: dict[str, Any] | None = None
        self._socket = socket
        self._service = service
        self._conversation = Conversation(service)
        self._spoke_at = self._heard_at = time.monotonic()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Until the page hangs up. Raises Refused, ProviderError."""
        async with self._upstream(http) as upstream:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._open(upstream)
            except TimeoutError:
                raise ProviderError("The service of speech did not take the call in time.", status=504) from None
            except (aiohttp.ClientError, OSError):
                raise ProviderError(LOST) from None
            await self._both(upstream)

    @contextlib.asynccontextmanager
    async def _upstream(self, http: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The service's side. Raises ProviderError."""
        # The key goes to the address of the settings, and to none that it names.
        async with straight(http) as session:
            upstream = await self._connected(session)
            try:
                yield upstream
            finally:
                await upstream.close()

    async def _connected(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await session.ws_connect(
                    self._service.url, headers=self._service.headers, max_msg_size=MAX_HEARD, heartbeat=25.0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            refused = "did not take its key" if error.status in {401, 403} else f"answered with {error.status}"
            raise ProviderError(f"The service of speech {refused}. An administrator can check it.") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.info("a service of speech can't be reached", why=type(error).__name__)
            raise ProviderError("The service of speech can't be reached.") from None

    async def _open(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        """Has the service take the settings of the call, and tells the page that it may speak."""
        await upstream.send_str(_encoded(self._conversation.opening()))
        async for message in upstream:
            event = _decoded(message.data)
            if not isinstance(event, dict):
                continue
            if event.get("type") == "error":
                raise self._failed(event)
            if event.get("type") == "session.updated":
                break
        else:
            raise ProviderError(LOST)
        service = self._service
        await self._tell(
            {"type": "bridge.ready", "sample_rate": SAMPLE_RATE, "model": service.model, "voice": service.voice}
        )

    async def _both(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        """Passes events both ways until one side ends, or the call has lasted long enough. Raises Refused, ProviderError."""
        ways = [asyncio.create_task(way) for way in (self._up(upstream), self._down(upstream), self._watch())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        # A page that hangs up, or hears nothing any more, ends the call whatever else goes wrong then.
        for task in sorted(done, key=ways.index):
            try:
                task.result()
                return
            except (aiohttp.ClientError, OSError):
                raise ProviderError(LOST) from None
            except (WebSocketDisconnect, RuntimeError):
                return

    async def _up(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            said = _decoded(message.get("text") or "")
            self._heard_at = time.monotonic()
            wanted = self._conversation.sent(said)
            if wanted is not None:
                await upstream.send_str(_encoded(wanted))
            elif said["type"] == "bridge.ping":
                await self._tell({"type": "bridge.pong"})

    async def _down(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        async for message in upstream:
            event = _decoded(message.data)
            if not isinstance(event, dict):
                continue
            if event.get("type") == "error":
                error = event.get("error")
                if not isinstance(error, dict) or error.get("event_id") != LATE:
                    raise self._failed(event)
                continue
            if (told := self._conversation.heard(event)) is not None:
                self._spoke_at = time.monotonic()
                await self._tell(told)
            if event.get("type") == "response.done":
                self._count(event.get("response"))
        raise ProviderError(LOST)

    async def _watch(self) -> None:
        """Raises Refused once the call has lasted too long, or nobody is there any more."""
        end = time.monotonic() + LONGEST
        while True:
            ends = (end, self._spoke_at + QUIET, self._heard_at + SILENT)
            if (left := min(ends) - time.monotonic()) <= 0:
                why = ("was too long", "was quiet for too long", "lost its page")[ends.index(min(ends))]
                raise Refused(OVER, f"The call {why}. Begin another one.")
            await asyncio.sleep(left)

    def _count(self, response: Any) -> None:
        """Adds the tokens of one answer."""
        told = response.get("usage") if isinstance(response, dict) else None
        if isinstance(told, dict):
            self.usage = self.usage or {"input_tokens": 0, "output_tokens": 0}
            for name in self.usage:
                if isinstance(more := told.get(name), int) and 0 <= more < 2**31:
                    self.usage[name] += more

    def _failed(self, event: dict[str, Any]) -> ProviderError:
        error = event.get("error")
        said = error.get("message") if isinstance(error, dict) else None
        said = said if isinstance(said, str) and said else "it gave no reason"
        if self._service.key:
            said = said.replace(self._service.key, "***")
        return ProviderError(f"The service of speech has a problem: {said[:500]}")

    async def _tell(self, event: dict[str, Any]) -> None:
        """Raises Refused for a page that takes nothing."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_text(_encoded(event))
        except TimeoutError:
            raise Refused(OVER, "The page takes nothing any more.") from None


def _encoded(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()


def _decoded(text: Any) -> Any:
    """None for what is no JSON, as for a message that is no text."""
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, RecursionError):
        return None


async def _end(socket: WebSocket, code: int, reason: str) -> None:
    """Tells the page why, and closes."""
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError, TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await socket.send_text(_encoded({"type": "bridge.error", "message": reason}))
                # 123 bytes are what a closing frame has room for.
                await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
