"""What MCP clients call: streamable HTTP without sessions that anybody keeps, so that each process answers alike."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, NoReturn
from urllib.parse import urlsplit

import msgspec
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.access.policy import USER
from open_webui.chat.delivery.sse import HEADERS, PING, PING_SECONDS
from open_webui.deps import AppState, Caller
from open_webui.errors import Forbidden, NotFound, OuiError, Unauthenticated
from open_webui.internal.forwarded import is_own_origin
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.routing import FastRequest, Json, allow, credential, encode, new_router, unless_gone
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.mcp_endpoint import messages
from open_webui.services.mcp_endpoint.messages import Notification, Problem, Wire
from open_webui.state import State
from open_webui.utils.loading import load

log = get_logger(__name__)
router = new_router(tag="mcp")
PATH: Final = "/mcp"
OFF: Final = "This server is no MCP server at the moment. An administrator switches it on with ENABLE_MCP_SERVER."
NO_STREAM: Final = "There is no stream of events at this address. Send messages by POST."
ORIGIN: Final = "Pages of other sites may not speak MCP with this server."
MAX_BODY: Final = 4 * 2**20
MAX_BATCH: Final = 20
# Steps that wait for a client that reads slowly; further ones are not told.
_MOST_WAITING: Final = 100
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Not needed to start.
_ENDPOINT: Final = "open_webui.services.mcp_endpoint.endpoint"


class Sender(msgspec.Struct, frozen=True):
    """Where a message comes from: `services.mcp_endpoint.endpoint.From`."""

    principal: Principal
    session: str | None
    tell: Callable[[str], None] | None = None


@router.post(PATH)
@allow(USER)
async def message(
    request: "Annotated[Request, Shape(replies.mcp.Message | list[replies.mcp.Message])]",
    state: AppState,
    caller: Caller,
) -> "Annotated[Response, Shape(replies.mcp.Message | list[replies.mcp.Message]), Media('text/event-stream', also=(202,))]":
    """Takes a message of an MCP client, and answers it. With a `progressToken` a call of a tool is answered by events."""
    _check(request, state)
    try:
        version, session = _version(request), _session(request)
        given = await _body(request)
        if not isinstance(given, list):
            return await _one(request, state, Sender(caller, session), messages.parse(given))
        parsed = _batch(given, version)
    except Problem as problem:
        return Json(problem.wire(problem.id), status_code=400)
    return await unless_gone(request, _all(state, Sender(caller, session), parsed))


@router.get(PATH)
@allow(USER)
async def stream() -> NoReturn:
    """Refuses: an MCP server may have a stream for what it says by itself, and this one says nothing by itself."""
    raise OuiError(NO_STREAM, status=405, headers={"Allow": "POST"})


@router.delete(PATH)
@allow(USER)
async def end() -> NoReturn:
    """Refuses: nothing is kept of a session that could be ended."""
    raise OuiError("Sessions need no end at this server.", status=405, headers={"Allow": "POST"})


def _check(request: Request, state: State) -> None:
    """Raises OuiError unless a client speaks here that may: with a token of its own, and from no page of another site."""
    if credential(request)[1]:
        raise Unauthenticated("Send an API key or a token: `Authorization: Bearer ...`. Cookies are for pages.")
    origin = request.headers.get("origin")
    if origin is not None and not _is_known(origin, request, state):
        raise Forbidden(ORIGIN, status=403)
    if not state.config["mcp.server.enable"]:
        raise NotFound(OFF)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise OuiError("Send JSON with the header 'Content-Type: application/json'.", status=415)


def _is_known(origin: str, request: Request, state: State) -> bool:
    """Whether a page of this origin may speak here: one that an admin named, or one of this machine that is our own. The name
    by which it was called is not believed: whoever owns a name can lead it here (DNS rebinding).
    """
    url = urlsplit(str(state.config["webui.url"]))
    if origin in state.allowed_origins or origin == f"{url.scheme}://{url.netloc}":
        return True
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host in _LOOPBACK and is_own_origin(origin, request.url.scheme, request.headers.get("host"))


def _version(request: Request) -> str:
    version = request.headers.get("mcp-protocol-version", messages.UNSAID)
    if version not in messages.VERSIONS:
        data = {"supported": list(messages.VERSIONS), "requested": version[:100]}
        raise Problem(messages.UNKNOWN_VERSION, "This version of the protocol is not spoken here.", data)
    return version


def _session(request: Request) -> str | None:
    session = request.headers.get("mcp-session-id")
    if session is not None and not (0 < len(session) <= 200 and session.isascii() and session.isprintable()):
        raise Problem(messages.INVALID_REQUEST, "The session's id is none of this server's.")
    return session


async def _body(request: Request) -> Any:
    assert isinstance(request, FastRequest), "routes are given one"
    await request.read_small(MAX_BODY)
    try:
        return await request.json()
    except json.JSONDecodeError as error:
        raise Problem(messages.PARSE_ERROR, f"The message is not valid JSON: {error.msg}.") from None


def _batch(given: list[Any], version: str) -> list[Any]:
    if version != messages.BATCHES:
        raise Problem(
            messages.INVALID_REQUEST, "This version of the protocol has no batches. Send one message at a time."
        )
    if not 0 < len(given) <= MAX_BATCH:
        raise Problem(messages.INVALID_REQUEST, f"A batch has 1 to {MAX_BATCH} messages.")
    parsed = [messages.parse(one) for one in given]
    if any(isinstance(one, messages.Request) and one.method == "initialize" for one in parsed):
        raise Problem(messages.INVALID_REQUEST, "`initialize` comes alone.")
    return parsed


async def _endpoint() -> Any:
    return await load(_ENDPOINT)


async def _one(request: Request, state: State, sender: Sender, given: Any) -> Response:
    endpoint = await _endpoint()
    if given is None or isinstance(given, Notification):
        if given is not None:
            endpoint.note(state, sender, given)
        return Response(status_code=202)
    if given.method == "tools/call" and given.token is not None and _takes_events(request):
        return _events(request, state, sender, given, endpoint)
    response = await unless_gone(request, _whole(state, sender, given, endpoint))
    if given.method == "initialize" and response.status_code == 200:
        response.headers["mcp-session-id"] = secrets.token_hex(16)
    return response


async def _whole(state: State, sender: Sender, given: messages.Request, endpoint: Any) -> Response:
    with state.streams.reserve(sender.principal):
        return Json(await endpoint.answer(state, sender, given))


async def _all(state: State, sender: Sender, parsed: list[Any]) -> Response:
    """The answers to a batch, one after the other."""
    endpoint = await _endpoint()
    answers: list[Wire] = []
    with state.streams.reserve(sender.principal):
        for given in parsed:
            if isinstance(given, Notification):
                endpoint.note(state, sender, given)
            elif given is not None:
                answers.append(await endpoint.answer(state, sender, given))
    return Json(answers) if answers else Response(status_code=202)


def _takes_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _events(request: Request, state: State, sender: Sender, given: messages.Request, endpoint: Any) -> Response:
    """A response that tells the steps of a call. It ends with the credential that it was asked with."""
    with state.streams.reserve(sender.principal):
        pass
    token, _ = credential(request)
    assert token is not None, "it was let in by one"

    async def work(tell: Callable[[str], None]) -> Wire:
        answer: Wire = await endpoint.answer(state, msgspec.structs.replace(sender, tell=tell), given)
        return answer

    return state.streams.bind(token, sender.principal, Steps(work, given))


class Steps(Response):
    """The steps of a call as events, and its answer as the last. The call ends with the client."""

    def __init__(self, work: Callable[[Callable[[str], None]], Awaitable[Wire]], given: messages.Request) -> None:
        self._work, self._given = work, given
        self.status_code = 200
        self.background = None
        self._count = 0
        # What is to be sent; None: there is nothing more.
        self._queue: asyncio.Queue[Wire | None] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        work = asyncio.ensure_future(self._work(self._tell))
        gone = asyncio.create_task(_gone(receive))
        for task in (work, gone):
            task.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            await self._pass_on(send)
            if work.done():
                last = _event(self._ended(work))
                await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})

    def _tell(self, text: str) -> None:
        if self._queue.qsize() < _MOST_WAITING and self._given.token is not None:
            self._count += 1
            self._queue.put_nowait(messages.progress(self._given.token, self._count, text))

    async def _pass_on(self, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    step = await self._queue.get()
            except TimeoutError:
                body = PING
            else:
                if step is None:
                    return
                body = _event(step)
            await send({"type": "http.response.body", "body": body, "more_body": True})

    def _ended(self, work: "asyncio.Future[Wire]") -> Wire:
        error = work.exception()
        if error is None:
            return work.result()
        log.error("an MCP call failed", exc_info=error)
        return Problem(messages.INTERNAL, OuiError.detail).wire(self._given.id)


def _event(wire: Wire) -> bytes:
    return b"event: message\ndata: " + encode(wire) + b"\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
