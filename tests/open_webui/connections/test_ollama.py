"""Ollama's wire: the translation by itself, and against a real server on loopback."""

from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.events import Done, Event, Image, Reasoning, Text, ToolCall, Usage
from open_webui.connections.base import ModelEntry
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.ollama_wire import LineDecoder, LineReader, chat_request
from open_webui.connections.render import Chunks
from open_webui.connections.specs import Spec
from open_webui.errors import BadRequest, ProviderError
from tests.support.upstream import Upstream, entered

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}


def request(**fields: Any) -> dict[str, Any]:
    return chat_request(ASK | fields, "m")


def test_parameters_find_their_places() -> None:
    out = request(
        stream=True, temperature=0.5, top_p=0.9, max_tokens=7, stop="x", seed=3, num_ctx=8192, keep_alive="5m",
        tools=[{"type": "function"}], user="nobody",
    )  # fmt: skip
    assert out["options"] == {
        "temperature": 0.5, "top_p": 0.9, "num_predict": 7, "stop": ["x"], "seed": 3, "num_ctx": 8192,
    }  # fmt: skip
    assert (out["stream"], out["keep_alive"], out["tools"]) == (True, "5m", [{"type": "function"}])
    assert "user" not in out
    assert request(options={"mirostat": 1}, num_predict=5, max_tokens=9)["options"] == {"mirostat": 1, "num_predict": 5}
    assert request() == {"model": "m", "messages": ASK["messages"], "stream": False}


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"response_format": {"type": "json_object"}}, "json"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
            {"type": "object"},
        ),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_schema", "json_schema": 5}}, None),
        ({"format": "json"}, "json"),
    ],
)
def test_formats(fields: dict[str, Any], form: Any) -> None:
    assert request(**fields).get("format") == form


@pytest.mark.parametrize(
    ("fields", "think"),
    [({"think": True}, True), ({"think": "high"}, "high"), ({"reasoning_effort": "none"}, False),
     ({"reasoning_effort": "low"}, "low"), ({"reasoning_effort": "xyz"}, None), ({"think": 5}, None),
     *[({name: odd}, None) for name in ("think", "reasoning_effort") for odd in ([], {}, ["high"], {"a": []}, "")]],
)  # fmt: skip
def test_thinking(fields: dict[str, Any], think: Any) -> None:
    assert request(**fields).get("think") == think


def test_messages_with_pictures_and_tools() -> None:
    call = {"id": "c1", "function": {"name": "look", "arguments": '{"a":1}'}}
    bad = {"id": "c2", "function": {"name": "up", "arguments": "{bad"}}
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [
            {"type": "text", "text": "what is this"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call, bad, 5]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]  # fmt: skip
    assert chat_request({"messages": messages}, "m")["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "what is this", "images": ["AAAA"]},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
            {"function": {"name": "look", "arguments": {"a": 1}}},
            {"function": {"name": "up", "arguments": {}}},
        ]},
        {"role": "tool", "content": "done", "tool_name": "look"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "messages",
    [None, "x", ["x"], [{"role": "user", "content": 5}],
     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}],
     [{"role": "user", "content": [{"type": "image_url"}]}]],
)  # fmt: skip
def test_what_ollama_can_not_take(messages: Any) -> None:
    with pytest.raises(BadRequest):
        chat_request({"messages": messages}, "m")


LINES = (
    b'{"message":{"role":"assistant","thinking":"hm","content":""},"done":false}\n'
    b'{"message":{"content":"h\xc3\xa9llo"},"done":false}\n\n{not json\n[1]\n{"message":{"content":5}}\n'
    b'{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},{}]},"done":false}\n'
    b'{"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4,"total_duration":9}'
)


def decode(pieces: list[bytes]) -> tuple[list[Event], LineDecoder]:
    decoder = LineDecoder()
    return [event for piece in [*pieces, b""] for event in decoder.feed(piece)], decoder


def test_lines_become_events() -> None:
    events, decoder = decode([LINES])
    thought, text, call, done, usage = events
    assert (thought, text) == (Reasoning("hm"), Text("héllo"))
    assert isinstance(call, ToolCall)
    assert call.id
    assert (call.index, call.name, call.arguments) == (0, "f", '{"a":1}')
    assert done == Done("tool_calls")
    raw = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "total_duration": 9}
    assert usage == Usage(3, 4, raw=raw)
    assert decoder.done
    assert decoder.dropped == 3


def test_a_field_of_an_unexpected_kind_loses_no_more_than_itself() -> None:
    call = b'{"function":{"name":"f","arguments":[]}}'
    line = (
        b'{"message":{"content":"a","thinking":7,"images":["QQ=="],"tool_calls":['
        + call
        + b',{"function":1}]},"done":true'
    )
    events, decoder = decode([line + b',"eval_count":"many","prompt_eval_count":2}'])
    assert [e for e in events if not isinstance(e, ToolCall)] == [
        Text("a"), Image("data:image/png;base64,QQ=="), Done("tool_calls"),
        Usage(2, 0, raw={"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}),
    ]  # fmt: skip
    assert [e.name for e in events if isinstance(e, ToolCall)] == ["f"]
    # Empty arguments are none, whatever their kind.
    assert (decoder.dropped, decoder.strays) == (3, 0)


def test_content_in_parts_is_its_texts() -> None:
    line = b'{"message":{"content":[{"type":"text","text":"a"},"b",{"type":"thinking","thinking":"c"},7]},"done":true}'
    events, decoder = decode([line])
    assert events == [Text("ab"), Reasoning("c"), Done("stop")]
    assert decoder.dropped == 1


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (r'{"message":{"content":"a\ud83d"}}', r'{"message":{"content":"\ude00b"},"done":true}', "a\U0001f600b"),
        (r'{"message":{"content":"a\ud83d"}}', r'{"message":{"content":"b"}}', "a\ufffdb"),
        (r'{"message":{"content":"a\ud83d"}}', r'{"message":{},"done":true}', "a\ufffd"),
        (r'{"response":"a\ud83d"}', r'{"response":"\ude00b","done":true}', "a\U0001f600b"),
    ],
)
def test_halves_of_a_character_in_two_lines_are_joined(first: str, second: str, said: str) -> None:
    events, _ = decode([first.encode() + b"\n" + second.encode() + b"\n"])
    assert "".join(event.text for event in events if isinstance(event, Text)) == said


