"""MCP sessions, many at once: each lives in a task of its own, from its handshake to its end."""

import asyncio
import contextlib
import contextvars
import itertools
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx2
import mcp_types as types
from anyio import EndOfStream
from anyio.streams.text import TextReceiveStream
from mcp.client import Client, stdio
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError
from mcp.shared.subscriptions import PromptsListChanged, ResourcesListChanged, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from open_webui.tools.mcp import reading
from open_webui.tools.mcp.frames import (
    Answer,
    Ask,
    Call,
    Cancel,
    Changed,
    Close,
    Done,
    Ended,
    Failed,
    FromChild,
    Listing,
    Offer,
    Open,
    Progress,
    Target,
    ToChild,
    Trouble,
)
from open_webui.tools.oauth_challenge import named_in

# Of one server: tools, pages of their list, bytes of one reply. Of one call: steps that are told, addresses opened before it.
MAX_TOOLS: Final = 500
MAX_PAGES: Final = 50
MAX_REPLY: Final = 24 * 2**20
MAX_STEPS: Final = 200
MAX_LINKS: Final = 5
# Seconds: between two readings of a changing list; in which a closed session ends, or is seen to be gone after a failed call.
_PAUSE: Final = 1.0
_GRACE: Final = 2.0
_UNKNOWN: Final = re.compile(
    rb"(?i)(?:no valid|invalid|unknown|expired) session|session[^.]{0,60}(?:not found|expired|unknown)"
)
# An error's code between the transport and the call; servers have others.
_TOO_FEW_RIGHTS: Final = -31_403
_CLIENT: Final = types.Implementation(name="oui-backend", version="1")
# The lists that may change, by what says so; the tools are "tools".
_NEWS: Final[dict[type[Any], str]] = {
    types.ToolListChangedNotification: "tools",
    types.ResourceListChangedNotification: "resources",
    types.PromptListChangedNotification: "prompts",
    ToolsListChanged: "tools",
    ResourcesListChanged: "resources",
    PromptsListChanged: "prompts",
}
# The call whose work the running code does, where the library keeps that.
_of_call: contextvars.ContextVar[int | None] = contextvars.ContextVar("of_call", default=None)


class _TooLong(httpx2.TransportError):
    """A reply without an end."""


class _Packed(httpx2.TransportError):
    """A reply that is compressed."""


class _Bounded(httpx2.AsyncByteStream):
    """A reply's bytes, up to a bound."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MAX_REPLY:
                raise _TooLong(f"The server sent more than {MAX_REPLY:,} bytes.")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


# Ends the session whose program the running code hears.
_end_of_line: contextvars.ContextVar[Callable[[], None]] = contextvars.ContextVar("end_of_line")


class _BoundedText(TextReceiveStream):
    """What a program writes. A line without an end ends its session: the library would keep it all, and copy it often."""

    _length = 0

    async def receive(self) -> str:
        text = await super().receive()
        end = text.rfind("\n")
        self._length = self._length + len(text) if end < 0 else len(text) - end - 1
        if self._length > MAX_REPLY:
            _end_of_line.get()()
            raise EndOfStream
        return text


# The library asks for no bound, and takes none.
vars(stdio)["TextReceiveStream"] = _BoundedText


class _Shared(httpx2.AsyncBaseTransport):
    """The one pool of connections, lent to each session's client. A stream of events may go on for ever, other replies not."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=60)
        self._pool = httpx2.AsyncHTTPTransport(verify=context, limits=limits, retries=0)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # What comes packed is bounded as it comes, and could be anything once it is unpacked.
        request.headers["accept-encoding"] = "identity"
        response = await self._pool.handle_async_request(request)
        if (packed := response.headers.get("content-encoding", "identity").strip().lower()) not in {"", "identity"}:
            await response.aclose()
            raise _Packed(f"The server packed its answer ({packed[:50]}), which it was asked not to do.")
        # Of an answer that is none, an event stream has to have an end, too.
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        if not is_stream or not response.is_success:
            response.stream = _Bounded(response.stream)
        if response.status_code == 401 and "mcp-session-id" in request.headers:
            # What the session was opened with has ended: it is opened anew, with what is good now.
            await response.aread()
            return httpx2.Response(404, headers=_kind(response))
        if response.status_code == 400 and "mcp-session-id" in request.headers:
            # Many servers say so of a session that they don't know, where the protocol has 404.
            body = await response.aread()
            unknown = _UNKNOWN.search(body) is not None
            return httpx2.Response(404 if unknown else 400, headers=_kind(response), content=body)
        if response.status_code == 403 and (scope := _scope_wanted(response)) is not None:
            # A refusal of HTTP's, made one of the protocol's: the library hands those to the call.
            await response.aread()
            error = types.ErrorData(code=_TOO_FEW_RIGHTS, message=scope)
            said = {"jsonrpc": "2.0", "id": None, "error": error.model_dump(mode="json", exclude_none=True)}
            return httpx2.Response(403, json=said)
        return response

    async def aclose(self) -> None:
        """The pool outlives the clients."""


