"""`llamaforge serve` behind the APIs of others: Anthropic's messages and OpenAI's responses, with their own clients."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal

import anthropic
import httpx
import openai
import pytest

from llamaforge.forge import LlamaForge
from llamaforge.server import ApiServer, codecs, create_api_server
from tests.support.eliza import SAD as SORRY
from tests.support.tiny_gguf import write_random

HELLO = "Hello from the tiny test model."
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Berlin"}}\n</tool_call>'
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SAD = [{"role": "user", "content": "I am sad"}]
MESSAGES = {"model": "doctor", "max_tokens": 100, "messages": SAD}
RESPONSES = {"model": "doctor", "input": "I am sad"}
PATHS = {"/v1/messages": MESSAGES, "/v1/responses": RESPONSES}
# What Claude Code sends with each question, tools cut to one.
CLAUDE_CODE = {
    "model": "tool",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>today</system-reminder>"},
            {"type": "text", "text": "weather?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Where?"}],
             "is_error": True},
            {"type": "text", "text": "Berlin."}]},
    ],
    "tools": [{"name": "weather", "description": "Of a city", "input_schema": SCHEMA}],
    "metadata": {"user_id": "user_123_session_456"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "temperature": 1,
    "stream": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory, gguf_that_says):
    folder = tmp_path_factory.mktemp("apis")
    forge = LlamaForge(":memory:")
    forge.config.set("default_model", "doctor")
    forge.config.set("models_dir", str(folder / "models"))
    llama = {"n_threads": 1, "n_ctx": 1024, "temperature": 0}
    forge.add_model("doctor", "doctor", "eliza")
    forge.add_model("slow", "doctor", "eliza", {"delay": 0.05})
    forge.add_model("tiny", gguf_that_says(HELLO), parameters=llama)
    forge.add_model("tool", gguf_that_says(CALL), parameters=llama)
    forge.add_model("vectors", gguf_that_says(HELLO), parameters={**llama, "embedding": True})
    ranks = {**llama, "embeddings": True, "pooling_type": "rank"}
    forge.add_model("ranker", write_random(folder / "ranker.gguf", dim=64, layers=1), parameters=ranks)
    with ApiServer(forge, port=0, slots=2) as made:
        yield made


@pytest.fixture
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=20) as made:
        yield made


# ---- Anthropic's messages


def test_a_message(claude):
    for model, text, tokens in (("tiny", HELLO, 7), ("doctor", SORRY, None)):
        message = claude.messages.create(model=model, max_tokens=100, messages=SAD)
        assert [block.text for block in message.content] == [text]
        assert (message.model, message.role, message.stop_reason) == (model, "assistant", "end_turn")
        assert tokens is None or (message.usage.output_tokens, message.usage.input_tokens > 0) == (tokens, True)


def test_a_streamed_message(claude):
    with claude.messages.stream(model="tiny", max_tokens=100, messages=SAD, system="Be brief.") as stream:
        assert list(stream.text_stream) == ["Hello", " from", " the", " tiny", " test", " model."]
        message = stream.get_final_message()
    assert (message.usage.output_tokens, message.stop_reason) == (7, "end_turn")


def test_a_message_that_is_cut(claude):
    message = claude.messages.create(model="tiny", max_tokens=2, messages=SAD)
    assert (message.content[0].text, message.stop_reason) == ("Hello from", "max_tokens")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_used(claude, stream):
    asked = {"model": "tool", "max_tokens": 100, "messages": SAD, "tools": CLAUDE_CODE["tools"]}
    if stream:
        with claude.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**asked)
    [block] = message.content
    assert (block.type, block.name, block.input) == ("tool_use", "weather", {"city": "Berlin"})
    assert message.stop_reason == "tool_use"


async def test_a_named_tool_without_blocking(server):
    booking = {"name": "book", "input_schema": {"type": "object", "properties": {"to": {"enum": ["Mainz"]}}}}
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="any") as claude:
        message = await claude.messages.create(
            model="tool", max_tokens=100, messages=SAD, tools=[*CLAUDE_CODE["tools"], booking],
            tool_choice={"type": "tool", "name": "book"},
        )  # fmt: skip
    assert [block.name for block in message.content if block.type == "tool_use"] == ["book"]


def test_a_question_as_claude_code_asks_it(http):
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219", "x-api-key": "any"}
    answer = http.post("/v1/messages?beta=true", json=CLAUDE_CODE, headers=headers)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.status_code == 200
    assert [event["type"] for event in events][:2] == ["message_start", "ping"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert [event["content_block"]["name"] for event in events if event["type"] == "content_block_start"] == ["weather"]


def test_errors_have_anthropics_shape(claude, http):
    with pytest.raises(anthropic.NotFoundError, match="does not exist") as raised:
        claude.messages.create(model="nobody", max_tokens=1, messages=SAD)
    assert raised.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="context") as raised:
        claude.messages.create(model="tiny", max_tokens=1, messages=[{"role": "user", "content": "x" * 2000}])
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        claude.messages.create(**{**MESSAGES, "model": "tiny"}, extra_body={"temperature": 1000})
    assert http.get("/v1/messages").json()["error"]["type"] == "invalid_request_error"


# ---- OpenAI's responses


def test_a_response(client):
    for model, text in (("tiny", HELLO), ("doctor", SORRY)):
        response = client.responses.create(model=model, input="I am sad", instructions="Be kind.")
        assert (response.output_text, response.status, response.model) == (text, "completed", model)
    assert client.responses.create(input="I am sad").output_text == SORRY


def test_a_streamed_response(client):
    with client.responses.stream(model="tiny", input="hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert deltas == ["Hello", " from", " the", " tiny", " test", " model."]
    assert (response.output_text, response.usage.output_tokens) == (HELLO, 7)


def test_a_function_is_called_and_its_output_sent_back(client):
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    first = client.responses.create(model="tool", input="weather?", tools=[tool])
    [call] = first.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", {"city": "Berlin"})
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "warm"}
    history = [{"role": "user", "content": "weather?"}, call.model_dump(exclude_none=True), output]
    assert client.responses.create(model="tiny", input=history).output_text == HELLO


def test_a_response_of_a_schema(client):
    form = {"type": "json_schema", "name": "a", "schema": {**SCHEMA, "required": ["city"]}}
    response = client.responses.create(model="tiny", input="hi", text={"format": form}, max_output_tokens=100)
    assert response.status == "incomplete" or json.loads(response.output_text).keys() == {"city"}


def test_a_response_that_is_cut_and_one_that_is_not_stored(client):
    response = client.responses.create(model="tiny", input="hi", max_output_tokens=2)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with pytest.raises(openai.BadRequestError, match="no answer is stored here"):
        client.responses.create(model="tiny", input="hi", previous_response_id=response.id)


# ---- vectors and ranks


def test_vectors_in_both_encodings_are_the_same(client, http):
    plain = http.post("/v1/embeddings", json={"model": "vectors", "input": ["a", "b"]}).json()
    packed = client.embeddings.create(model="vectors", input=["a", "b"])  # asks for base64
    assert [entry["index"] for entry in plain["data"]] == [0, 1]
    for ours, theirs in zip(plain["data"], packed.data, strict=True):
        assert ours["embedding"] == pytest.approx(theirs.embedding, abs=1e-6)
    assert plain["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("wrong", [None, 7, "", [], [[]], {}, [7.5], [{"a": 1}], ["a", 7], [None], True])
def test_what_cannot_be_embedded(http, wrong):
    answer = http.post("/v1/embeddings", json={"model": "vectors", "input": wrong})
    assert answer.status_code == 400, answer.text
    other = http.post("/v1/embeddings", json={"model": "vectors", "input": "a", "encoding_format": wrong})
    assert other.status_code == (200 if wrong is None else 400), other.text


def test_documents_are_ranked(http):
    documents = ["one", {"text": "another"}, "a third one"]
    asked = {"model": "ranker", "query": "which?", "documents": documents}
    results = http.post("/v1/rerank", json=asked).json()["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2]
    assert len({result["relevance_score"] for result in results}) == 3
    best = max(results, key=lambda result: result["relevance_score"])
    assert http.post("/v1/rerank", json={**asked, "top_n": 1}).json()["results"] == [best]
    assert len(http.post("/v1/rerank", json={**asked, "top_n": 10**30}).json()["results"]) == 3


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"query": "q", "documents": []}, 400, "documents"), ({"query": "q", "documents": [7]}, 400, "documents"),
        ({"query": "q", "documents": "a"}, 400, "documents"), ({"query": 7, "documents": ["a"]}, 400, "query"),
        ({"documents": ["a"]}, 400, "query"), ({"query": "q", "documents": ["a"], "top_n": 0}, 400, "top_n"),
        ({"query": "q", "documents": ["a"], "top_n": "all"}, 400, "top_n"),
        ({"query": "q", "documents": ["a"], "return_documents": True}, 400, "return_documents"),
        ({"query": "q", "documents": ["x" * 5000]}, 400, "context"),
        ({"model": "tiny", "query": "q", "documents": ["a"]}, 501, "ranks no documents"),
        ({"model": "doctor", "query": "q", "documents": ["a"]}, 501, "ranks no documents"),
        ({"model": "vectors", "query": "q", "documents": ["a"]}, 501, "ranks no documents"),
        ({"model": "nobody", "query": "q", "documents": ["a"]}, 404, "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked(http, body, status, words):
    answer = http.post("/v1/rerank", json={"model": "ranker", **body})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


# ---- tokens


def test_tokens_are_counted_before_they_are_asked(claude, client, http):
    tools = CLAUDE_CODE["tools"]
    for model in ("tiny", "doctor"):
        asked = {"model": model, "messages": SAD, "system": "Be brief."}
        count = claude.messages.count_tokens(**asked).input_tokens
        assert count > claude.messages.count_tokens(model=model, messages=SAD).input_tokens > 0
        assert (
            client.responses.input_tokens.count(model=model, input="I am sad", instructions="Be brief.").input_tokens
            == count
        )
        messages = [{"role": "system", "content": "Be brief."}, *SAD]
        plain = http.post("/v1/chat/completions/input_tokens", json={"model": model, "messages": messages})
        assert plain.json()["input_tokens"] == count
    usage = claude.messages.create(model="tiny", max_tokens=1, messages=SAD).usage
    count = claude.messages.count_tokens(model="tiny", messages=SAD).input_tokens
    assert count == usage.input_tokens + usage.cache_read_input_tokens
    assert claude.messages.count_tokens(model="tiny", messages=SAD, tools=tools).input_tokens > 0
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        claude.messages.count_tokens(model="nobody", messages=SAD)
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        claude.messages.count_tokens(model="tiny", messages=[])


def test_a_text_is_its_tokens(http):
    for text in ("hi there", "", "ä€😀"):
        tokens = http.post("/tokenize", json={"model": "tiny", "content": text}).json()["tokens"]
        assert len(tokens) == len(text.encode())
        assert http.post("/detokenize", json={"model": "tiny", "tokens": tokens}).json() == {"content": text}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}), ("/tokenize", {"content": 7}), ("/tokenize", {"content": ["a"]}), ("/detokenize", {}),
        ("/detokenize", {"tokens": "a"}), ("/detokenize", {"tokens": [-1]}), ("/detokenize", {"tokens": [1.5]}),
        ("/detokenize", {"tokens": [10**30]}), ("/detokenize", {"tokens": [True]}),
    ],
)  # fmt: skip
def test_what_is_no_text_and_no_tokens(http, path, body):
    answer = http.post(path, json={"model": "tiny", **body})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text


# ---- both


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("effort", ["none", "low"])
def test_how_much_to_think_is_no_error_for_those_that_cannot(http, path, effort):
    more = {"output_config": {"effort": effort}} if path == "/v1/messages" else {"reasoning": {"effort": effort}}
    for model in ("doctor", "tiny"):
        assert http.post(path, json={**PATHS[path], **more, "model": model}).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/v1/messages/count_tokens", "/v1/responses/input_tokens"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": 7}', b"[" * 100_000, b'{"model":"doctor"}'])
def test_a_bad_body_is_refused_in_the_shape_of_the_api(http, path, body):
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert ("type" in answer.json()) == path.startswith("/v1/messages")
    other = http.post(path, content=body, headers={"content-type": "text/plain"})
    assert (other.status_code, other.json()["error"]["type"]) == (415, "invalid_request_error")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wrong", [7, "x", [], {}, True, [7], -1, 10**25, 10**400])
def test_a_wrong_value_in_any_field_is_never_an_error_of_the_server(http, path, wrong):
    names = (
        "model messages max_tokens system tools tool_choice temperature top_p top_k stop_sequences metadata thinking "
    )
    names += "input instructions text reasoning stream parallel_tool_calls max_output_tokens output_config user"
    for name in names.split():
        answer = http.post(path, json={**PATHS[path], name: wrong, **({} if name == "model" else {"model": "tiny"})})
        assert answer.status_code in {200, 400, 404, 501}, (name, answer.text)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_goes_away_frees_its_slot(http, path):
    with http.stream("POST", path, json={**PATHS[path], "model": "slow", "stream": True}) as answer:
        next(answer.iter_lines())
    gauge = 'llamaforge_model_slots_in_use{model="slow"} 0'
    while gauge not in http.get("/metrics").text:
        pass


@pytest.mark.parametrize("path", PATHS)
def test_a_process_that_dies_in_the_middle_is_an_error_in_the_stream(server, http, path):
    with http.stream("POST", path, json={**PATHS[path], "model": "slow", "stream": True}) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "delta" in line)
        [process] = [status.pid for status in server._app.state.pool.status() if status.name == "slow"]

        os.kill(process, signal.SIGKILL)
        last = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")][-1]
    error = last["error"] if path == "/v1/messages" else last["response"]["error"]
    assert "crashed (SIGKILL)" in error["message"]


def test_paths_are_counted_as_they_were_asked_for(http):
    assert http.post("/v1/messages", json=MESSAGES).status_code == 200
    line = 'llamaforge_requests_total{path="/v1/messages",model="doctor",status="200"}'
    while line not in http.get("/metrics").text:
        pass


@pytest.mark.parametrize("path", PATHS)
def test_all_of_a_large_body_is_handled_beside_the_event_loop(http, path, monkeypatch):
    on_loop, format_ = [], codecs.FORMATS[path]

    def renderer(model, data):
        with contextlib.suppress(RuntimeError):
            on_loop.append(asyncio.get_running_loop())
        return format_.renderer(model, data)

    monkeypatch.setitem(codecs.FORMATS, path, dataclasses.replace(format_, renderer=renderer))
    large = PATHS[path] | {"metadata": {f"k{n}": "x" * 500 for n in range(50)}}
    small = PATHS[path]
    assert [http.post(path, json=body).status_code for body in (large, small)] == [200, 200]
    assert len(on_loop) == 1  # a small one is not worth a thread


async def test_a_fault_of_ours_has_the_shape_of_the_api_too(monkeypatch):
    forge = LlamaForge(":memory:")
    monkeypatch.setattr(forge, "list_models", lambda: 1 / 0)
    monkeypatch.setattr(forge, "get_model", lambda _name: 1 / 0)
    transport = httpx.ASGITransport(create_api_server(forge), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answers = [await client.get("/v1/models"), await client.post("/v1/messages", json=MESSAGES)]
    for answer, kind in zip(answers, ("server_error", "api_error"), strict=True):
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, kind)


def test_the_key_is_accepted_in_both_ways():
    forge = LlamaForge(":memory:")
    forge.add_model("doctor", "doctor", "eliza")
    with ApiServer(forge, port=0, api_key="secret") as server:
        for headers, status in (
            ({"x-api-key": "secret"}, 200), ({"authorization": "Bearer secret"}, 200), ({"x-api-key": "no"}, 401), ({}, 401),
            ({"x-api-key": "secret", "authorization": "Bearer other"}, 200), ({"x-api-key": b"s\xe9cret"}, 401),
        ):  # fmt: skip
            answer = httpx.post(f"{server.url}/v1/messages", json=MESSAGES, headers=list(headers.items()), timeout=60)
            assert answer.status_code == status
            assert status == 200 or answer.json()["error"]["type"] == "authentication_error"
