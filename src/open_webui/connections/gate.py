"""The gate: every call to a provider goes through it, and nobody else calls a connection (a test forbids it).

For each call it checks the right, asks for the counts of tokens, closes what was opened, and notes how it ended.
"""

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import aiohttp

from llamaforge.events import Event, Usage
from llamaforge.events.harmony import Channels
from open_webui.connections import pipelines
from open_webui.connections.base import Connection, Models, RemoteFilter, Reply, Target, Tell
from open_webui.connections.calls import Budget, Call, Kind, Outcome, Reservation, Trace, UsageLog
from open_webui.connections.counts import (
    NO_CHOICES,
    asks_usage,
    refuses_field,
    told_by,
    usage_of,
    with_choice,
    with_usage,
    without_usage,
)
from open_webui.connections.local.connection import LocalConnection
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.passing import Passed
from open_webui.connections.steering import for_provider
from open_webui.constants import MODEL_NOT_FOUND
from open_webui.errors import Forbidden, NotFound, OuiError, ProviderError
from open_webui.internal.load import Load
from open_webui.internal.log import get_logger
from open_webui.models.usages import STOPPED, tokens
from open_webui.principal import Principal

log = get_logger(__name__)


class Gate:
    """All calls of this process. budget: asked before each that costs tokens; None: nobody is."""

    def __init__(
        self,
        models: Models,
        usage_log: UsageLog,
        load: Load,
        *,
        budget: Budget | None = None,
        traces: tuple[Trace, ...] = (),
    ) -> None:
        self.process_load = load
        self.models = models
        self._usage_log = usage_log
        self.budget = budget
        self._traces = traces
        # Whether a provider knows `stream_options`, by its models' remote ids (one address may stand before many
        # providers). Forgotten with the connection: one whose settings change is made anew.
        self._takes: weakref.WeakKeyDictionary[Connection, dict[str, bool]] = weakref.WeakKeyDictionary()

    async def target(self, principal: Principal, model_id: str) -> Target:
        """A model that the caller may use. Right after a start it is waited for, shortly.

        Raises NotFound (status 400) for what doesn't exist or isn't the caller's to use.
        """
        await self.models.wait_until_listed(model_id)
        return self.models.resolve(principal, model_id)

    def chat(
        self,
        principal: Principal,
        target: Target,
        payload: dict[str, Any],
        *,
        kind: Kind = "api",
        chat_id: str | None = None,
        message_id: str | None = None,
        tell: Tell | None = None,
        patient: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """An opened answer to an OpenAI chat request; leaving it closes the provider's connection and counts the call.

        It counts with the provider's status where it failed, with 499 where it was left before its end, with 500 after an
        error of ours. payload["stream"] says which of the reply's ways will be used. tell: hears why one has to wait.
        patient: nobody waits for it, so that others come first (see base.Connection.open).

        Entering raises NotFound for a target that was not resolved for the caller, ProviderError.
        """
        sent = for_provider(principal, target, payload)
        return _Chat(self, principal, target, sent, (kind, chat_id, message_id), tell, patient=patient)

    async def embed(self, principal: Principal, target: Target, payload: dict[str, Any]) -> bytes:
        """An OpenAI embeddings request, answered as the JSON of OpenAI. Raises as `chat`, BadRequest."""
        async with self._counted(principal, target, call_of(principal, target, "embedding"), payload) as meter:
            sent = for_provider(principal, target, payload)
            body = await target.connection.embed(target.entry, sent, asker_of(principal))
            meter.is_over = True
            meter.usage = usage_of(body)
            return body

    async def call(
        self, principal: Principal, target: Target, path: str, payload: dict[str, Any], kind: Kind = "operation"
    ) -> bytes:
        """A POST of Ollama's own API about one model, whose name is filled in. Raises as `chat`."""
        server = target.connection
        assert isinstance(server, OllamaConnection), "other kinds have no such operations"
        async with self._counted(principal, target, call_of(principal, target, kind), payload) as meter:
            sent = for_provider(principal, target, payload) | {"model": target.entry.remote_id}
            body = await server.call("POST", path, sent, user=asker_of(principal))
            meter.is_over = True
            meter.usage = usage_of(body)
            return body

    @contextlib.asynccontextmanager
    async def passed(
        self, principal: Principal, target: Target, path: str, payload: dict[str, Any]
    ) -> AsyncIterator[Passed]:
        """An Ollama server's answer to a request of another wire about one model, as it comes. Raises as `chat`."""
        server = target.connection
        assert isinstance(server, OllamaConnection), "other kinds speak no other wires"
        async with self._counted(principal, target, call_of(principal, target, "api"), payload) as meter:
            sent = for_provider(principal, target, payload) | {"model": target.entry.remote_id}
            async with await server.send("POST", path, sent, user=asker_of(principal)) as response:
                meter.has_begun = True
                passed = Passed(response, server.spec.url)
                try:
                    yield passed
                finally:
                    meter.usage, meter.is_over, meter.status = passed.usage, passed.is_over, passed.status

    async def load(self, principal: Principal, target: Target) -> None:
        """Has a model of this machine in memory. Raises as `chat`, Unavailable."""
        assert isinstance(target.connection, LocalConnection), "other kinds are not loaded by us"
        async with self._counted(principal, target, call_of(principal, target, "operation")) as meter:
            await target.connection.load(target.entry, asker_of(principal))
            meter.is_over = True

    async def filter(
        self, principal: Principal, remote: RemoteFilter, hook: pipelines.Hook, body: dict[str, Any]
    ) -> dict[str, Any]:
        """A request, or a whole answer, after a filter of a pipelines server. Raises OuiError with what it says against it."""
        call = Call(
            user_id=principal.id,
            model_id=remote.entry.id,
            connection=remote.connection.key,
            kind="operation",
            started=time.monotonic(),
        )
        async with self._counted(principal, None, call) as meter:
            changed = await pipelines.run(remote, hook, body, asker_of(principal))
            meter.is_over = True
            return changed

    @contextlib.asynccontextmanager
    async def beside(self, principal: Principal, call: Call) -> AsyncIterator[None]:
        """Counts what is asked of a service beside the models: engines of pictures and speech. It ends with the block."""
        async with self._counted(principal, None, call) as meter:
            yield
            meter.is_over = True

    async def ask_server(
        self, principal: Principal, server: OllamaConnection, path: str, *, timeout: float
    ) -> dict[str, Any]:
        """What an Ollama server says of itself (its version, what it has loaded). Raises ProviderError."""
        async with self._counted(principal, None, _operation_of(principal, server)) as meter:
            answer = await server.json("GET", path, timeout=timeout)
            meter.is_over = True
            return answer

    @contextlib.asynccontextmanager
    async def change_server(
        self, principal: Principal, server: OllamaConnection, method: str, path: str, payload: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open response of an Ollama server to a change of what it holds. Raises Forbidden, ProviderError."""
        if not principal.is_admin:
            raise Forbidden(status=403)
        async with (
            self._counted(principal, None, _operation_of(principal, server)) as meter,
            await server.send(method, path, payload, user=asker_of(principal)) as response,
        ):
            yield response
            meter.is_over = response.content.at_eof()

    @contextlib.asynccontextmanager
    async def audio(self, principal: Principal, engine: str, model: str) -> AsyncIterator["_Meter"]:
        """A call of an engine that speaks or listens, counted as one of the API. It costs the tokens that are noted, if any."""
        call = Call(
            user_id=principal.id, model_id=model, connection=f"audio:{engine}", kind="api", started=time.monotonic()
        )
        async with self._counted(principal, None, call) as meter:
            yield meter
            meter.is_over = True

    @contextlib.asynccontextmanager
    async def _counted(
        self, principal: Principal, target: Target | None, call: Call, payload: dict[str, Any] | None = None
    ) -> AsyncIterator["_Meter"]:
        """One call from its right to its count."""
        meter = _Meter()
        if target is not None:
            _check_right(principal, target, call.kind)
            if self.budget is not None and call.kind != "operation" and self.budget.concerns(principal):
                meter.reservation = await reserved(self.budget, principal, call, payload or {})
        try:
            yield meter
        except BaseException as error:
            self.end(call, meter, error)
            raise
        self.end(call, meter, None)

    def end(self, call: Call, meter: "_Meter", error: BaseException | None) -> None:
        """Counts a call that is over. error: what ended it, if anything did."""
        if meter.reservation is not None:
            _settle(meter.reservation, meter, error)
            meter.reservation = None
        outcome = Outcome(_status_of(meter, error), meter.usage)
        if call.kind != "operation":
            self._usage_log.count(call, outcome.status, outcome.usage)
        for trace in self._traces:
            try:
                trace.on_call(call, outcome)
            except Exception:
                # Who looks on must not fail the call that he looks at.
                log.exception("a trace of provider calls failed", trace=type(trace).__name__)

    def takes_usage(self, target: Target) -> bool | None:
        """Whether the model's provider knows the field that asks for usage; None when it was not tried."""
        takes = self._takes.get(target.connection)
        return None if takes is None else takes.get(target.entry.remote_id)

    def note_takes_usage(self, target: Target, *, takes: bool) -> None:
        """Remembers whether a model's provider knows the field that asks for usage."""
        self._takes.setdefault(target.connection, {})[target.entry.remote_id] = takes


async def reserved(budget: Budget, principal: Principal, call: Call, payload: dict[str, Any]) -> Reservation:
    """What a budget sets aside for a request. Raises as `Budget.reserve`."""
    from open_webui.connections.estimate import estimate_of  # noqa: PLC0415 - only where there is a budget

    return await budget.reserve(principal, call, estimate_of(payload))


def _settle(reservation: Reservation, meter: "_Meter", error: BaseException | None) -> None:
    try:
        if meter.usage is None and not meter.has_begun and isinstance(error, Exception):
            reservation.release()
        else:
            reservation.settle(None if meter.usage is None else tokens(meter.usage))
    except Exception:
        # The call is over: its caller must not hear of it.
        log.exception("a reservation could not be settled")


def _status_of(meter: "_Meter", error: BaseException | None) -> int:
    """The status that a call counts with."""
    match error:
        case None:
            return meter.status or (200 if meter.is_over else STOPPED)
        case asyncio.CancelledError() | GeneratorExit():
            return STOPPED
        case OuiError():
            return error.status
    return 500


class _Chat:
    """One chat request, sent when it is entered.

    A class, as is what it enters: a generator made a context manager costs as much as a chunk, and there were five.
    """

    __slots__ = (
        "_about",
        "_call",
        "_gate",
        "_meter",
        "_opened",
        "_patient",
        "_payload",
        "_principal",
        "_target",
        "_tell",
    )

    def __init__(
        self,
        gate: Gate,
        principal: Principal,
        target: Target,
        payload: dict[str, Any],
        about: tuple[Kind, str | None, str | None],
        tell: Tell | None,
        *,
        patient: bool,
    ) -> None:
        """about: the kind of call, the chat and the message that it is for."""
        self._gate = gate
        self._principal = principal
        self._target = target
        self._payload = payload
        self._about = about
        self._tell = tell
        self._patient = patient
        self._meter = _Meter()
        self._opened: AbstractAsyncContextManager[Reply] | None = None

    async def __aenter__(self) -> Reply:
        gate, target, kind = self._gate, self._target, self._about[0]
        self._call = call_of(self._principal, target, *self._about)
        _check_right(self._principal, target, kind)
        if gate.budget is not None and gate.budget.concerns(self._principal):
            self._meter.reservation = await reserved(gate.budget, self._principal, self._call, self._payload)
        gate.process_load.begin_stream()
        try:
            # A client's own field is its own affair; one that did not ask may not expect the chunk that holds only counts.
            asked = kind == "api" and asks_usage(self._payload)
            if asked or self._payload.get("stream") is not True or not target.connection.takes_stream_options:
                reply = await self._open(self._payload)
            else:
                reply = await self._open_with_usage()
        except BaseException as error:
            self._leave(error)
            raise
        load = gate.process_load
        reply.pace(load.until_frame_read if kind == "chat" else load.until_stream_read)
        return _CountedReply(reply, self._meter, adds_choice=kind == "api" and not asked)

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._opened is not None, "it was entered"
        try:
            await self._opened.__aexit__(_kind, error, _trace)
        except BaseException as other:
            self._leave(other)
            raise
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        self._gate.process_load.end_stream()
        self._gate.end(self._call, self._meter, error)

    async def _open(self, payload: dict[str, Any]) -> Reply:
        target = self._target
        asker = asker_of(self._principal)
        opening = target.connection.open(target.entry, payload, asker, self._tell, patient=self._patient)
        reply = await opening.__aenter__()
        self._opened = opening
        self._meter.has_begun = True
        return reply

    async def _open_with_usage(self) -> Reply:
        """The reply, asked for with its usage; without where the provider doesn't know the field."""
        gate, target = self._gate, self._target
        takes = gate.takes_usage(target)
        if takes is False:
            return await self._open(without_usage(self._payload))
        asking = with_usage(self._payload)
        try:
            reply = await self._open(asking)
        except ProviderError as error:
            if asking is self._payload or not refuses_field(error, asking, was_taken=takes is True):
                raise
        else:
            if takes is None:
                gate.note_takes_usage(target, takes=True)
            return reply
        reply = await self._open(without_usage(self._payload))
        log.info("a provider does not count the tokens of its streams", model=target.model_id)
        gate.note_takes_usage(target, takes=False)
        return reply


class _Meter:
    """What is known of a call while it runs. status: of a failure that its reader was told and lives with.

    has_begun: an answer was opened. reservation: the budget's, until it is settled.
    """

    __slots__ = ("has_begun", "is_over", "reservation", "status", "usage")

    def __init__(self) -> None:
        self.has_begun = False
        self.reservation: Reservation | None = None
        self.usage: dict[str, Any] | None = None
        self.status: int | None = None
        self.is_over = False


class _CountedReply:
    """A reply whose usage is seen as it goes by. It is open already, and closed by the gate."""

    __slots__ = ("_adds_choice", "_meter", "_reply")

    def __init__(self, reply: Reply, meter: _Meter, *, adds_choice: bool) -> None:
        self._reply = reply
        self._meter = meter
        self._adds_choice = adds_choice

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""
        self._reply.pace(wait)

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """See `base.Reply`."""
        try:
            async for batch in self._reply.batches():
                for payload in batch:
                    # Looking for the name is cheaper than decoding each; many send it as null until the last.
                    if b'"usage"' in payload and b'"usage":null' not in payload:
                        batch = self._noting_counts(batch)  # noqa: PLW2901
                        break
                yield batch
        except OuiError as error:
            self._meter.status = error.status
            raise
        self._meter.is_over = True

    async def events(self) -> AsyncIterator[list[Event]]:
        """See `base.Reply`."""
        channels: Channels | None = Channels()
        try:
            async for events in self._reply.events():
                if channels is not None:
                    events = channels.feed(events)  # noqa: PLW2901
                    channels = None if channels.is_over else channels
                for event in events:
                    if isinstance(event, Usage):
                        self._meter.usage = event.raw
                yield events
        except OuiError as error:
            self._meter.status = error.status
            if channels is not None and (rest := channels.end()):
                yield rest
            raise
        if channels is not None and (rest := channels.end()):
            yield rest
        self._meter.is_over = True

    async def whole(self) -> bytes:
        """See `base.Reply`."""
        try:
            body = await self._reply.whole()
        except OuiError as error:
            self._meter.status = error.status
            raise
        self._meter.usage = usage_of(body)
        self._meter.is_over = True
        return body

    def _noting_counts(self, batch: list[bytes]) -> list[bytes]:
        """The batch as it is passed on; what it tells of usage is noted."""
        out = []
        for payload in batch:
            told = told_by(payload) if b'"usage"' in payload else None
            if told is not None and told.usage is not None:
                self._meter.usage = told.usage
                if self._adds_choice and bytes(told.choices) in NO_CHOICES:
                    payload = with_choice(payload)  # noqa: PLW2901
            out.append(payload)
        return out


def call_of(
    principal: Principal, target: Target, kind: Kind, chat_id: str | None = None, message_id: str | None = None
) -> Call:
    """A call that begins now."""
    return Call(
        user_id=principal.id,
        model_id=target.model_id,
        connection=target.entry.connection,
        kind=kind,
        started=time.monotonic(),
        chat_id=chat_id,
        message_id=message_id,
    )


def _operation_of(principal: Principal, server: OllamaConnection) -> Call:
    return Call(user_id=principal.id, model_id="", connection=server.key, kind="operation", started=time.monotonic())


def asker_of(principal: Principal) -> dict[str, str]:
    """Who asks, for connections that are told."""
    return {"id": principal.id, "name": principal.name, "email": principal.email, "role": principal.role}


def _check_right(principal: Principal, target: Target, kind: Kind) -> None:
    """Raises NotFound for a target that was resolved for nobody, or for somebody else.

    The server's own questions may be put to the model that an admin chose for them.
    """
    if target.user_id != principal.id and not (kind == "task" and target.user_id is None):
        raise NotFound(MODEL_NOT_FOUND, status=400)
