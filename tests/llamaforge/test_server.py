"""`llamaforge serve` with the clients that people use: OpenAI's library and curl, on real engines in real processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from llamaforge import backends
from llamaforge.exceptions import ConfigError
from llamaforge.forge import LlamaForge
from llamaforge.formats.request import normalise
from llamaforge.server import ApiServer, create_api_server, create_app
from llamaforge.server.answers import OpenAIAnswer
from llamaforge.server.forward import Forward
from llamaforge.server.metrics import Metrics
from tests.support.eliza import SAD as SORRY
from tests.support.eliza import SAD_WORDS
from tests.support.process import clean_environment, die_with_parent

HELLO = "Hello from the tiny test model."
ASK = [{"role": "user", "content": "hi"}]
SAD = [{"role": "user", "content": "I am sad"}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Berlin"}}\n</tool_call>'
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
BACKENDS = '''
class Echo:
    """The four methods of the documentation, and nothing else."""
    def load_model(self, model_path, parameters=None):
        self.model = model_path
    def generate(self, prompt, parameters=None):
        return "".join(self.generate_stream(prompt, parameters))
    def generate_stream(self, prompt, parameters=None):
        if "fail" in prompt:
            raise OSError("the engine is on fire")
        yield prompt.upper()
        if "break" in prompt:
            raise OSError("the engine broke")
    def is_model_loaded(self):
        return True
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory, gguf_that_says):
    folder = tmp_path_factory.mktemp("serve")
    (folder / "echo_backends.py").write_text(BACKENDS)
    (folder / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 500)
    forge = LlamaForge(":memory:")
    forge.config.set("default_model", "doctor")
    forge.config.set("models_dir", str(folder / "models"))
    llama = {"n_threads": 1, "n_ctx": 512, "temperature": 0}
    forge.add_model("doctor", "doctor", "eliza", metadata={"aliases": ["gpt-4"]})
    forge.add_model("slow", "doctor", "eliza", {"delay": 0.2, "n_parallel": None})
    forge.add_model("slowest", "doctor", "eliza", {"delay": 10, "n_parallel": None})
    forge.add_model("tiny", gguf_that_says(HELLO), parameters=llama)
    forge.add_model("brief", gguf_that_says(HELLO), parameters={**llama, "max_tokens": 2})
    fim = {f"tokenizer.ggml.fim_{part}_token_id": 65 + n for n, part in enumerate(("pre", "suf", "mid"))}
    forge.add_model("fim", gguf_that_says(HELLO, metadata=fim), parameters=llama)
    forge.add_model("tool", gguf_that_says(CALL), parameters=llama)
    forge.add_model("vectors", gguf_that_says(HELLO), parameters={**llama, "embedding": True})
    forge.add_model("endless", gguf_that_says(HELLO, endless=True), parameters={**llama, "n_ctx": 4096})
    forge.add_model("bad", folder / "bad.gguf")
    forge.add_model("lost", folder / "nowhere.gguf")
    forge.add_model("echo", "x", "echo")
    forge.add_model("local", "x", "local")

    class Local:
        load_model = generate = generate_stream = is_model_loaded = lambda _self: None

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(backends, "_registry", dict(backends._registry))
        backends.register_backend("echo", __import__("echo_backends").Echo)
        backends.register_backend("local", Local)
        with ApiServer(forge, port=0, slots=2) as made:
            yield made


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=20) as made:
        yield made


def status_of(http, name):
    """A gauge of a model, as /metrics tells it."""
    lines = http.get("/metrics").text.splitlines()
    found = {}
    for line in lines:
        if line.startswith("llamaforge_model_") and f'model="{name}"' in line:
            found[line.partition("{")[0].removeprefix("llamaforge_model_")] = float(line.rpartition(" ")[2])
    return found


# ---- OpenAI's library


def test_a_chat(client):
    answer = client.chat.completions.create(model="tiny", messages=ASK)
    assert answer.choices[0].message.content == HELLO
    assert (answer.model, answer.object, answer.choices[0].finish_reason) == ("tiny", "chat.completion", "stop")
    assert answer.usage.completion_tokens == 7


def test_a_streamed_chat_with_its_usage(client):
    chunks = list(
        client.chat.completions.create(model="tiny", messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert pieces == ["Hello", " from", " the", " tiny", " test", " model."]
    assert {chunk.model for chunk in chunks} == {"tiny"}
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].timings["predicted_n"] == 7  # what only the engine knows arrives, too


async def test_the_asynchronous_client_with_two_models_at_once(server):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:

        async def ask(model, messages):
            stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

        asked = [ask("tiny", ASK), ask("doctor", SAD), ask("tiny", ASK), ask("doctor", SAD)]
        assert await asyncio.gather(*asked) == [HELLO, SORRY, HELLO, SORRY]


def test_a_completion(client):
    assert client.completions.create(model="tiny", prompt="x").choices[0].text == HELLO
    stream = client.completions.create(model="tiny", prompt="x", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == HELLO


@pytest.mark.parametrize("stream", [True, False])
def test_several_answers_count_all_their_tokens(client, stream):
    asked = {"model": "tiny", "messages": ASK, "n": 2, "max_tokens": 2}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert [chunk.choices for chunk in chunks if chunk.usage] == [[]]
        usage, texts = chunks[-1].usage, ["", ""]
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        answer = client.chat.completions.create(**asked)
        usage, texts = answer.usage, [choice.message.content for choice in answer.choices]
    assert texts == ["Hello from", "Hello from"]
    alone = client.chat.completions.create(**{**asked, "n": 1}).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (alone.prompt_tokens, 2 * alone.completion_tokens)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("model", ["tiny", "echo"])
@pytest.mark.parametrize("stream", [True, False])
def test_several_prompts_are_answered_and_repeated_each(client, model, stream):
    asked = {"model": model, "prompt": ["a", "bb"], "echo": True}
    if stream:
        texts = ["", ""]
        for chunk in client.completions.create(**asked, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].text
    else:
        answer = client.completions.create(**asked)
        texts = [choice.text for choice in answer.choices]
        assert [choice.index for choice in answer.choices] == [0, 1]
        if model == "tiny":
            assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 14)
    assert texts == (["a" + HELLO, "bb" + HELLO] if model == "tiny" else ["aA", "bbBB"])


@pytest.mark.parametrize("stream", [True, False])
def test_a_completions_probabilities_are_in_its_own_shape(client, stream):
    asked = {"model": "tiny", "prompt": "x", "logprobs": 1, "max_tokens": 2}
    if stream:
        given = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
        tokens = [token for one in given if one for token in one.tokens]
        offsets = [offset for one in given if one for offset in one.text_offset]
    else:
        logprobs = client.completions.create(**asked).choices[0].logprobs
        tokens, offsets = logprobs.tokens, logprobs.text_offset
        assert logprobs.top_logprobs[0] == {"Hello": logprobs.token_logprobs[0]}
    assert (tokens, offsets) == (["Hello", " from"], [0, 5])


@pytest.mark.parametrize("stream", [True, False])
def test_a_model_that_can_fills_in(client, stream):
    asked = {"model": "fim", "prompt": "a", "suffix": "b", "max_tokens": 3}
    if stream:
        chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text, usage = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices), chunks[-1].usage
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    else:
        answer = client.completions.create(**asked)
        text, usage = answer.choices[0].text, answer.usage
        assert (answer.model, answer.object, answer.choices[0].finish_reason) == ("fim", "text_completion", "length")
    assert (text, usage.completion_tokens) == ("Hello from the", 3)


@pytest.mark.parametrize(("model", "words"), [("tiny", "Infill is not supported"), ("echo", "'suffix' can't be had")])
def test_a_model_that_cant_fill_in_says_so(client, model, words):
    with pytest.raises(openai.InternalServerError, match=words) as raised:
        client.completions.create(model=model, prompt="a", suffix="b")
    assert raised.value.status_code == 501


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": [[1, 2]], "echo": True}, "'echo' repeats a prompt that is text"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "'echo' repeats a prompt that is text, without 'logprobs'"),
        ({"prompt": ["x", "y"], "suffix": "z"}, "'suffix' goes with one prompt"),
        ({"prompt": "x", "logprobs": -1}, "'logprobs' must be"),
        ({"prompt": "x", "logprobs": []}, "'logprobs' must be"),
        ({"prompt": "x", "max_tokens": 0}, "'max_tokens' must be at least 1"),
        ({"prompt": "x", "tools": [WEATHER]}, "'tools' goes with messages"),
    ],
)
def test_what_a_completion_cant_have(http, body, words):
    answer = http.post("/v1/completions", json={"model": "tiny", **body})
    assert answer.status_code in {400, 501}
    assert words in answer.json()["error"]["message"]


def test_a_whole_answer_takes_as_long_as_it_needs(server):
    """The time without a byte is the engine's, not the answer's."""
    forge = LlamaForge(":memory:")
    forge.config.set("server.request_timeout", 0.9)
    forge.add_model("slow", "doctor", "eliza", {"delay": 0.2})
    with ApiServer(forge, port=0) as made, httpx.Client(base_url=made.url, timeout=20) as http:
        begun = time.monotonic()
        answer = http.post("/v1/chat/completions", json={"model": "slow", "messages": SAD})
        assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, SORRY)
        assert time.monotonic() - begun > 1.2


@pytest.mark.parametrize(
    ("path", "asked"), [("/v1/chat/completions", {"messages": SAD}), ("/v1/completions", {"prompt": "x"})]
)
def test_whole_and_streamed_answers_have_the_same_probabilities(http, path, asked):
    body = {"model": "tiny", "max_tokens": 3, "n_probs": 2, **asked}
    lines = http.post(path, json={**body, "stream": True}).text.splitlines()
    choices = [one for line in lines if line[6:7] == "{" for one in json.loads(line[6:])["choices"]]
    streamed = [token["token"] for one in choices for token in (one.get("logprobs") or {}).get("content", ())]
    [choice] = http.post(path, json=body).json()["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == streamed
    assert len(streamed) == 3


@pytest.mark.parametrize(
    ("path", "asked"), [("/v1/chat/completions", {"messages": SAD}), ("/v1/completions", {"prompt": "x"})]
)
def test_a_whole_answer_has_the_usage_of_a_streamed_one(http, path, asked):
    body = {"model": "tiny", "max_tokens": 3, "cache_prompt": False, **asked}
    options = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    lines = http.post(path, json={**body, **options}).text.splitlines()
    [usage] = [found for line in lines if line[6:7] == "{" and (found := json.loads(line[6:]).get("usage"))]
    whole = http.post(path, json={**body, "return_progress": True}).json()
    assert (whole["usage"], "prompt_progress" in whole) == (usage, False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_whole_answer_is_asked_for_as_one(http, monkeypatch, path):
    """A stream costs the engine and this process more with each token."""
    sent = []
    made = Forward.__init__

    def noted(self, upstream, spec, to, asked, *rest, **options):
        sent.append(json.loads(asked[1]).get("stream", False))
        made(self, upstream, spec, to, asked, *rest, **options)

    monkeypatch.setattr(Forward, "__init__", noted)
    words = {"input": "hi"} if path == "/v1/responses" else {"messages": ASK, "max_tokens": 20}
    answer = http.post(path, json={"model": "tiny", **words})
    assert (answer.status_code, HELLO in answer.text, sent) == (200, True, [False])


def test_a_tool_call(client):
    answer = client.chat.completions.create(model="tool", messages=ASK, tools=[WEATHER])
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Berlin"})
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_streamed_tool_call(client):
    arguments, names = "", []
    for chunk in client.chat.completions.create(model="tool", messages=ASK, tools=[WEATHER], stream=True):
        for call in chunk.choices[0].delta.tool_calls or ():
            arguments += call.function.arguments or ""
            names += [call.function.name] if call.function.name else []
    assert (names, json.loads(arguments)) == (["weather"], {"city": "Berlin"})


@pytest.mark.parametrize("stream", [False, True])
def test_a_named_tool_is_the_one_that_is_called(client, stream):
    """Although the model wants to call another one."""
    booking = {"type": "object", "properties": {"to": {"enum": ["Mainz"]}}, "required": ["to"]}
    tools = [WEATHER, {"type": "function", "function": {"name": "book", "parameters": booking}}]
    choice = {"type": "function", "function": {"name": "book"}}
    asked = {"model": "tool", "messages": ASK, "tools": tools, "tool_choice": choice, "max_tokens": 100}
    if stream:
        deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True)]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
    else:
        calls = client.chat.completions.create(**asked).choices[0].message.tool_calls
    assert [call.function.name for call in calls if call.function.name] == ["book"]


def test_a_call_without_arguments_in_the_history(client):
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": ""}}
    history = [*ASK, {"role": "assistant", "content": None, "tool_calls": [call]},
               {"role": "tool", "tool_call_id": "c1", "content": "noon"}]  # fmt: skip
    assert client.chat.completions.create(model="tiny", messages=history).choices[0].message.content == HELLO


def test_a_json_schema_shapes_the_answer(client):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = client.chat.completions.create(model="tiny", messages=ASK, response_format=shape, max_tokens=100)
    assert isinstance(json.loads(answer.choices[0].message.content)["a"], int)


def test_embeddings(client):
    made = client.embeddings.create(model="vectors", input=["one", "another"])
    assert [len(entry.embedding) for entry in made.data] == [len(made.data[0].embedding)] * 2
    assert sum(number * number for number in made.data[0].embedding) == pytest.approx(1, abs=1e-3)


def test_another_engine_and_an_alias(client):
    answer = client.chat.completions.create(model="gpt-4", messages=SAD)
    assert (answer.choices[0].message.content, answer.model) == (SORRY, "doctor")
    stream = client.chat.completions.create(model="doctor", messages=SAD, stream=True)
    assert [chunk.choices[0].delta.content for chunk in stream][:3] == SAD_WORDS[:3]


def test_parameters_stored_with_the_model_are_defaults_of_its_generations(client):
    assert client.completions.create(model="brief", prompt="x").choices[0].text == "Hello from"
    assert client.completions.create(model="brief", prompt="x", max_tokens=1).choices[0].text == "Hello"
    # Another spelling of the same parameter wins as well.
    other = client.completions.create(model="brief", prompt="x", extra_body={"n_predict": 1})
    assert other.choices[0].text == "Hello"


def test_a_backend_of_ones_own(client):
    assert client.completions.create(model="echo", prompt="loud").choices[0].text == "LOUD"
    with pytest.raises(openai.InternalServerError, match="can't be run in a process of its own"):
        client.completions.create(model="local", prompt="x")


# ---- models


def test_models_are_listed_and_loaded(client, http):
    listed = [model.id for model in client.models.list()]
    assert listed[:4] == ["doctor", "slow", "slowest", "tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    answer = http.post("/v1/models/tiny")
    assert (answer.status_code, answer.json()["status"]["value"]) == (200, "ready")


@pytest.mark.parametrize("path", ["/v1/models/nobody", "/v1/models/owner/name", "/v1/models/doctor/x"])
def test_an_unknown_model_is_not_found(http, path):
    for answer in (http.get(path), http.post(path)):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"


def test_a_path_is_no_model(client, tmp_path, gguf_that_says):
    """A client must not choose files of the machine."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=str(gguf_that_says(HELLO)), messages=ASK)