class _Session:
    """One of them, as calls see it. calls: those in it now. news: the lists that have changed. trouble: why it ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client: Client | None = None
        self.calls: dict[int, asyncio.Task[None]] = {}
        self.closing = asyncio.Event()
        self.changed = asyncio.Event()
        self.news: set[str] = set()
        self.trouble: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    def too_long(self) -> None:
        """Ends it, since it says something without an end."""
        self.trouble = _TooLong(f"The server sent more than {MAX_REPLY:,} bytes.")
        self.closing.set()

    def hear(self, message: Any) -> None:
        """Takes note of a list that has changed."""
        if (kind := _NEWS.get(type(message))) is not None:
            self.news.add(kind)
            self.changed.set()


class Sessions:
    """All sessions of this process. `take` is given each frame; what there is to say goes to `send`."""

    def __init__(self, send: Callable[[FromChild], None]) -> None:
        self._send = send
        self._transport = _Shared()
        self._sessions: dict[str, _Session] = {}
        self._opening: dict[int, _Session] = {}
        self._calls: dict[int, asyncio.Task[None]] = {}
        # What servers wait for, with the call that it is for.
        self._asked: dict[int, tuple[int, asyncio.Future[Answer]]] = {}
        self._numbers = itertools.count(1)

    def take(self, message: ToChild) -> None:
        """Does what a frame says."""
        match message:
            case Open():
                session = self._sessions[message.session] = self._opening[message.id] = _Session(message.session)
                session.task = asyncio.create_task(self._live(message, session))
            case Call():
                call = self._calls[message.id] = asyncio.create_task(self._call(message))
                call.add_done_callback(lambda _: self._calls.pop(message.id, None))
            case Cancel():
                if (opening := self._opening.get(message.id)) is not None and opening.task is not None:
                    opening.task.cancel()
                elif (running := self._calls.get(message.id)) is not None:
                    running.cancel()
            case Close():
                if (closed := self._sessions.pop(message.session, None)) is not None:
                    closed.closing.set()
            case Answer():
                self._answered(message)

    async def close(self) -> None:
        """Ends all sessions, as their servers like it best."""
        sessions = [session.task for session in self._sessions.values() if session.task is not None]
        for session in self._sessions.values():
            session.closing.set()
        if sessions:
            await asyncio.wait(sessions, timeout=_GRACE)

    async def _live(self, opening: Open, session: _Session) -> None:
        is_open = False
        _end_of_line.set(session.too_long)
        try:
            async with self._client(opening.target, session) as client:
                session.client = client
                listing = await _listed(client)
                self._opening.pop(opening.id, None)
                is_open = True
                self._send(Done(opening.id, listing))
                await self._watch(session, client)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- its end is told
            # The library raises whatever its transports do, in groups: its end is the session's, and is told.
            session.trouble = error
        finally:
            self._opening.pop(opening.id, None)
            if self._sessions.get(session.name) is session:
                del self._sessions[session.name]
            why = _sentence(session.trouble)
            self._send(Ended(session.name, why) if is_open else Failed(opening.id, why, "unsent"))

    async def _watch(self, session: _Session, client: Client) -> None:
        """Until the session is to end. Lists that change are read anew."""
        listening = asyncio.create_task(_listen(client, session))
        closing = asyncio.create_task(session.closing.wait())
        try:
            while not session.closing.is_set():
                changed = asyncio.create_task(session.changed.wait())
                await asyncio.wait({closing, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if session.changed.is_set():
                    session.changed.clear()
                    news, session.news = session.news, set()
                    listing = await _listed(client) if "tools" in news else None
                    stale: tuple[Offer, ...] = tuple(name for name in reading.offers(client) if name in news)
                    self._send(Changed(session.name, listing, stale))
                    # A server that says so all the time is heard once in a while.
                    await asyncio.wait({closing}, timeout=_PAUSE)
        finally:
            listening.cancel()
            closing.cancel()

    def _client(self, target: Target, session: _Session) -> AbstractAsyncContextManager[Client]:
        async def heard(message: IncomingMessage) -> None:
            session.hear(message)

        async def elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> Any:
            del context
            answer = await self._ask(session, "elicit", params)
            return answer if isinstance(answer, types.ErrorData) else types.ElicitResult.model_validate(answer)

        async def sample(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> Any:
            del context
            answer = await self._ask(session, "sample", params)
            return answer if isinstance(answer, types.ErrorData) else types.CreateMessageResult.model_validate(answer)

        return Client(
            _connect(target, self._transport),
            client_info=_CLIENT,
            message_handler=heard,
            elicitation_callback=elicit,
            sampling_callback=sample,
            cache=None,
        )

    async def _ask(self, session: _Session, kind: Any, params: Any) -> Any:
        """What the parent says to a server's question, or why there is no answer."""
        call = _of_call.get() or next(reversed(session.calls), None)
        if call is None:
            return types.ErrorData(
                code=types.INVALID_REQUEST, message="Nobody has called anything that could need this."
            )
        number = next(self._numbers)
        asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = (call, asked)
        self._send(Ask(number, call, kind, params.model_dump(mode="json", by_alias=True, exclude_none=True)))
        try:
            answer = await asked
        finally:
            self._asked.pop(number, None)
        if answer.error is not None:
            return types.ErrorData(code=types.INVALID_REQUEST, message=answer.error)
        return answer.value

    def _answered(self, answer: Answer) -> None:
        _, asked = self._asked.pop(answer.ask, (0, None))
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def _call(self, call: Call) -> None:
        session = self._sessions.get(call.session)
        task = asyncio.current_task()
        if session is None or session.client is None or task is None:
            self._send(Failed(call.id, "The session has ended.", "absent"))
            return

        steps = itertools.count(1)

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            if next(steps) <= MAX_STEPS:
                self._send(Progress(call.id, progress, total, message and message[:1_000]))

        _of_call.set(call.id)
        session.calls[call.id] = task
        try:
            value = await self._value(session, session.client, call, progressed)
            try:
                self._send(Done(call.id, value))
            except ValueError as error:
                self._send(Failed(call.id, f"The result {error}."))
        except Exception as error:  # noqa: BLE001 -- and this
            # The library raises what it likes; each call that fails is an answer to the parent.
            self._send(await self._failed(call, session, error))
        finally:
            session.calls.pop(call.id, None)
            for ask, (number, _) in list(self._asked.items()):
                if number == call.id:
                    self._answered(Answer(ask, error="The call is over."))

    async def _value(self, session: _Session, client: Client, call: Call, progressed: Any) -> Any:
        """What the server gives. Where it wants the person to have been at an address first, the person is sent there."""
        if call.method != "tools/call":
            return await reading.answer(client, call)
        for last in (False, True):
            try:
                result = await client.call_tool(call.name, call.arguments, progress_callback=progressed)
            except MCPError as error:
                if last or error.code != types.URL_ELICITATION_REQUIRED or not await self._went(session, error):
                    raise
            else:
                return result.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise AssertionError("unreachable")

    async def _went(self, session: _Session, error: MCPError) -> bool:
        """Whether the person says to have been at all addresses that an error names."""
        try:
            wanted = UrlElicitationRequiredError.from_error(error.error).elicitations
        except (ValueError, AttributeError):
            return False
        for params in wanted[:MAX_LINKS]:
            answer = await self._ask(session, "elicit", params)
            if not isinstance(answer, dict) or answer.get("action") != "accept":
                return False
        return 0 < len(wanted) <= MAX_LINKS

    async def _failed(self, call: Call, session: _Session, error: Exception) -> Failed:
        """Why a call has no result; a session that is gone is seen a moment after its calls."""
        if isinstance(error, MCPError) and _is_unknown_session(error):
            session.closing.set()
            return Failed(call.id, "The server has ended the session.", "unsent")
        if isinstance(error, reading.Refusal):
            return Failed(call.id, str(error))
        if isinstance(error, MCPError) and error.code == _TOO_FEW_RIGHTS:
            return Failed(call.id, error.message, "scope")
        if isinstance(error, MCPError) and error.code != types.CONNECTION_CLOSED:
            return Failed(call.id, error.message)
        assert session.task is not None
        await asyncio.wait({session.task}, timeout=_GRACE)
        if not session.task.done():
            return Failed(call.id, _sentence(error), "lost")
        trouble: Trouble = "unsent" if _has(session.trouble, httpx2.ConnectError) else "lost"
        return Failed(call.id, _sentence(session.trouble or error), trouble)


