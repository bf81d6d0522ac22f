"""The OpenAI wire against a real provider on loopback, in good and bad moods."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llamaforge.events import Done, Event, Text
from open_webui.connections.base import ModelEntry, Reply
from open_webui.connections.openai import OpenAIConnection, model_list
from open_webui.connections.specs import Spec, build
from open_webui.errors import BadRequest, ProviderError
from tests.support.process import free_port
from tests.support.upstream import Upstream, entered

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}
Serve = Callable[[bytes], Awaitable[str]]


def connection(http: aiohttp.ClientSession, url: str, **changes: Any) -> OpenAIConnection:
    return OpenAIConnection(http, Spec(kind="openai", index=0, url=url, **changes), 5)


def entry(model: str) -> ModelEntry:
    return ModelEntry(id=f"p.{model}", name=model, remote_id=model, connection="openai:0", kind="openai")


async def collect(opening: AbstractAsyncContextManager[Reply]) -> list[dict[str, Any]]:
    async with opening as reply:
        return [msgspec.json.decode(chunk) async for batch in reply.batches() for chunk in batch]


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices") or ())


async def stream(http: aiohttp.ClientSession, url: str, model: str = "m") -> list[dict[str, Any]]:
    return await collect(connection(http, url).open(entry(model), ASK | {"stream": True}))


@pytest.fixture
async def raw_server() -> Any:
    """Makes servers that answer every request with these bytes and close."""
    servers: list[asyncio.Server] = []
    handlers: list[asyncio.Task[Any] | None] = []

    async def make(answer: bytes) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handlers.append(asyncio.current_task())
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(answer)
                await writer.drain()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    yield make
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.gather(*filter(None, handlers))


def http_answer(body: bytes, kind: str, status: str = "200 OK", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_a_stream_and_a_whole_answer(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    made = connection(http, upstream.openai_url, key="sk-1", headers=(("X-Who", "{{USER_NAME}}"),))
    asked = ASK | {"stream": True, "stream_options": {"include_usage": True}}
    chunks = await collect(made.open(entry("echo"), asked, {"name": "Zoë\r\nX: y"}))
    assert text(chunks) == "hello there"
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    async with made.open(entry("echo"), ASK) as reply:
        whole = msgspec.json.decode(await reply.whole())
    assert whole["choices"][0]["message"]["content"] == "hello there"
    first = upstream.chats[0]
    assert first.model == "echo"
    assert first.headers["Authorization"] == "Bearer sk-1"
    assert first.headers["x-who"] == "Zo%C3%AB%0D%0AX%3A y"


async def test_the_connection_is_used_again(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    for _ in range(3):
        await stream(http, upstream.openai_url, "fixed")
    assert http.connector is not None
    assert len([c for conns in http.connector._conns.values() for c in conns]) == 1  # type: ignore[attr-defined]


async def test_reasoning_and_tools_pass_untouched(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    chunks = await stream(http, upstream.openai_url, "reasoning")
    said = [c["delta"].get("reasoning_content") for chunk in chunks for c in chunk["choices"]]
    assert "".join(filter(None, said)) == "First I think."
    chunks = await stream(http, upstream.openai_url, "tools")
    assert any(c["delta"].get("tool_calls") for chunk in chunks for c in chunk["choices"])


async def test_garbage_between_good_chunks_costs_no_words_and_is_no_good_end(
    http: aiohttp.ClientSession, upstream: Upstream
) -> None:
    plain = await stream(http, upstream.openai_url, "fixed")
    got: list[bytes] = []
    async with connection(http, upstream.openai_url).open(entry("garbage"), ASK | {"stream": True}) as reply:
        with pytest.raises(ProviderError, match="could not be read"):
            [got.extend(batch) async for batch in reply.batches()]  # type: ignore[func-returns-value]
        assert reply.dropped > 0  # type: ignore[attr-defined]
    assert text([msgspec.json.decode(chunk) for chunk in got]) == text(plain)
    assert text(await stream(http, upstream.openai_url, "hugeline")) == text(plain)


@pytest.mark.parametrize(("model", "said"), [("drop", "cut off"), ("cut", "cut off"), ("instream", "fell over")])
async def test_a_broken_stream_keeps_what_came(
    http: aiohttp.ClientSession, upstream: Upstream, model: str, said: str
) -> None:
    got: list[dict[str, Any]] = []

    async def take() -> None:
        async with connection(http, upstream.openai_url).open(entry(model), ASK | {"stream": True}) as reply:
            async for batch in reply.batches():
                got.extend(msgspec.json.decode(chunk) for chunk in batch)

    with pytest.raises(ProviderError, match=said):
        await take()
    assert len(text(got).split()) == 10


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503, 529])
async def test_a_refusal_keeps_status_and_body(http: aiohttp.ClientSession, upstream: Upstream, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        await entered(connection(http, upstream.openai_url).open(entry(f"error{status}"), ASK))
    error = caught.value
    assert error.status == status
    assert error.body["error"]["message"] in error.detail
    assert error.retryable == (status in {429, 500, 503, 529})


async def test_a_page_instead_of_an_api(http: aiohttp.ClientSession, upstream: Upstream, raw_server: Serve) -> None:
    with pytest.raises(ProviderError, match="502") as caught:
        await entered(connection(http, upstream.openai_url).open(entry("html502"), ASK))
    assert caught.value.body is None
    assert "<" not in caught.value.detail
    url = await raw_server(http_answer(b"<html>welcome</html>", "text/html"))
    with pytest.raises(ProviderError, match="web page"):
        await stream(http, url)
    with pytest.raises(ProviderError, match="web page"):
        await connection(http, url).list_models()
    async with connection(http, url).open(entry("m"), ASK) as reply:
        with pytest.raises(ProviderError, match="web page"):
            await reply.whole()


COMPLETION = (
    b'{"id":"i","choices":[{"index":0,"message":{"role":"assistant","content":"all at once"},"finish_reason":"stop"}]}'
)


async def test_a_provider_that_does_not_stream(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    url = await raw_server(http_answer(COMPLETION, "application/json"))
    chunks = await stream(http, url)
    assert text(chunks) == "all at once"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    url = await raw_server(http_answer(b'{"error":{"message":"nope","code":429}}', "application/json"))
    with pytest.raises(ProviderError, match="nope") as caught:
        await stream(http, url)
    assert caught.value.status == 429
    for bad in (b"{}", b'{"choices":[1]}', b"[1]", b'{"choices":'):
        with pytest.raises(ProviderError):
            await stream(http, await raw_server(http_answer(bad, "application/json")))


async def test_blank_lines_before_a_whole_answer(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    """So many that no read has all of them."""
    url = await raw_server(http_answer(b"\n" * 4_000_000 + COMPLETION, "application/json"))
    async with connection(http, url).open(entry("m"), ASK) as reply:
        events = [event async for events in reply.events() for event in events]
    assert events == [Text("all at once"), Done("stop")]
    assert text(await stream(http, url)) == "all at once"


async def test_one_odd_field_is_noted_and_loses_only_itself(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    body = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a","tool_calls":7}}]}\n\ndata: {no json\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    async with connection(http, await raw_server(http_answer(body, "text/event-stream"))).open(
        entry("m"), ASK
    ) as reply:
        events: list[Event] = []
        with pytest.raises(ProviderError, match="could not be read \\(1\\)"):
            [events.extend(batch) async for batch in reply.events()]  # type: ignore[func-returns-value]
        assert reply.dropped == 2  # type: ignore[attr-defined]
    assert events == [Text("a"), Done("stop")]


async def test_a_provider_that_streams_unasked(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    events = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n'
    )
    for kind in ("text/event-stream", "application/json", "text/plain"):
        async with connection(http, await raw_server(http_answer(events, kind))).open(entry("m"), ASK) as reply:
            whole = msgspec.json.decode(await reply.whole())
        assert whole["choices"][0]["message"]["content"] == "ab"
        assert text(await stream(http, await raw_server(http_answer(events, kind)))) == "ab"
    async with connection(http, await raw_server(http_answer(events[:60], "text/event-stream"))).open(
        entry("m"), ASK
    ) as reply:
        with pytest.raises(ProviderError, match="cut off"):
            await reply.whole()


async def test_who_can_not_be_reached(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    gone = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(ProviderError, match="can't be reached") as caught:
        await entered(connection(http, gone).open(entry("m"), ASK))
    assert (caught.value.status, caught.value.retryable) == (502, True)
    assert caught.value.hint
    for answer, said in (
        (b"", "without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (http_answer(b"", "text/plain", "301 Moved", "location: https://elsewhere.example/\r\n"), "sends us on"),
    ):
        with pytest.raises(ProviderError, match=said):
            await entered(connection(http, await raw_server(answer)).open(entry("m"), ASK))


async def test_a_silent_endpoint_times_out(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    upstream.silent = True
    slow = OpenAIConnection(http, Spec(kind="openai", index=0, url=upstream.openai_url), 0.05)
    with pytest.raises(ProviderError, match="in time") as caught:
        await slow.list_models()
    assert caught.value.status == 504
    await upstream.wait_for_async(lambda u: u.received[0].ended.is_set())


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1:99999/v1"])
async def test_addresses_that_are_none(http: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(ProviderError):
        await entered(connection(http, url).open(entry("m"), ASK))


async def test_a_key_that_can_not_be_sent(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    with pytest.raises(ProviderError, match="key and headers"):
        await entered(connection(http, upstream.openai_url, key="a\r\nx: y").open(entry("echo"), ASK))
    # The connection was made and dropped; one after it shows that the provider has seen it.
    assert await connection(http, upstream.openai_url).list_models()
    assert [r.path for r in upstream.received] == ["/v1/models"]


async def test_errors_do_not_tell_credentials(http: aiohttp.ClientSession) -> None:
    with pytest.raises(ProviderError) as caught:
        await connection(http, f"http://me:secret@127.0.0.1:{free_port()}/v1", key="sk-canary").list_models()
    assert "secret" not in caught.value.detail
    assert "sk-canary" not in caught.value.detail


async def test_a_payload_that_is_nested_without_end(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(BadRequest, match="deeply"):
        await entered(connection(http, upstream.openai_url).open(entry("echo"), ASK | {"metadata": deep}))


async def test_a_kept_connection_that_was_closed_is_opened_anew(http: aiohttp.ClientSession, raw_server: Serve) -> None:
    url = await raw_server(http_answer(COMPLETION, "application/json"))
    for _ in range(3):
        assert text(await stream(http, url)) == "all at once"


async def test_leaving_ends_the_providers_work(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    async with connection(http, upstream.openai_url).open(entry("stall"), ASK | {"stream": True}) as reply:
        async for _batch in reply.batches():
            break
    await upstream.wait_for_async(lambda u: u.chats[0].ended.is_set())
    assert upstream.chats[0].disconnected


async def test_lists_of_models(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    upstream.models = ("one", "two")
    made = connection(http, upstream.openai_url, prefix="p", tags=("t",))
    assert [(e.id, e.remote_id, e.tags) for e in await made.list_models()] == [
        ("p.one", "one", ("t",)),
        ("p.two", "two", ("t",)),
    ]
    named = connection(http, "http://127.0.0.1:1", model_ids=("mine",))
    assert [e.id for e in await named.list_models()] == ["mine"]
    upstream.models_status = 500
    with pytest.raises(ProviderError, match="500"):
        await made.list_models()


def test_forms_of_lists() -> None:
    assert model_list({"data": [{"id": "a"}]}) == [{"id": "a"}]
    assert model_list([{"id": "a"}, "b", 5, {"id": 5}, {}]) == [{"id": "a"}, {"id": "b"}]
    assert model_list({"models": [{"id": "a"}]}) == [{"id": "a"}]
    for bad in ({}, None, "x", {"data": {}}):
        assert model_list(bad) is None


def test_a_connections_own_settings() -> None:
    odd = {"prefix_id": 5, "model_ids": "x", "tags": [{"name": "t"}, "u", 5], "headers": {"a": 1, "b": "c"}}
    spec = build("openai", 3, " http://h/v1/ ", " k ", odd | {"auth_type": "bearer"})
    assert (spec.url, spec.key, spec.prefix, spec.model_ids, spec.tags) == ("http://h/v1", "k", "", (), ("t", "u"))
    assert spec.headers_for(None) == {"authorization": "Bearer k", "b": "c"}
    assert build("openai", 0, "http://h", "k", {"auth_type": "none"}).headers_for(None) == {}


async def test_embeddings(http: aiohttp.ClientSession, upstream: Upstream) -> None:
    body = msgspec.json.decode(await connection(http, upstream.openai_url).embed(entry("echo"), {"input": ["a", "b"]}))
    assert [len(d["embedding"]) for d in body["data"]] == [384, 384]


def limited(body: dict[str, Any], newer: set[str]) -> tuple[int, dict[str, Any]]:
    """A provider whose newer models refuse the older name of the limit."""
    if body["model"] in newer and "max_tokens" in body:
        return 400, {"error": {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    return 200, {"choices": [choice]}


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("o3-mini", {"max_tokens": 5}, [{"max_completion_tokens": 5}]),
        ("openai/gpt-5-mini", {"max_tokens": 5}, [{"max_completion_tokens": 5}]),
        ("o3-mini", {"max_tokens": 5, "max_completion_tokens": 6}, [{"max_completion_tokens": 6}]),
        ("gpt-4o", {"max_tokens": 5}, [{"max_tokens": 5}]),
        ("o3-mini", {}, [{}]),
        # The name of a deployment says nothing of its model: it is asked again, once.
        ("my-deployment", {"max_tokens": 5}, [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}]),
    ],
)  # fmt: skip
async def test_the_limit_of_tokens_has_the_name_that_the_model_knows(
    http: aiohttp.ClientSession, model: str, given: dict[str, Any], sent: list[dict[str, Any]]
) -> None:
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append({name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body})
        status, reply = limited(body, {"my-deployment"})
        return web.json_response(reply, status=status)

    app = web.Application()
    app.router.add_post("/chat/completions", answer)
    async with TestServer(app) as server:
        made = connection(http, str(server.make_url("")).rstrip("/"))
        for _ in range(2 if model == "my-deployment" else 1):
            async with made.open(entry(model), ASK | given) as reply:
                await reply.whole()
    assert seen == sent