@pytest.mark.parametrize(("model", "words"), [("bad", "GGUF version 4294967295"), ("lost", "nowhere.gguf")])
def test_a_file_that_cant_be_loaded_is_an_error_with_the_reason(client, model, words):
    with pytest.raises(openai.APIStatusError, match=words) as raised:
        client.chat.completions.create(model=model, messages=ASK)
    assert raised.value.status_code in {404, 500}
    assert raised.value.response.headers.get("x-should-retry") != "true"


# ---- bad requests


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"model": "tiny"}', "'messages' is missing"),
        (b'{"model": "tiny", "messages": []}', "There is no message to answer."),
        (b'{"model": "tiny", "messages": "hi"}', "'messages' must be a list of objects"),
        (b'{"model": "tiny", "messages": ["hi"]}', "'messages' must be a list of objects"),
        (b'{"model": 7, "messages": []}', "'model' must be text"),
        (
            (
                rb'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url",'
                rb' "image\u005furl": {"url": "http://127.0.0.1:1/secret"}}]}]}'
            ),
            "An image must be given as a data: URL",
        ),
        (b'{"model": "tiny", "messages": [], "user": 7}', "'user' must be text"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', "temperature"),
        (b'{"model": "tiny", "messages": [], "x": ' + b"[" * 100_000, "not a JSON object"),
        (b'{"model": "\xff", "messages": []}', "not a JSON object"),
        (b'{"model": "echo", "messages": [], "n": 2}', "'n' must be 1"),
        (
            b'{"model": "tiny", "messages": [{"role": "user"}], "reasoning_format": "x"}',
            "'reasoning_format' must be one of",
        ),
        (b'{"model": "tiny", "messages": [{"role": "user"}], "n": []}', "'n' must be a number"),
        (b'{"model": "tiny", "messages": [{"role": "user"}], "max_tokens": 0}', "'max_tokens' must be at least 1"),
        (b'{"model": "tiny", "messages": [{"role": "user"}], "max_completion_tokens": 0}', "must be at least 1"),
        (b'{"model": "tiny", "messages": [{"role": "user"}], "tool_choice": []}', "'tool_choice' must be"),
        (
            b'{"model": "tiny", "messages": [{"role": "user"}], "json_schema": {"uniqueItems": true}}',
            "No engine can hold an answer to 'uniqueItems'",
        ),
        (
            (
                b'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url",'
                b' "image_url": {"url": "data:image/png;base64,AA"}}]}]}'
            ),
            "This model takes no images",
        ),
        (b'{"model": "doctor", "messages": [{"role": "user", "content": 7}]}', "content of a message"),
    ],
)
def test_a_bad_body_is_refused_by_what_is_wrong(http, body, words):
    answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 501}
    assert words in answer.json()["error"]["message"]