def test_two_calls_of_one_line_are_two() -> None:
    line = b'{"message":{"tool_calls":[{"function":{"name":"f"}},{"id":"x","function":{"name":"g"}}]},"done":true}\n'
    events, _ = decode([line])
    assert [(e.index, e.name, e.arguments) for e in events if isinstance(e, ToolCall)] == [
        (0, "f", "{}"),
        (1, "g", "{}"),
    ]
    chunks = [msgspec.json.decode(c)["choices"][0] for c in Chunks("m").render(events)]
    assert [c["delta"].get("role") for c in chunks] == ["assistant", None, None]
    assert chunks[1]["delta"]["tool_calls"][0]["id"] == "x"
    assert chunks[2]["finish_reason"] == "tool_calls"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, len(LINES)), max_size=8))
def test_any_split_gives_the_same(places: list[int]) -> None:
    edges = [0, *sorted(places), len(LINES)]
    reader, whole = LineReader(), LineReader()
    split = [line for a, b in zip(edges, edges[1:], strict=False) for line in reader.feed(LINES[a:b])] + reader.close()  # noqa: RUF007
    assert split == whole.feed(LINES) + whole.close()


def test_a_line_without_end_is_given_up() -> None:
    reader = LineReader(limit=10)
    assert reader.feed(b"good\nbad" + b"x" * 20) == [b"good"]
    assert reader.too_long


@pytest.fixture
def server(http: aiohttp.ClientSession, upstream: Upstream) -> OllamaConnection:
    return OllamaConnection(http, Spec(kind="ollama", index=0, url=upstream.url, connection_type="local"), 5)


def entry(model: str) -> ModelEntry:
    return ModelEntry(id=model, name=model, remote_id=model, connection="ollama:0", kind="ollama")


async def said(server: OllamaConnection, model: str) -> tuple[str, list[Any]]:
    async with server.open(entry(model), ASK | {"stream": True}) as reply:
        chunks = [msgspec.json.decode(c) async for batch in reply.batches() for c in batch]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]), chunks


async def test_a_stream_and_a_whole_answer(server: OllamaConnection, upstream: Upstream) -> None:
    text, chunks = await said(server, "echo:latest")
    assert text == "hello there"
    assert chunks[-1]["usage"]["total_tokens"] == 27
    async with server.open(entry("echo:latest"), ASK) as reply:
        whole = msgspec.json.decode(await reply.whole())
    assert whole["choices"][0]["message"]["content"] == "hello there"
    assert whole["usage"]["prompt_tokens"] == 7
    _, chunks = await said(server, "tools:latest")
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert upstream.chats[0].path == "/api/chat"


@pytest.mark.parametrize(("model", "problem"), [("drop", "cut off"), ("cut", "cut off"), ("instream", "fell over")])
async def test_broken_streams(server: OllamaConnection, model: str, problem: str) -> None:
    with pytest.raises(ProviderError, match=problem):
        await said(server, model)


async def test_refusals(server: OllamaConnection) -> None:
    with pytest.raises(ProviderError, match="slow down") as caught:
        await entered(server.open(entry("error429"), ASK))
    assert caught.value.status == 429
    with pytest.raises(ProviderError, match="does not exist"):
        await entered(server.open(entry("unknown"), ASK))


async def test_models(server: OllamaConnection, upstream: Upstream) -> None:
    upstream.models = ("a", "b")
    listed = await server.list_models()
    assert [(e.id, e.connection_type, e.created) for e in listed] == [
        ("a:latest", "local", 1767225600),
        ("b:latest", "local", 1767225600),
    ]
    upstream.models_status = 500
    with pytest.raises(ProviderError):
        await server.list_models()


async def test_something_else_at_that_address(http: aiohttp.ClientSession) -> None:
    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m"}]})

    app = web.Application()
    app.router.add_get("/api/tags", models)
    async with TestServer(app) as provider:
        wrong = OllamaConnection(http, Spec(kind="ollama", index=0, url=str(provider.make_url("/"))), 5)
        with pytest.raises(ProviderError):
            await wrong.list_models()


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ('"{\\"a\\":1}"', '{"a":1}'),
        ('"no json"', "no json"),
        ("[1]", "[1]"),
        ('{"a":1}', '{"a":1}'),
        ('""', "{}"),
        ("null", "{}"),
    ],
)
def test_arguments_of_any_kind_stay_those_of_the_call(given: str, arguments: str) -> None:
    line = '{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + given + "}}]}}"
    events, decoder = decode([line.encode() + b"\n"])
    assert [e.arguments for e in events if isinstance(e, ToolCall)] == [arguments]
    assert decoder.dropped == 0


@pytest.mark.parametrize("error", [b'"slow down"', b'{"message":"slow down"}', b'{"error":{"message":"slow down"}}'])
def test_an_error_of_any_form_is_told_in_its_words(error: bytes) -> None:
    _, decoder = decode([b'{"error":' + error + b"}\n"])
    assert decoder.error is not None
    assert "slow down" in decoder.error.detail
