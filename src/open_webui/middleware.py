"""What happens around every request: its id and log line, security headers, a bound on its body. Plain ASGI, one layer."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_webui import failures
from open_webui.internal.forwarded import household
from open_webui.internal.log import get_logger, shown_path
from open_webui.internal.log import request_id as current_request_id

log = get_logger("open_webui.requests")

_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), geolocation=(self)"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NAMES: Final = frozenset(name for name, _ in _HEADERS)
# What interfaces answer is somebody's: no cache between, and none of a shared browser, stores it unless the reply says so.
# Replies to other methods are stored by no cache anyway (RFC 9111, 4), and with the header Chromium holds a request open
# whose reply the page doesn't read.
_STORABLE: Final = frozenset({"GET", "HEAD"})
_PRIVATE: Final = ("/api/", "/openai/", "/ollama/", "/metrics")
_NO_STORE: Final = (b"cache-control", b"no-store")
SLOW: Final = 5.0
# So many of the largest bodies may be in memory at once, and so many of one address: who lets his come slowly keeps none of
# the others' out.
BODIES_AT_ONCE: Final = 4
BODIES_OF_ADDRESS: Final = 2
# What is no larger is taken all the same.
SMALL_BODY: Final = 2**20
# Bodies that go by and are held by nobody; the route bounds them itself, once it knows who sends them.
STREAMED: Final = frozenset({("POST", "/api/v1/files/")})
# What costs most to begin, and how many of them are begun in one turn of the loop: some 3 ms of work.
COMPLETIONS: Final = "/chat/completions"
STARTS_A_TURN: Final = 6


class BodyTooLarge(HTTPException):
    """The body grew beyond the bound while it was read. An HTTPException, since the framework takes any other error that
    comes out of reading a body for a malformed one.
    """

    def __init__(self, bound: int) -> None:
        super().__init__(413, f"The request is larger than this server accepts ({bound // 2**20} MB).")


class TooManyBodies(HTTPException):
    """The bodies that are being handled fill the memory that they may take."""

    def __init__(self) -> None:
        super().__init__(
            503, "The server is handling many large requests. Try again in a moment.", {"Retry-After": "2"}
        )


class Origins(CORSMiddleware):
    """Tells browsers which other origins' pages may call: with cookies those that are named, never all ("*").

    Replies below the path `besides` have such headers of their own; two of them are worth none.
    """

    def __init__(self, app: ASGIApp, allowed: frozenset[str], besides: str) -> None:
        anyone = "*" in allowed
        super().__init__(
            app,
            allow_origins=["*"] if anyone else sorted(allowed),
            allow_credentials=not anyone,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )
        self._besides = besides

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self._besides):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class RequestThrottle:
    """Lets a few requests through in each turn of the event loop, the others in the turns after, in order.

    A crowd that arrives at once would otherwise be begun in one turn, and everybody else would wait until all of it is.
    """

    def __init__(self, a_turn: int) -> None:
        self._a_turn = a_turn
        self._let_in = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if self._let_in < self._a_turn and not self._waiting:
            self._count()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _count(self) -> None:
        if self._let_in == 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._let_in += 1

    def _next_turn(self) -> None:
        self._let_in = 0
        while self._waiting and self._let_in < self._a_turn:
            turn = self._waiting.popleft()
            if not turn.done():  # a client that left does not wait any more
                self._count()
                turn.set_result(None)


class _Body:
    """What has come of a request's body and is held. client: who sends it, known once it is large."""

    __slots__ = ("__weakref__", "client", "held")

    def __init__(self) -> None:
        self.held = 0
        self.client = ""


class Around:
    """Wraps the application. note: is told the scope of a request whenever work on it begins in a turn of the loop."""

    def __init__(self, app: ASGIApp, max_body: int, note: Callable[[Scope], object]) -> None:
        self._app = app
        self._note = note
        self._max_body = max_body
        # Bytes of bodies of requests that are being handled, and how many these may be.
        self._held = 0
        self._max_held = BODIES_AT_ONCE * max_body
        self._large: WeakSet[_Body] = WeakSet()
        self._throttle = RequestThrottle(STARTS_A_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or secrets.token_hex(8)
        bound = current_request_id.set(request_id)
        started = time.perf_counter()
        status = 0
        body = _Body()
        streamed = (scope["method"], scope["path"]) in STREAMED
        bounded = self._noted(scope, receive) if streamed else self._bounded(scope, receive, body)
        self._note(scope)
        id_header = (b"x-request-id", request_id.encode())

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                self._note(scope)
                status = message["status"]
                # What answers has read it. A stream may go on for minutes.
                self._held -= body.held
                body.held = 0
                headers = message.setdefault("headers", [])
                present = {name for name, _ in headers}
                headers.extend(h for h in _HEADERS if h[0] not in present) if present & _NAMES else headers.extend(
                    _HEADERS
                )
                headers.append(id_header)
                if (
                    b"cache-control" not in present
                    and scope["method"] in _STORABLE
                    and scope["path"].startswith(_PRIVATE)
                ):
                    headers.append(_NO_STORE)
            await send(message)

        try:
            if scope["path"].endswith(COMPLETIONS):
                await self._throttle.enter()
            if not streamed and _length(scope) > self._max_body:
                refusal = await failures.on_http(Request(scope), BodyTooLarge(self._max_body))
                await refusal(scope, receive, out)
            else:
                await self._app(scope, bounded, out)
        except ClientDisconnect:
            log.debug("the client left before its request was read", path=shown_path(scope["path"]))
        except Exception as error:
            # The boundary to the network: whatever went wrong, the client gets a reply, unless one has begun.
            reply = await failures.on_unexpected(Request(scope), error)
            if status != 0:
                raise
            await reply(scope, receive, out)
        finally:
            self._held -= body.held
            took = time.perf_counter() - started
            tell = log.info if status >= 500 or status == 0 or took > SLOW else log.debug
            path = shown_path(scope["path"])
            tell("request", method=scope["method"], path=path, status=status, seconds=round(took, 3))
            current_request_id.reset(bound)

    def _noted(self, scope: Scope, receive: Receive) -> Receive:
        """What receives a body that is not held."""

        async def noted() -> Message:
            message = await receive()
            self._note(scope)
            return message

        return noted

    def _bounded(self, scope: Scope, receive: Receive, body: _Body) -> Receive:
        """What receives the body, bounded."""
        left = self._max_body

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                self._note(scope)
                size = len(message.get("body", b""))
                left -= size
                if left < 0:
                    raise BodyTooLarge(self._max_body)
                body.held += size
                self._held += size
                if body.held > SMALL_BODY:
                    self._check_large(scope, body)
            return message

        return bounded

    def _check_large(self, scope: Scope, body: _Body) -> None:
        """Raises TooManyBodies for one beyond what all, or what one address, may have held."""
        if body not in self._large:
            body.client = household(scope["client"][0]) if scope.get("client") else ""
            self._large.add(body)
        mine = sum(other.held for other in self._large if other.client == body.client)
        if self._held > self._max_held or mine > BODIES_OF_ADDRESS * self._max_body:
            raise TooManyBodies


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            # Anything longer than twenty digits is beyond every bound, and costs time to parse.
            return int(value[:20]) if value.isdigit() else 0
    return 0


def _given_id(scope: Scope) -> str | None:
    """An id that a proxy gave the request, if it is a plain short word."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum() else None
    return None