def test_other_types_of_content_are_refused(http):
    body = json.dumps({"model": "tiny", "messages": ASK})
    answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "invalid_request_error")


def test_a_prompt_longer_than_the_context(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model="tiny", prompt="x" * 600)
    assert raised.value.type == "exceed_context_size_error"
    assert raised.value.body["n_ctx"] == 512


def test_what_the_model_cant_do(client):
    with pytest.raises(openai.InternalServerError, match="makes no embeddings") as raised:
        client.embeddings.create(model="doctor", input="x")
    assert raised.value.status_code == 501


def test_vectors_that_cant_be_had_are_refused_with_the_reason(client):
    for model, more, words in (
        ("tiny", {}, "was not loaded for embeddings"),
        ("vectors", {"dimensions": 3}, "'dimensions'"),
    ):
        with pytest.raises(openai.InternalServerError, match=words) as raised:
            client.embeddings.create(model=model, input="x", **more)
        assert raised.value.status_code == 501


def test_a_failing_backend(client):
    with pytest.raises(openai.InternalServerError, match="the engine is on fire"):
        client.completions.create(model="echo", prompt="fail")
    with pytest.raises(openai.InternalServerError, match="the engine is on fire"):
        client.completions.create(model="echo", prompt="fail", stream=True)
    stream = client.completions.create(model="echo", prompt="break", stream=True)
    assert next(stream).choices[0].text == "BREAK"
    with pytest.raises(openai.APIError, match="the engine broke"):
        next(stream)


