"""Requests of people that go through to a terminal server, and its answers, piece by piece, without anything active in them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from yarl import URL

from open_webui import constants
from open_webui.errors import OuiError, Unauthenticated
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.services.terminals import addresses
from open_webui.services.terminals.servers import Terminals
from open_webui.tools.servers import Server

log = get_logger(__name__)
# Of one person at once; bytes of an answer; seconds for a connection, and of silence.
MOST: Final = 32
MAX_ANSWER: Final = 2 * 2**30
CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 600.0
# What of a request a terminal server needs to know; neither cookies nor tokens of ours are among it.
SENT: Final = (
    "accept", "accept-language", "content-type", "content-length", "range", "if-range", "if-match", "if-none-match",
    "if-modified-since", "if-unmodified-since",
)  # fmt: skip
# What of an answer a client gets. Cookies, policies and how it travels are not among it.
PASSED: Final = (
    "content-type", "content-length", "content-disposition", "content-range", "content-language", "accept-ranges",
    "etag", "last-modified", "retry-after", "allow",
)  # fmt: skip
# Whatever a terminal server answers is never active content of our origin: it belongs to none, runs nothing, loads nothing.
SAFE: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; sandbox",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-store",
    # Proxies of the nginx kind would hold a stream back.
    "x-accel-buffering": "no",
}
# With `nosniff` no browser runs or applies a text.
_AS_TEXT: Final = ("javascript", "ecmascript", "jscript", "text/css", "application/wasm")
_NO_BODY: Final = frozenset({204, 205, 304})
AWAY: Final = "The terminal server '{}' can't be reached. {}"
NOT_IN: Final = "The terminal server '{}' did not take the key that it was given. An administrator can check it."
ELSEWHERE: Final = "The terminal server '{}' sends one on to another site."


class Through(Response):
    """The answer of a terminal server to a request: asked for when it is sent, and closed however that ends."""

    def __init__(
        self,
        terminals: Terminals,
        request: Request,
        whose: tuple[str, Principal],
        server: Server,
        path: str,
        chat_id: str | None = None,
    ) -> None:
        """whose: the credential, and who that is. path: below the server, encoded. chat_id: the chat that it is for."""
        token, principal = whose
        self.status_code, self.background = 200, None
        self._terminals, self._request, self._principal, self._token = terminals, request, principal, token
        self._server = server
        self._url = f"{server.url}/{path}" + addresses.query(request.scope["query_string"].decode("latin-1"))
        self._given, self._chat_id = _sent(request), chat_id or _session(request)
        # What went wrong with the client's own body.
        self._broken: Exception | None = None
        self._is_sent = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._given |= await self._terminals.headers(self._server, self._principal, self._chat_id)
        watch = self._terminals.watch
        with watch.hold(self._token, self._principal, self._server.id, "requests", MOST) as held:
            task = held.task
            watcher = asyncio.create_task(self._until_gone(receive, task))
            begun = False
            try:
                async with self._asked() as answer:
                    head = self._head(answer)
                    begun = True
                    await send({"type": "http.response.start", "status": answer.status, "headers": head})
                    await self._pass_on(answer, send)
            except asyncio.CancelledError:
                # The client is gone, or its right is: there is nobody to tell.
                if held.ended or watcher.done():
                    task.uncancel()
                if not begun and held.ended:
                    raise Unauthenticated(constants.UNAUTHORIZED) from None
                if not begun:
                    await Response(status_code=499)(scope, receive, send)
            finally:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher

    async def _until_gone(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        # Until its body has come, what reads that hears of a client that goes.
        await self._is_sent.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    def _has_body(self) -> bool:
        headers = self._request.headers
        return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._request.stream():
                if part:
                    yield part
        except (HTTPException, ClientDisconnect) as error:
            self._broken = error
            raise
        finally:
            self._is_sent.set()

    @contextlib.asynccontextmanager
    async def _asked(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open answer. Raises OuiError, and what reading the client's body raises."""
        if not self._has_body():
            await self._request.body()
            self._is_sent.set()
        data = self._body() if self._has_body() else None
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        try:
            answer = await self._terminals.deps.http.request(
                self._request.method, URL(self._url, encoded=True), headers=self._given, data=data, timeout=limits,
                allow_redirects=False,
            )  # fmt: skip
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if self._broken is not None:
                raise self._broken from None
            log.info("a terminal server can't be reached", server=self._server.id, why=repr(error)[:200])
            raise OuiError(AWAY.format(self._server.name, _why(error)), status=502) from None
        finally:
            # It may have answered before it had read all; then a client that goes is heard of all the same.
            self._is_sent.set()
        try:
            yield answer
        finally:
            answer.close()

    def _head(self, answer: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
        """The headers for the client. Raises OuiError for an answer that is none for people."""
        if answer.status in {401, 407}:
            # The client would take it for the end of its own session.
            raise OuiError(NOT_IN.format(self._server.name), status=502)
        out = {name: answer.headers[name] for name in PASSED if name in answer.headers}
        # Decoded by now, so of another length.
        if "content-encoding" in answer.headers or answer.status in _NO_BODY:
            out.pop("content-length", None)
        if "content-type" in out:
            out["content-type"] = safe_type(out["content-type"])
        if (place := answer.headers.get("location")) is not None:
            ours = f"/api/v1/terminals/{self._server.id}"
            to = addresses.location(ours, self._server.url, self._url, place)
            if to is None:
                raise OuiError(ELSEWHERE.format(self._server.name), status=502)
            out["location"] = to
        return [(name.encode(), text.encode("latin-1", "replace")) for name, text in (out | SAFE).items()]

    async def _pass_on(self, answer: aiohttp.ClientResponse, send: Send) -> None:
        size = 0
        try:
            async for part in answer.content.iter_any():
                size += len(part)
                if size > MAX_ANSWER:
                    log.warning("an answer of a terminal server is too large", server=self._server.id)
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The connection to the client ends in the middle, so that nobody takes it for the whole.
            log.info("an answer of a terminal server broke off", server=self._server.id, why=repr(error)[:200])
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _sent(request: Request) -> dict[str, str]:
    out = {name: request.headers[name] for name in SENT if name in request.headers}
    # Each request has a connection of its own: a body that goes by can't be sent a second time over a fresh one.
    return out | {"accept-encoding": "identity", "connection": "close"}


def _session(request: Request) -> str | None:
    """The chat that a page names itself: where its folder is remembered, of those of the same person."""
    given = request.headers.get("x-session-id", "")
    return given if addresses.SESSION_ID.fullmatch(given) else None


def safe_type(kind: str) -> str:
    """A media type that no browser runs: scripts and styles are texts."""
    base, _, rest = kind.partition(";")
    if any(name in base.lower() for name in _AS_TEXT):
        return f"text/plain;{rest}" if rest else "text/plain"
    return kind if kind.isascii() and kind.isprintable() else "application/octet-stream"


def _why(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "It did not answer in time."
        case aiohttp.ClientConnectorDNSError():
            return "Its host can't be found."
        case aiohttp.ClientConnectorError():
            return "It may not be running."
    return "It closed the connection."