def _connect(target: Target, transport: _Shared) -> AbstractAsyncContextManager[Any]:
    """The way to a server, to be entered by its client."""
    if target.transport == "stdio":
        return stdio_client(
            StdioServerParameters(command=target.command, args=target.args, env=target.env, cwd=target.cwd)
        )

    def http(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        del timeout
        # No end to reading: a call may say nothing for long, and who called it ends it.
        return httpx2.AsyncClient(
            transport=transport, headers=headers, auth=auth, timeout=httpx2.Timeout(30.0, read=None, connect=10.0)
        )

    if target.transport == "sse":
        return sse_client(target.url, headers=target.headers, httpx_client_factory=http)
    return _over_http(target.url, http(target.headers))


@asynccontextmanager
async def _over_http(url: str, client: httpx2.AsyncClient) -> AsyncIterator[Any]:
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=MAX_REPLY) as streams:
        yield streams


async def _listed(client: Client) -> Listing:
    """What a server has now."""
    tools: list[dict[str, Any]] = []
    left = reading.MAX_CHARS
    cursor: str | None = None
    if client.server_capabilities.tools is not None:
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                left -= len(tool.model_dump_json())
                if left < 0:
                    break
                tools.append(tool.model_dump(mode="json", by_alias=True, exclude_none=True))
            cursor = page.next_cursor
            if not cursor or len(tools) >= MAX_TOOLS or left < 0:
                break
    info = client.server_info
    name = info.name if info is not None else ""
    return Listing(tools[:MAX_TOOLS], name, client.instructions or "", reading.offers(client))


