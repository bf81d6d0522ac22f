"""The gate to providers: who may pass, what is asked for and counted, how a call ends, and that nothing stays open."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import msgspec
import pytest

from llamaforge.events import Text, Usage
from llamaforge.events.openai import message_of
from open_webui.connections.base import Connection, ModelEntry, Reply, Target
from open_webui.connections.calls import Call, Kind, Outcome
from open_webui.connections.counts import refuses_field
from open_webui.connections.gate import Gate
from open_webui.connections.local.eliza import ElizaConnection
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.specs import Spec
from open_webui.errors import Forbidden, NotFound, OuiError, ProviderError, TooManyRequests
from open_webui.internal.load import Load
from open_webui.principal import Principal
from tests.support.upstream import Upstream, entered

ANN = Principal(id="ann", role="user", name="Ann", email="ann@example.com")
ADA = Principal(id="ada", role="admin", name="Ada", email="ada@example.com")
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}
STREAM = ASK | {"stream": True}
ASKED = STREAM | {"stream_options": {"include_usage": True}}
COUNTED = {"prompt_tokens": 7, "completion_tokens": 20, "total_tokens": 27}


class Log:
    """UsageLog and Trace: what was told."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, int, dict[str, Any] | None]] = []
        self.traced: list[tuple[Call, Outcome]] = []

    def count(self, call: Call, status: int, usage: dict[str, Any] | None) -> None:
        self.counted.append((call.kind, status, usage))

    def on_call(self, call: Call, outcome: Outcome) -> None:
        self.traced.append((call, outcome))


class Shelf:
    """base.Models with nothing on it: these tests bring their targets."""

    def resolve(self, _principal: Principal, _model_id: str) -> Target:
        raise NotFound

    async def wait_until_listed(self, _model_id: str) -> None: ...

    def find(self, _model_id: str) -> Target | None:
        return None


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def gate(log: Log) -> Gate:
    return Gate(Shelf(), log, Load(), traces=(log,))


class Made:
    """Targets over one connection a wire, resolved for Ann."""

    def __init__(self, http: aiohttp.ClientSession, upstream: Upstream) -> None:
        headers = (("X-Who", "{{USER_EMAIL}}"),)
        self.openai = OpenAIConnection(http, Spec(kind="openai", index=0, url=upstream.openai_url, headers=headers), 5)
        self.ollama = OllamaConnection(http, Spec(kind="ollama", index=0, url=upstream.url, headers=headers), 5)

    def __call__(self, model: str, connection: Connection | None = None, user_id: str | None = "ann") -> Target:
        used = connection or self.openai
        entry = ModelEntry(id=model, name=model, remote_id=model, connection=used.key, kind=used.kind)
        return Target(model_id=model, entry=entry, connection=used, user_id=user_id)


@pytest.fixture
def made(http: aiohttp.ClientSession, upstream: Upstream) -> Made:
    return Made(http, upstream)


async def read(opening: AbstractAsyncContextManager[Reply]) -> list[dict[str, Any]]:
    async with opening as reply:
        return [msgspec.json.decode(chunk) async for batch in reply.batches() for chunk in batch]


