"""The HTTP server over any backend: shapes, errors, the key, and a client that goes away."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import asyncio
import base64
import json
import struct
import subprocess
import sys
import threading

import pytest
from aiohttp.test_utils import TestClient, TestServer

from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    GenerationError,
    ModelBusyError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ParameterError,
    UnsupportedError,
)
from llamaforge.formats.completions import chat_chunks, split_usage, text_chunks, usage_of, whole
from llamaforge.parameters import Parameter
from llamaforge.worker import api
from llamaforge.worker.api import create_app
from tests.support.process import clean_environment

KEY = "the key"
ASK = {"messages": [{"role": "user", "content": "hi"}]}


class Scripted(BaseBackend):
    """Answers "one two" with usage; the prompt may name an error, and "wait" holds the second piece back."""

    def __init__(self):
        self.seen = None
        self.closed = threading.Event()

    def load_model(self, model_path, parameters=None): ...

    def is_model_loaded(self):
        return True

    def generate(self, prompt, parameters=None):
        return "".join(self.generate_stream(prompt, parameters))

    def generate_stream(self, prompt, parameters=None):
        self.seen = dict(parameters or {})
        if prompt == "wrong":
            raise ParameterError("'x' is wrong.")
        if prompt == "long":
            raise ContextLengthError("Too long.", prompt_tokens=9, context_tokens=5)
        try:
            yield "one "
            if prompt == "late":
                raise GenerationError("It broke.")
            while prompt == "wait":
                yield "and "
            yield "two"
        finally:
            self.closed.set()

    def completion_stream(self, prompt, parameters=None):
        return text_chunks(self.generate_stream(prompt, parameters), "m", usage=usage_of(3, 2))

    def chat_completion_stream(self, messages, parameters=None):
        return chat_chunks(self.generate_stream(messages[0]["content"], parameters), "m", usage=usage_of(3, 2))

    def embed(self, texts, parameters=None):
        return [[1.0, 0.5, float(len(text))] for text in texts]

    def count_tokens(self, content, tools=()):
        return sum(len(message["content"]) for message in content) + 100 * len(tools)

    def tokenize(self, text):
        return list(text.encode())

    def detokenize(self, tokens):
        return bytes(tokens).decode()


@pytest.fixture
def backend():
    return Scripted()


@pytest.fixture
async def client(backend):
    server = TestServer(create_app(backend, "scripted", KEY))
    async with TestClient(server, headers={"Authorization": f"Bearer {KEY}"}) as made:
        yield made


async def events(response):
    text = await response.text()
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


async def test_whole_answers(client, backend):
    chat = await (await client.post("/v1/chat/completions", json={**ASK, "model": "asked", "top_k": 3})).json()
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": "one two"}
    assert (chat["object"], chat["model"], chat["usage"]["total_tokens"]) == ("chat.completion", "asked", 5)
    assert backend.seen == {"top_k": 3}
    text = await (await client.post("/v1/completions", json={"prompt": "x", "user": "u", "seed": None})).json()
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "one two")
    assert text["choices"][0]["finish_reason"] == "stop"
    assert backend.seen == {}


@pytest.mark.parametrize("wanted", [True, False])
async def test_streams_tell_the_usage_to_who_asks(client, wanted):
    body = {**ASK, "stream": True, "stream_options": {"include_usage": wanted}}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream"
    *chunks, done = await events(response)
    assert done == "[DONE]"
    read = [json.loads(chunk) for chunk in chunks]
    assert [c["choices"][0]["delta"].get("content") for c in read if c["choices"]] == ["one ", "two", None]
    assert [c["usage"]["total_tokens"] for c in read if "usage" in c] == ([5] if wanted else [])
    assert all(not c["choices"] for c in read if "usage" in c)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("prompt", "status", "error"),
    [
        ("wrong", 400, {"message": "'x' is wrong.", "type": "invalid_request_error", "param": None, "code": None}),
        (
            "long",
            400,
            {
                "message": "Too long.",
                "type": "exceed_context_size_error",
                "param": None,
                "code": "context_length_exceeded",
            }
            | {"n_prompt_tokens": 9, "n_ctx": 5},
        ),
    ],
)
async def test_errors_before_the_first_piece_have_a_status(client, prompt, status, error, stream):
    response = await client.post("/v1/completions", json={"prompt": prompt, "stream": stream})
    assert (response.status, await response.json()) == (status, {"error": error})


async def test_an_error_in_the_middle_is_the_last_event(client):
    response = await client.post("/v1/completions", json={"prompt": "late", "stream": True})
    first, last = await events(response)
    assert json.loads(first)["choices"][0]["text"] == "one "
    assert json.loads(last)["error"]["message"] == "It broke."
    response = await client.post("/v1/completions", json={"prompt": "late"})
    assert (response.status, (await response.json())["error"]["message"]) == (500, "It broke.")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/completions", b"{", "not JSON"),
        ("/v1/completions", b"[]", "must be an object"),
        ("/v1/completions", b"{}", "'prompt' is missing"),
        ("/v1/completions", b'{"prompt": [1.5]}', "'prompt' must be text, or a list"),
        ("/v1/completions", b'{"prompt": "x", "n": []}', "'n' must be a number"),
        ("/v1/completions", b'{"prompt": "x", "n": true}', "'n' must be a number"),
        ("/v1/completions", b'{"prompt": "x", "n": 0}', "'n' must be between 1 and 128"),
        ("/v1/completions", b'{"prompt": "x", "stream": 1}', "'stream' must be true or false"),
        ("/v1/completions", b'{"prompt": "x", "model": []}', "'model' must be text"),
        ("/v1/completions", b'{"prompt": "x", "echo": "yes"}', "'echo' must be true or false"),
        ("/v1/chat/completions", b"{}", "'messages' is missing"),
        ("/v1/chat/completions", b'{"messages": [1]}', "'messages' must be a list"),
        ("/v1/chat/completions", b'{"messages": [], "stream_options": 1}', "'stream_options' must be an object"),
        ("/v1/chat/completions/input_tokens", b'{"messages": 1}', "'messages' must be a list"),
        ("/tokenize", b"[]", "must be an object"),
        ("/tokenize", b"{}", "must be text"),
        ("/detokenize", b'{"tokens": [-1]}', "whole numbers"),
        ("/detokenize", b'{"tokens": "65"}', "whole numbers"),
        ("/v1/embeddings", b'{"input": []}', "'input' must be text"),
        ("/v1/embeddings", b'{"input": [1.5, 2]}', "'input' must be text"),
        ("/v1/embeddings", b'{"input": "x", "encoding_format": []}', "'encoding_format' must be"),
        ("/v1/embeddings", b'{"input": "x", "encoding_format": "int8"}', "'encoding_format' must be"),
    ],
)
async def test_bad_bodies(client, path, body, words):
    response = await client.post(path, data=body)
    assert response.status == 400
    assert words in (await response.json())["error"]["message"]


async def test_tokens_are_counted_told_and_joined(client):
    asked = {"messages": [{"role": "user", "content": "four"}], "tools": [{}], "max_tokens": 1}
    counted = await (await client.post("/v1/chat/completions/input_tokens", json=asked)).json()
    assert counted == {"object": "response.input_tokens", "input_tokens": 104}
    assert await (await client.post("/tokenize", json={"content": "ab"})).json() == {"tokens": [97, 98]}
    assert await (await client.post("/detokenize", json={"tokens": [97, 98]})).json() == {"content": "ab"}


async def test_embeddings_as_numbers_and_packed(client):
    numbers = await (await client.post("/v1/embeddings", json={"input": ["a", "bc"]})).json()
    assert [entry["embedding"] for entry in numbers["data"]] == [[1.0, 0.5, 1.0], [1.0, 0.5, 2.0]]
    body = {"input": "abc", "encoding_format": "base64"}
    packed = await (await client.post("/v1/embeddings", json=body)).json()
    assert struct.unpack("<3f", base64.b64decode(packed["data"][0]["embedding"])) == (1.0, 0.5, 3.0)


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer no", KEY + "x", "Bearer the keyä"])
async def test_the_key(client, key):
    for path in ("/v1/models", "/v1/completions", "/other"):
        response = await client.get(path, headers={"Authorization": key})
        assert response.status == 401
    assert (await client.get("/health", headers={"Authorization": key})).status == 200


async def test_a_client_that_goes_away_ends_the_generation(backend):
    from aiohttp import web

    runner = web.AppRunner(create_app(backend, "scripted", KEY), handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    body = json.dumps({"prompt": "wait", "stream": True}).encode()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.readuntil(b"one ")
    assert not backend.closed.is_set()
    writer.close()
    assert await asyncio.to_thread(backend.closed.wait, 5)
    await runner.cleanup()


@pytest.mark.parametrize("stream", [True, False])
async def test_several_prompts_have_their_answers_each(client, stream):
    body = {"prompt": ["a", "b"], "stream": stream, "stream_options": {"include_usage": True}}
    response = await client.post("/v1/completions", json=body)
    if stream:
        read = [json.loads(event) for event in (await events(response))[:-1]]
        texts = [(one["index"], one["text"]) for chunk in read for one in chunk["choices"] if one["text"]]
        assert texts == [(0, "one "), (0, "two"), (1, "one "), (1, "two")]
    else:
        choices = (await response.json())["choices"]
        assert [(one["index"], one["text"]) for one in choices] == [(0, "one two"), (1, "one two")]


async def test_a_silent_model_says_that_it_lives(backend, monkeypatch):
    """And an error after that is the last event: the status has been sent."""
    monkeypatch.setattr(api, "SILENCE_SECONDS", 0.02)
    gate = threading.Event()

    def silent(prompt, parameters=None):
        gate.wait(10)
        raise ContextLengthError("Too long.", prompt_tokens=9, context_tokens=5)
        yield

    backend.generate_stream = silent
    async with TestClient(
        TestServer(create_app(backend, "s", KEY)), headers={"Authorization": f"Bearer {KEY}"}
    ) as made:
        response = await made.post("/v1/completions", json={"prompt": "x", "stream": True})
        assert response.status == 200
        assert await response.content.readuntil(b"\n\n") == b": at work\n\n"
        gate.set()
        error = json.loads((await events(response))[-1])["error"]
        assert (error["status"], error["code"], error["n_ctx"]) == (400, "context_length_exceeded", 5)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "retry_after"),
    [
        (ModelBusyError("x"), 503, "server_error", "model_busy", "1"),
        (ModelNotLoadedError(), 503, "server_error", "model_not_loaded", None),
        (UnsupportedError("x"), 501, "not_supported_error", None, None),
        (APIError("x", status=429, retry_after=7.2), 429, "server_error", None, "8"),
        (APIError("x"), 502, "server_error", None, None),
        (APIError("x", status=500), 502, "server_error", None, None),
        (APIError("x", status=503, retry_after=2), 503, "server_error", None, "2"),
        (APIError("x", status=422), 422, "server_error", None, None),
        (AuthenticationError("x", status=401), 502, "server_error", None, None),
        (AuthenticationError("x", status=403), 502, "server_error", None, None),
        (ModelNotFoundError("x"), 404, "invalid_request_error", "model_not_found", None),
        (GenerationError("x"), 500, "server_error", None, None),
        (OSError("x"), 500, "server_error", None, None),
    ],
)
async def test_each_error_has_its_status(client, backend, error, status, kind, code, retry_after):
    def fails(prompt, parameters=None):
        raise error
        yield

    backend.generate_stream = fails
    for stream in (True, False):
        response = await client.post("/v1/completions", json={"prompt": "x", "stream": stream})
        told = (await response.json())["error"]
        assert (response.status, told["type"], told["code"]) == (status, kind, code)
        assert response.headers.get("retry-after") == retry_after


async def test_a_suffix_is_for_models_that_fill_in(client, backend, monkeypatch):
    response = await client.post("/v1/completions", json={"prompt": "x", "suffix": "y"})
    assert (response.status, "'suffix' can't be had" in (await response.json())["error"]["message"]) == (501, True)
    monkeypatch.setattr(Scripted, "generation_parameters", (Parameter("suffix", "text"),))
    assert (await client.post("/v1/completions", json={"prompt": "x", "suffix": "y"})).status == 200
    assert backend.seen == {"suffix": "y"}


def test_tool_calls_are_put_together_from_their_parts():
    def chunk(delta, reason=None):
        return {"id": "i", "object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": reason}]}

    made = whole([
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
        chunk({}, "tool_calls"),
    ])  # fmt: skip
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    assert made["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}]


def test_usage_stands_in_a_chunk_of_its_own():
    chunk = {"id": "i", "choices": [{"delta": {}}], "usage": {"total_tokens": 1}}
    assert list(split_usage(chunk, wanted=True)) == [
        {"id": "i", "choices": [{"delta": {}}]},
        {"id": "i", "choices": [], "usage": {"total_tokens": 1}},
    ]
    assert list(split_usage(chunk, wanted=False)) == [{"id": "i", "choices": [{"delta": {}}]}]


def test_the_process_ends_with_its_stdin(tmp_path):
    worker = subprocess.Popen(
        [sys.executable, "-m", "llamaforge.worker"], env=clean_environment(), cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with worker:
        greeting = {"name": "e", "path": "doctor", "backend": "eliza", "parameters": {}, "slots": 1, "niceness": 1}
        print(json.dumps({**greeting, "parent": __import__("os").getpid()}), file=worker.stdin, flush=True)
        told = json.loads(worker.stdout.readline())
        assert told["event"] == "ready"
        assert told["url"].startswith("http://127.0.0.1:")
        worker.stdin.close()
        assert worker.wait(timeout=5) == 0


def test_without_a_greeting_it_says_what_it_is_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "llamaforge.worker"], env=clean_environment(), cwd=tmp_path, input="", text=True,
        capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 2
    assert "started by llamaforge" in done.stderr