async def _listen(client: Client, session: _Session) -> None:
    """Hears of lists that change, where the protocol's newer versions say it so; the older ones say it by themselves."""
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return
    with contextlib.suppress(MCPError, RuntimeError, TimeoutError):
        has = client.server_capabilities
        async with client.listen(
            tools_list_changed=has.tools is not None,
            resources_list_changed=has.resources is not None,
            prompts_list_changed=has.prompts is not None,
        ) as heard:
            async for event in heard:
                session.hear(event)


def _is_unknown_session(error: MCPError) -> bool:
    """Whether a server says that it does not know the session: by 404, or in the body of that."""
    return error.message == "Session terminated" or _UNKNOWN.search(error.message.encode()) is not None


def _scope_wanted(response: httpx2.Response) -> str | None:
    """The rights that a sign-in lacks (RFC 6750), where that is why a server refuses."""
    challenge = response.headers.get("www-authenticate", "")
    if named_in(challenge, "error") != "insufficient_scope":
        return None
    return named_in(challenge, "scope")[:1_000]


def _kind(response: httpx2.Response) -> dict[str, str]:
    return {"content-type": response.headers.get("content-type", "")}


def _has(error: BaseException | None, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_has(inner, kind) for inner in error.exceptions)
    return isinstance(error, kind)


def _sentence(error: BaseException | None) -> str:
    """What went wrong, for a person: the innermost of what was raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case None:
            return "The session was ended."
        case asyncio.CancelledError():
            return "It was stopped."
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return "The server can't be reached."
        case _TooLong() | _Packed():
            return str(error)
        case httpx2.HTTPStatusError():
            return f"The server answered with status {error.response.status_code}."
        case MCPError():
            return error.message[:1_000]
        case FileNotFoundError():
            return "The server's program is not there."
    return f"The connection failed ({type(error).__name__}: {str(error)[:300]})."