def content(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


# The counts


async def test_a_client_that_did_not_ask_is_counted_and_told_beside_a_choice(
    gate: Gate, log: Log, made: Made, upstream: Upstream
) -> None:
    chunks = await read(gate.chat(ANN, made("echo"), STREAM))
    assert content(chunks) == "hello there"
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert [c["usage"] for c in chunks if c.get("usage")] == [COUNTED]
    assert chunks[-1]["usage"] == COUNTED
    assert chunks[-1]["id"] == chunks[0]["id"]
    assert not [c for c in chunks if not c["choices"]]
    assert upstream.chats[0].body["stream_options"] == {"include_usage": True}
    assert log.counted == [("api", 200, COUNTED)]


@pytest.mark.parametrize(("kind", "payload"), [("api", ASKED), ("chat", STREAM), ("task", STREAM)])
async def test_who_asked_is_told(gate: Gate, log: Log, made: Made, kind: Kind, payload: dict[str, Any]) -> None:
    chunks = await read(gate.chat(ANN, made("echo"), payload, kind=kind))
    assert chunks[-1]["usage"] == COUNTED
    assert log.counted == [(kind, 200, COUNTED)]


async def test_a_clients_other_options_stay(gate: Gate, made: Made, upstream: Upstream) -> None:
    await read(gate.chat(ANN, made("echo"), STREAM | {"stream_options": {"x": 1, "include_usage": False}}))
    await read(gate.chat(ANN, made("echo"), STREAM | {"stream_options": None}))
    assert [r.body["stream_options"] for r in upstream.chats] == [
        {"x": 1, "include_usage": True},
        {"include_usage": True},
    ]


async def test_options_that_are_none_are_the_providers_to_refuse(gate: Gate, made: Made, upstream: Upstream) -> None:
    upstream.refuses_stream_options = 400
    with pytest.raises(ProviderError, match="stream_options"):
        await read(gate.chat(ANN, made("echo"), STREAM | {"stream_options": "x"}))
    assert len(upstream.chats) == 1


async def test_a_whole_answer_is_counted(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    async with gate.chat(ANN, made("echo"), ASK) as reply:
        whole = msgspec.json.decode(await reply.whole())
    assert whole["usage"] == COUNTED
    assert "stream_options" not in upstream.chats[0].body
    assert log.counted == [("api", 200, COUNTED)]


@pytest.mark.parametrize("payload", [STREAM, ASK])
async def test_events_are_counted_and_told_whole(gate: Gate, log: Log, made: Made, payload: dict[str, Any]) -> None:
    async with gate.chat(ANN, made("echo"), payload, kind="chat") as reply:
        events = [event async for events in reply.events() for event in events]
    assert "".join(e.text for e in events if isinstance(e, Text)) == "hello there"
    assert [e.raw for e in events if isinstance(e, Usage)] == [COUNTED]
    assert log.counted == [("chat", 200, COUNTED)]


@pytest.mark.parametrize("payload", [STREAM, ASK])
@pytest.mark.parametrize("wire", ["openai", "ollama"])
async def test_events_are_counted(gate: Gate, log: Log, made: Made, payload: dict[str, Any], wire: str) -> None:
    target = made("echo", made.openai) if wire == "openai" else made("echo:latest", made.ollama)
    async with gate.chat(ANN, target, payload, kind="chat") as reply:
        events = [event async for some in reply.events() for event in some]
    assert any(isinstance(event, Usage) for event in events)
    ((kind, status, usage),) = log.counted
    assert (kind, status, (usage or {})["completion_tokens"]) == ("chat", 200, 20)


async def test_events_that_break_off(gate: Gate, log: Log, made: Made) -> None:
    async def run() -> None:
        async with gate.chat(ANN, made("drop"), STREAM, kind="chat") as reply:
            async for _ in reply.events():
                pass

    with pytest.raises(ProviderError):
        await run()
    assert log.counted == [("chat", 502, None)]


async def test_ollamas_wire_tells_it_unasked(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    chunks = await read(gate.chat(ANN, made("echo:latest", made.ollama), STREAM))
    assert content(chunks) == "hello there"
    assert not [c for c in chunks if not c["choices"]]
    assert "stream_options" not in upstream.chats[0].body
    ((kind, status, usage),) = log.counted
    assert (kind, status, (usage or {})["completion_tokens"]) == ("api", 200, 20)


async def test_the_model_in_this_process_counts_nothing(gate: Gate, log: Log, made: Made) -> None:
    assert content(await read(gate.chat(ANN, made("eliza", ElizaConnection(0.0)), STREAM)))
    assert log.counted == [("api", 200, None)]


async def test_a_provider_without_counts_counts_nothing(gate: Gate, log: Log, made: Made) -> None:
    await read(gate.chat(ANN, made("mute"), STREAM))
    assert log.counted == [("api", 200, None)]


# A provider that doesn't know the field


@pytest.mark.parametrize("status", [400, 422])
async def test_a_provider_that_refuses_the_field_is_asked_without_and_remembered(
    gate: Gate, log: Log, made: Made, upstream: Upstream, status: int
) -> None:
    upstream.refuses_stream_options = status
    for kind in ("api", "chat", "task"):
        assert content(await read(gate.chat(ANN, made("echo"), STREAM, kind=kind))) == "hello there"  # type: ignore[arg-type]
    assert [("stream_options" in r.body) for r in upstream.chats] == [True, False, False, False]
    assert [status for _, status, _ in log.counted] == [200, 200, 200]
    # The memory is a connection's and a model's: the admin's next one is asked anew.
    await read(gate.chat(ANN, made("fixed"), STREAM))
    assert "stream_options" in upstream.chats[-2].body


async def test_a_clients_own_field_is_its_own_affair(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    upstream.refuses_stream_options = 400
    with pytest.raises(ProviderError, match="stream_options"):
        await read(gate.chat(ANN, made("echo"), ASKED))
    assert len(upstream.chats) == 1
    assert log.counted == [("api", 400, None)]
    # The server's own questions are asked with the field by the library that puts them.
    assert content(await read(gate.chat(ANN, made("echo"), ASKED, kind="task"))) == "hello there"


@pytest.mark.parametrize("model", ["error400", "error401", "error500", "error503"])
async def test_another_refusal_stays_one(gate: Gate, log: Log, made: Made, upstream: Upstream, model: str) -> None:
    status = int(model.removeprefix("error"))
    with pytest.raises(ProviderError) as caught:
        await read(gate.chat(ANN, made(model), STREAM))
    assert caught.value.status == status
    assert log.counted == [("api", status, None)]
    assert len(upstream.chats) == 1


@pytest.mark.parametrize(
    "said",
    [
        "Unrecognized request argument supplied: stream_options",
        "include_usage is not supported",
        "stream_options: Extra inputs are not permitted",
        "Unknown field in the request.",
        "Additional properties are not allowed",
        "unrecognised parameter",
    ],
)
async def test_what_refuses_the_field(gate: Gate, log: Log, made: Made, upstream: Upstream, said: str) -> None:
    upstream.refuses_stream_options, upstream.refusal = 400, said
    assert content(await read(gate.chat(ANN, made("echo"), STREAM))) == "hello there"
    assert len(upstream.chats) == 2
    assert log.counted == [("api", 200, None)]


@pytest.mark.parametrize(
    "said",
    [
        "The conversation is too long.",
        "temperature should be at most 2",
        "Unrecognized request argument supplied: foo",
        "Unsupported parameter: 'foo' is not supported with this model.",
        "Invalid input",
        "Bad Request",
    ],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_what_refuses_something_else_is_sent_once(
    gate: Gate, log: Log, made: Made, upstream: Upstream, said: str, status: int
) -> None:
    upstream.refuses_stream_options, upstream.refusal = status, said
    for _ in range(2):
        with pytest.raises(ProviderError):
            await read(gate.chat(ANN, made("echo"), STREAM | {"foo": 1, "temperature": 9}))
    assert len(upstream.chats) == 2
    assert [status for _, status, _ in log.counted] == [status, status]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"error": {"message": "Invalid value.", "param": "stream_options.include_usage"}}, True),
        ({"error": {"message": "Unknown parameter.", "param": "foo"}}, False),
        ({"error": {"message": "Unknown parameter.", "param": None}}, True),
        ({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, True),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, False),
        ({"detail": [{"loc": ["body", "x"], "msg": "Field required", "input": {"stream_options": {}}}]}, False),
        ({"message": {"detail": [{"loc": ["a"], "msg": "no"}, {"loc": ["stream_options"], "msg": "no"}]}}, True),
        ({"error": [[[[[[[["stream_options"]]]]]]]]}, False),
        (None, False),
    ],
)  # fmt: skip
def test_what_a_refusals_members_say(body: dict[str, Any] | None, refused: bool) -> None:
    error = ProviderError(message_of(body) or "Bad Request", status=422, body=body)
    assert refuses_field(error, ASKED, was_taken=False) is refused


async def test_a_provider_that_took_the_field_once_is_not_asked_twice(
    gate: Gate, made: Made, upstream: Upstream
) -> None:
    await read(gate.chat(ANN, made("echo"), STREAM))
    upstream.refuses_stream_options, upstream.refusal = 400, "The conversation is too long."
    with pytest.raises(ProviderError, match="too long"):
        await read(gate.chat(ANN, made("echo"), STREAM))
    assert len(upstream.chats) == 2
    upstream.refusal = "stream_options: extra inputs are not permitted"
    assert content(await read(gate.chat(ANN, made("echo"), STREAM))) == "hello there"


# How a call ends


@pytest.mark.parametrize(("model", "status"), [("drop", 502), ("cut", 502), ("instream", 502)])
@pytest.mark.parametrize("told", [True, False])
async def test_an_answer_that_breaks_off(gate: Gate, log: Log, made: Made, model: str, status: int, told: bool) -> None:
    """Also where its reader lives with it, as a stream's does that tells its client."""

    async def run() -> None:
        async with gate.chat(ANN, made(model), STREAM) as reply:
            try:
                async for _ in reply.batches():
                    pass
            except ProviderError:
                if not told:
                    raise

    if told:
        await run()
    else:
        with pytest.raises(ProviderError):
            await run()
    assert log.counted == [("api", status, None)]


async def test_who_leaves_before_the_end_has_stopped_it(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    async with gate.chat(ANN, made("stall"), STREAM) as reply:
        async for _ in reply.batches():
            break
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
    async with gate.chat(ANN, made("echo"), STREAM):
        pass
    assert [status for _, status, _ in log.counted] == [499, 499]


async def test_a_cancelled_call_is_counted_and_closed(
    gate: Gate, log: Log, made: Made, upstream: Upstream, http: aiohttp.ClientSession
) -> None:
    task = asyncio.create_task(read(gate.chat(ANN, made("stall"), STREAM)))
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
    assert [status for _, status, _ in log.counted] == [499]
    assert http.connector is not None
    assert not http.connector._acquired


async def test_one_that_is_cancelled_before_its_answer_begins(
    gate: Gate, log: Log, made: Made, upstream: Upstream, http: aiohttp.ClientSession
) -> None:
    upstream.silent = True
    task = asyncio.create_task(read(gate.chat(ANN, made("echo"), STREAM)))
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [status for _, status, _ in log.counted] == [499]
    assert http.connector is not None
    assert not http.connector._acquired


@pytest.mark.parametrize(("error", "status"), [(ValueError("a bug"), 500), (TooManyRequests(), 429)])
async def test_an_error_of_the_readers(gate: Gate, log: Log, made: Made, error: Exception, status: int) -> None:
    async def run() -> None:
        async with gate.chat(ANN, made("echo"), ASK):
            raise error

    with pytest.raises(type(error)):
        await run()
    assert log.counted == [("api", status, None)]


async def test_what_is_not_entered_asks_nobody(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    opening = gate.chat(ANN, made("echo"), STREAM)
    del opening
    await asyncio.sleep(0)
    assert (upstream.received, log.counted) == ([], [])


# Who may pass


@pytest.mark.parametrize(
    ("kind", "user_id", "passes"),
    [
        ("api", "ann", True), ("task", "ann", True), ("task", None, True),
        ("api", None, False), ("chat", None, False), ("api", "ada", False), ("chat", "ada", False), ("task", "ada", False),
    ],
)  # fmt: skip
async def test_a_target_is_good_for_whom_it_was_resolved(
    gate: Gate, log: Log, made: Made, upstream: Upstream, kind: Kind, user_id: str | None, passes: bool
) -> None:
    opening = gate.chat(ANN, made("echo", user_id=user_id), ASK, kind=kind)
    if passes:
        await entered(opening)
        return
    with pytest.raises(NotFound, match="Model not found"):
        await entered(opening)
    for call in (gate.embed, lambda p, t, b: gate.call(p, t, "/api/show", b)):
        with pytest.raises(NotFound):
            await call(ANN, made("echo", made.ollama, user_id), {"input": "a"})
    assert (upstream.received, log.counted, log.traced) == ([], [], [])


async def test_only_admins_change_servers(gate: Gate, made: Made, upstream: Upstream) -> None:
    with pytest.raises(Forbidden):
        await entered(gate.change_server(ANN, made.ollama, "POST", "/api/pull", {"model": "x"}))
    assert upstream.received == []
    with pytest.raises(ProviderError):
        await entered(gate.change_server(ADA, made.ollama, "POST", "/api/pull", {"model": "x"}))
    assert [r.path for r in upstream.received] == ["/api/pull"]


# What is not a chat


async def test_embeddings_are_counted_and_tell_who_asks(gate: Gate, log: Log, made: Made, upstream: Upstream) -> None:
    body = msgspec.json.decode(await gate.embed(ANN, made("echo"), {"input": ["a", "b"]}))
    assert len(body["data"]) == 2
    await gate.embed(ANN, made("echo", made.ollama), {"input": "a"})
    await gate.call(ANN, made("echo:latest", made.ollama), "/api/embed", {"model": "x", "input": "a"}, "embedding")
    assert log.counted == [
        ("embedding", 200, {"prompt_tokens": 1, "total_tokens": 1}),
        ("embedding", 200, {"prompt_tokens": 1, "total_tokens": 1}),
        ("embedding", 200, {"prompt_tokens": 1}),
    ]
    assert [r.headers["x-who"] for r in upstream.received] == ["ann@example.com"] * 3
    assert upstream.received[-1].model == "echo:latest"


async def test_operations_are_traced_and_cost_nothing(gate: Gate, log: Log, made: Made) -> None:
    await gate.ask_server(ANN, made.ollama, "/api/version", timeout=5)
    await gate.call(ANN, made("echo:latest", made.ollama), "/api/show", {})
    with pytest.raises(ProviderError):
        await gate.call(ANN, made("unknown", made.ollama), "/api/show", {})
    assert log.counted == []
    assert [(call.kind, call.model_id, outcome.status) for call, outcome in log.traced] == [
        ("operation", "", 200), ("operation", "echo:latest", 200), ("operation", "unknown", 404),
    ]  # fmt: skip


async def test_a_trace_that_fails_fails_no_call(log: Log, made: Made) -> None:
    class Broken:
        def on_call(self, _call: Call, _outcome: Outcome) -> None:
            raise OuiError("the collector is away")

    gate = Gate(Shelf(), log, Load(), traces=(Broken(), log))
    assert content(await read(gate.chat(ANN, made("echo"), STREAM))) == "hello there"
    assert len(log.counted) == len(log.traced) == 1