def test_unknown_paths_and_methods_answer_in_the_same_shape(http):
    for answer, status in ((http.get("/v2/x"), 404), (http.get("/v1/completions"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


# ---- processes


def test_a_client_that_goes_away_frees_its_slot(http):
    body = {"model": "slowest", "messages": SAD, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert status_of(http, "slowest")["slots_in_use"] == 1
    deadline = time.monotonic() + 30  # the answer itself takes minutes
    while status_of(http, "slowest")["slots_in_use"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_goes_away_while_it_waits_leaves_the_line(server, http):
    body = json.dumps({"model": "slowest", "messages": SAD, "stream": True}).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    connections = []
    for _ in range(3):
        connections.append(socket.create_connection(address))
        connections[-1].sendall(request)
    deadline = time.monotonic() + 30
    while status_of(http, "slowest").get("queued") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for connection in connections:
        connection.close()
    while status_of(http, "slowest")["queued"] or status_of(http, "slowest")["slots_in_use"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("model", ["endless", "slow"])
def test_a_process_killed_in_the_middle_of_an_answer_ends_it_with_an_error(server, client, http, model):
    stream = client.chat.completions.create(model=model, messages=SAD, stream=True, max_tokens=4000)
    next(stream)
    pids = {status.name: status.pid for status in server._app.state.pool.status()}
    os.kill(pids[model], signal.SIGKILL)
    with pytest.raises(openai.APIError, match=r"crashed \(SIGKILL\)"):
        list(stream)
    answer = client.chat.completions.create(model=model, messages=SAD, max_tokens=3)
    assert answer.choices[0].message.content
    assert status_of(http, model)["restarts_total"] == 1


def test_a_process_killed_between_two_requests_is_started_anew(server, client, http):
    assert client.chat.completions.create(model="doctor", messages=SAD).choices[0].message.content == SORRY
    pids = {status.name: status.pid for status in server._app.state.pool.status()}
    os.kill(pids["doctor"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while status_of(http, "doctor")["ready"]:
        assert time.monotonic() < deadline
    assert client.chat.completions.create(model="doctor", messages=SAD).choices[0].message.content == SORRY
    assert status_of(http, "doctor")["restarts_total"] == 1


def test_metrics_have_a_bounded_number_of_labels():
    metrics = Metrics()
    for number in range(1000):
        metrics.add("/v1/completions", f"m{number}", 200, 0.1, None)
    lines = [line for line in metrics.text([]).splitlines() if line.startswith("llamaforge_requests_total{")]
    assert len(lines) == 257
    assert lines[-1] == 'llamaforge_requests_total{path="/v1/completions",model="(others)",status="200"} 744'


def test_metrics(client, http):
    line = 'llamaforge_request_seconds_bucket{path="/v1/completions",model="tiny",le="+Inf"} '
    client.completions.create(model="tiny", prompt="x")
    deadline = time.monotonic() + 30
    while line not in (text := http.get("/metrics").text):  # counted when the answer is over
        assert time.monotonic() < deadline
    assert float(text.partition(line)[2].partition("\n")[0]) >= 1
    assert "# TYPE llamaforge_requests_total counter\n" in text
    assert status_of(http, "tiny")["ready"] == 1
    assert status_of(http, "tiny")["slots"] == 2


def test_curl(server):
    body = json.dumps({"model": "doctor", "messages": SAD, "stream": True})
    command = ["curl", "-sN", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == SORRY
    assert lines[-2:] == ["data: [DONE]", ""]


# ---- who may come in


def asgi(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Bearer ", "right", "Bearer right ", "Basic right", "Bearer ä"])
async def test_a_wrong_key_opens_nothing(key):
    async with asgi(create_api_server(LlamaForge(":memory:"), api_key="right")) as client:
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/metrics"), ("GET", "/x")):
            answer = await client.request(method, path, headers={"authorization": key.encode("latin-1")})
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_the_right_key():
    async with asgi(create_app(LlamaForge(":memory:"), api_key="right")) as client:
        answer = await client.get("/v1/models", headers={"authorization": "Bearer right"})
        assert answer.json()["object"] == "list"


async def test_a_body_over_the_limit_is_refused():
    async with asgi(create_api_server(LlamaForge(":memory:"), max_body=1000)) as client:
        answer = await client.post("/v1/completions", json={"prompt": "x" * 1000})
        assert (answer.status_code, "1,000 bytes" in answer.json()["error"]["message"]) == (413, True)

        async def pieces():
            for _ in range(3):
                yield b"x" * 500

        answer = await client.post("/v1/completions", content=pieces(), headers={"content-type": "application/json"})
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("evil.example:8000", 403), ("a.b.localhost.evil.example", 403), ("127.0.0.1.evil.example", 403),
     ("EVIL.example.", 403), ("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("192.168.1.7", 200),
     ("gpu:8000", 200), ("gpu.local", 200), ("app.localhost", 200)],
)  # fmt: skip
async def test_a_site_whose_name_leads_here_is_not_let_in(host, status):
    """DNS rebinding: to the browser such a page is of the same origin, so it asks nobody first."""
    page = {"host": host, "origin": f"http://{host}"}
    async with asgi(create_api_server(LlamaForge(":memory:"))) as client:
        answer = await client.get("/v1/models", headers=page)
        assert answer.status_code == status
        assert status == 200 or "API key" in answer.json()["error"]["message"]
        # What is no page says nothing of an origin.
        assert (await client.get("/v1/models", headers={"host": host})).status_code == 200
    for options in ({"enable_cors": True}, {"api_key": "right"}):
        async with asgi(create_api_server(LlamaForge(":memory:"), **options)) as client:
            answer = await client.get("/v1/models", headers=page | {"authorization": "Bearer right"})
            assert answer.status_code == 200


@pytest.mark.parametrize(("enabled", "allowed"), [(True, "*"), (False, None)])
async def test_pages_of_other_sites_are_let_in_only_when_asked_for(enabled, allowed):
    app = create_api_server(LlamaForge(":memory:"), enable_cors=enabled, api_key="right")
    async with asgi(app) as client:
        answer = await client.get("/health", headers={"origin": "http://elsewhere"})
        assert answer.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/load", "/v1/models/doctor"])
async def test_a_page_of_another_site_starts_nothing_without_asking_first(path, kind):
    forge = LlamaForge(":memory:")
    forge.add_model("doctor", "doctor", "eliza")
    headers = {"origin": "http://elsewhere"} | ({"content-type": kind} if kind else {})
    app = create_api_server(forge)
    async with asgi(app) as client:
        answer = await client.post(path, content=b'{"model": "doctor", "messages": []}', headers=headers)
    assert (answer.status_code, app.state.pool.status()) == (415, [])


async def test_a_client_that_leaves_within_its_body_is_no_failure_of_the_server(caplog):
    app = create_api_server(LlamaForge(":memory:"))
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "query_string": b""}
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    await app(scope | {"http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1)}, receive, send)
    assert (sent[0]["status"], caplog.records) == (400, [])


class Slow:
    """A model's stream, as aiohttp gives it, with signs of life before and within the answer."""

    status = 200
    headers = {"content-type": "text/event-stream"}  # noqa: RUF012
    content = property(lambda self: self)

    async def iter_any(self):
        yield b":\n\n"
        yield b'data: {"choices":[{"text":"a","index":0,"finish_reason":"stop"}]}\n\n'
        yield b": x\n\n"
        yield b"data: [DONE]\n\n"


@pytest.mark.parametrize("fields", [{"stream": True, "echo": True}, {"stream": True}, {}])
async def test_signs_of_life_reach_clients_that_wait_for_a_stream(fields):
    sent = []

    async def send(message):
        sent.append(message.get("body", b""))

    answer = OpenAIAnswer(normalise({"prompt": "p", **fields}, "completion"))
    await Forward(None, None, "/", ("/", b""), "", answer)._relay(Slow(), send)
    comments = [body for body in sent if body.startswith(b":")]
    assert len(comments) == (2 if fields else 0)


async def test_no_model_named_and_no_default():
    async with asgi(create_api_server(LlamaForge(":memory:"))) as client:
        answer = await client.post("/v1/completions", json={"prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "'model' is missing.")


def test_the_default_model_answers_who_names_none(http):
    answer = http.post("/v1/chat/completions", json={"messages": SAD})
    assert answer.json()["choices"][0]["message"]["content"] == SORRY
    assert answer.json()["model"] == "doctor"


def test_a_page_whose_name_was_pointed_here_is_refused(http):
    assert http.get("/v1/models", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_are_not_served_without_a_key_unless_asked_for(host):
    with pytest.raises(ConfigError, match="Set an API key"):
        ApiServer(LlamaForge(":memory:"), host, 0)


@pytest.mark.parametrize("options", [{"api_key": "k"}, {"allow_public": True}])
def test_others_are_served_with_a_key_or_when_asked_for(options):
    with ApiServer(LlamaForge(":memory:"), "0.0.0.0", 0, **options) as server:
        port = server.url.rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/health", headers={"host": "any"}).status_code == 200


def test_a_port_that_is_taken_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="Can't listen on 127"):
            ApiServer(LlamaForge(":memory:"), port=taken.getsockname()[1])


# ---- the whole process

PROGRAM = """
from llamaforge.forge import LlamaForge
from llamaforge.server import ApiServer
forge = LlamaForge(":memory:")
forge.add_model("slow", "doctor", "eliza", {"delay": %s})
server = ApiServer(forge, port=0, drain_seconds=%d)
print(server.url, flush=True)
server.run()
"""


@pytest.fixture
def start(tmp_path):
    """Starts a server in a process of its own: its url, and the process."""
    started = []

    def make(delay=10, drain_seconds=10):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM % (delay, drain_seconds)], env=clean_environment(), cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, preexec_fn=die_with_parent,
        )  # fmt: skip
        started.append(process)
        return process.stdout.readline().strip(), process

    yield make
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def listens(url):
    """Whether a connection is still taken, whatever then becomes of it."""
    try:
        httpx.get(f"{url}/health", timeout=60)
    except httpx.ConnectError:
        return False
    except httpx.TransportError:
        pass
    return True


def test_sigterm_lets_answers_end_and_leaves_no_process(start):
    url, process = start(delay=0.2, drain_seconds=60)
    body = {"model": "slow", "messages": SAD, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while listens(url):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(timeout=30) == 0
    assert len(children) == 2  # the model's, and that which ends what it leaves behind
    assert [child for child in children if child.is_running()] == []


def test_an_answer_that_takes_longer_than_the_drain_is_cut(start):
    url, process = start(drain_seconds=0)
    body = {"model": "slow", "messages": SAD, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0  # the answer itself takes minutes


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help, and /proc")
def test_no_model_outlives_a_killed_server(start):
    url, process = start()
    httpx.post(f"{url}/v1/models/slow", timeout=60)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.kill()
    deadline = time.monotonic() + 30
    for child in children:
        while Path(f"/proc/{child.pid}").exists() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
