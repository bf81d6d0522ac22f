"""The openai backend against a provider on the loopback interface: exact text, errors, cancelling."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from llamaforge.backends import get_backend
from llamaforge.backends.base import messages_to_prompt
from llamaforge.backends.loop_clients import AsyncClients
from llamaforge.backends.openai_answer import vectors
from llamaforge.backends.openai_api import OpenAIBackend
from llamaforge.exceptions import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ParameterError,
    how_to_install,
)
from tests.support.upstream import Received, Upstream, embedding

KEY = "sk-very-secret-key"
TEN_WORDS = "the quick brown fox jumps over the lazy dog and "
HELLO = [{"role": "user", "content": "Hello you"}]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


class Loaded:
    """Makes backends with a model of the provider."""

    def __init__(self, provider: Upstream) -> None:
        self.provider = provider
        self.made: list[OpenAIBackend] = []

    def __call__(self, model: str, **parameters: object) -> OpenAIBackend:
        backend = OpenAIBackend()
        given = {"api_base": self.provider.openai_url, "api_key": KEY, "max_retries": 0, **parameters}
        backend.load_model(model, given)
        self.made.append(backend)
        return backend


@pytest.fixture
def loaded(upstream: Upstream) -> Iterator[Loaded]:
    made = Loaded(upstream)
    yield made
    for backend in made.made:
        backend.unload()


def lower(received: Received) -> dict[str, str]:
    return {name.lower(): value for name, value in received.headers.items()}


# ---- the documented calls


def test_a_prompt_is_one_user_message(loaded: Loaded, upstream: Upstream) -> None:
    backend = loaded("echo")
    assert backend.generate("Explain quantum computing", {"temperature": 0.7, "max_tokens": 500}) == (
        "Explain quantum computing"
    )
    assert list(backend.generate_stream("one two three")) == ["one ", "two ", "three"]
    first, second = upstream.received
    assert first.path == second.path == "/v1/chat/completions"
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert first.body == {
        "model": "echo",
        "messages": [{"role": "user", "content": "Explain quantum computing"}],
        "temperature": 0.7,
        "max_tokens": 500,
    }


def test_chat_in_every_way(loaded: Loaded) -> None:
    backend = loaded("fixed")
    assert backend.chat(HELLO, {"max_tokens": 3}) == "the quick brown "
    assert list(backend.chat_stream(HELLO, {"max_tokens": 3})) == ["the ", "quick ", "brown "]
    whole = backend.chat_completion(HELLO, {"max_tokens": 3})
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "the quick brown "}
    assert whole["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    chunks = list(backend.chat_completion_stream(HELLO, {"max_tokens": 3}))
    assert chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None, None, None, "stop"]


async def test_the_async_twins(loaded: Loaded) -> None:
    backend = loaded("fixed")
    three = {"max_tokens": 3}
    assert await backend.agenerate("Hi", three) == "the quick brown "
    assert await backend.achat(HELLO, three) == "the quick brown "
    assert [piece async for piece in backend.agenerate_stream("Hi", three)] == ["the ", "quick ", "brown "]
    assert [piece async for piece in backend.achat_stream(HELLO, three)] == ["the ", "quick ", "brown "]
    chunks = [chunk async for chunk in backend.achat_completion_stream(HELLO, three)]
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert await backend.aembed(["a", "b"]) == [embedding("a"), embedding("b")]
    await backend.aclose()


def test_one_backend_serves_several_event_loops(loaded: Loaded) -> None:
    backend = loaded("echo")

    async def ask() -> str:
        answer = await backend.agenerate("again")
        assert len(backend._ready().async_clients._clients) == 1
        return answer

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["again", "again"]
    assert backend._ready().async_clients._clients == {}  # closed with their loops


async def test_what_an_api_has_beside_openais(loaded: Loaded) -> None:
    backend = loaded("echo")
    assert "echo" in [model["id"] for model in (await backend.arequest("get", "/models"))["data"]]
    with pytest.raises(ModelNotFoundError):
        await backend.arequest("post", "/nowhere", {"a": 1}, timeout=5.0)
    await backend.aclose()
    with pytest.raises(ModelNotLoadedError):
        await backend.arequest("get", "/models")


def test_embeddings(loaded: Loaded) -> None:
    assert loaded("echo").embed(["one", "two"]) == [embedding("one"), embedding("two")]
    assert loaded("echo").embed(["one"]) == [embedding("one")]
    for texts in ("one", ["one", 2], None):
        with pytest.raises(ParameterError, match="list of texts"):
            loaded("echo").embed(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [None, "0", -1])
def test_vectors_without_a_number_stay_in_their_order(index: object) -> None:
    data = [{"index": index, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]
    assert vectors({"data": data}, 2) == [[1.0], [2.0]]


# ---- the endpoint


def test_completions_where_they_are_asked_for(loaded: Loaded, upstream: Upstream) -> None:
    backend = loaded("echo", endpoint="completions")
    assert backend.generate("a b") == "a b"
    assert list(backend.generate_stream("a b")) == ["a ", "b"]
    assert backend.generate("a b", {"endpoint": "chat"}) == "a b"
    backend.chat([{"role": "user", "content": "Hi"}])
    paths = [received.path for received in upstream.received]
    assert paths == ["/v1/completions", "/v1/completions", "/v1/chat/completions", "/v1/completions"]
    assert upstream.received[0].body == {"model": "echo", "prompt": "a b"}
    assert upstream.received[3].body["prompt"] == messages_to_prompt([{"role": "user", "content": "Hi"}])


def test_a_model_of_openai_without_chat_goes_to_completions(loaded: Loaded, upstream: Upstream) -> None:
    upstream.models = ("gpt-3.5-turbo-instruct", "gpt-4", "o3-mini")
    loaded("gpt-3.5-turbo-instruct").generate("x")
    loaded("gpt-4").generate("x", {"max_new_tokens": 5})
    loaded("o3-mini").generate("x", {"max_tokens": 5})
    assert [(r.path, set(r.body) - {"model", "messages", "prompt"}) for r in upstream.received] == [
        ("/v1/completions", set()),
        ("/v1/chat/completions", {"max_tokens"}),
        ("/v1/chat/completions", {"max_completion_tokens"}),
    ]


def test_what_is_asked_at_the_chat_endpoint_was_made_for_conversations(loaded: Loaded) -> None:
    assert not OpenAIBackend().has_chat_template
    assert loaded("gpt-4").has_chat_template
    assert not loaded("gpt-3.5-turbo-instruct").has_chat_template
    assert loaded("gpt-3.5-turbo-instruct", endpoint="chat").has_chat_template
    assert not loaded("gpt-4", endpoint="completions").has_chat_template


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_each_kind_of_answer_comes_from_each_endpoint(loaded: Loaded, endpoint: str) -> None:
    backend = loaded("fixed", endpoint=endpoint)
    two = {"max_tokens": 2}
    text = backend.completion("Hi", two)
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "the quick ")
    assert text["usage"]["prompt_tokens"] == 7
    chat = backend.chat_completion(HELLO, two)
    assert chat["object"] == "chat.completion"
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": "the quick "}
    texts = list(backend.completion_stream("Hi", two))
    assert "".join(c["text"] for chunk in texts for c in chunk["choices"]) == "the quick "
    assert [c["finish_reason"] for chunk in texts for c in chunk["choices"]] == [None, None, "stop"]
    chats = list(backend.chat_completion_stream(HELLO, two))
    assert "".join(c["delta"].get("content") or "" for chunk in chats for c in chunk["choices"]) == "the quick "


# ---- parameters


def test_parameters_arrive_under_the_names_of_the_api(loaded: Loaded, upstream: Upstream) -> None:
    tool = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    loaded("echo").chat(
        HELLO,
        {
            "stop": "END",
            "max_new_tokens": 9,
            "presence_penalty": 0.5,
            "repetition_penalty": 1.1,
            "json_schema": schema,
            "tools": [tool],
            "seed": 7,
            "extra_body": {"guided_regex": "a+"},
            "extra_headers": {"X-Trace": "1"},
            "top_p": None,
        },
    )
    received = upstream.received[0]
    assert lower(received)["x-trace"] == "1"
    assert received.body == {
        "model": "echo",
        "messages": HELLO,
        "stop": ["END"],
        "max_tokens": 9,
        "presence_penalty": 0.5,
        "repetition_penalty": 1.1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
        "tools": [tool],
        "seed": 7,
        "guided_regex": "a+",
    }


def test_no_limit_of_length_is_not_sent(loaded: Loaded, upstream: Upstream) -> None:
    loaded("echo").generate("x", {"max_tokens": -1})
    assert "max_tokens" not in upstream.received[0].body


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"temprature": 1}, "There is no parameter 'temprature'. Did you mean 'temperature'?"),
        ({"max_tokens": 1, "max_new_tokens": 2}, "'max_tokens' and 'max_new_tokens' are the same parameter; give one"),
        ({"max_completion_tokens": 0}, "'max_completion_tokens' must be at least 1"),
        ({"json_schema": {}, "response_format": {}}, "'json_schema' and 'response_format' say the same"),
        ({"endpoint": "responses"}, "'endpoint' must be one of auto, chat, completions, not 'responses'."),
        ({"temperature": "hot"}, "'temperature' must be a number."),
        ({"n": 0}, "'n' must be at least 1."),
    ],
)
def test_parameters_that_cannot_be_are_refused_before_anything_is_sent(
    loaded: Loaded, upstream: Upstream, parameters: dict[str, object], sentence: str
) -> None:
    backend = loaded("echo")
    for ask in (backend.generate, backend.generate_stream, backend.agenerate_stream):
        with pytest.raises(ParameterError) as caught:
            ask("x", parameters)
        assert sentence in str(caught.value)
    assert upstream.received == []


def test_a_tool_call_streams(loaded: Loaded) -> None:
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
    backend = loaded("tools")
    calls = [
        call["function"]
        for chunk in backend.chat_completion_stream(HELLO, {"tools": [tool]})
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert calls[0]["name"] == "search"
    assert "".join(call["arguments"] for call in calls) == '{"query": "foxes"}'
    whole = backend.chat_completion(HELLO, {"tools": [tool]})
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


def test_what_the_sdk_does_not_know_passes(loaded: Loaded) -> None:
    chunks = loaded("reasoning").chat_completion_stream(HELLO, {"max_tokens": 2})
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "First I think."


# ---- loading


@pytest.mark.parametrize(
    ("model", "parameters", "error", "sentence"),
    [
        ("", {"api_key": "x"}, ParameterError, "The name of a model must not be blank."),
        ("gpt-4", {}, ModelLoadError, "The model 'gpt-4' needs a key: give 'api_key' or set OPENAI_API_KEY."),
        ("gpt-4", {"api_bas": "x"}, ParameterError, "There is no parameter 'api_bas'. Did you mean 'api_base'?"),
        ("gpt-4", {"api_base": "localhost:80"}, ParameterError, "The address of a server must be such as http://"),
        ("gpt-4", {"api_base": "http://[::1"}, ParameterError, "The address of a server must be such as http://"),
        ("gpt-4", {"timeout": 0}, ParameterError, "'timeout' must be at least 0.001."),
        ("gpt-4", {"azure_endpoint": "https://x.openai.azure.com"}, ModelLoadError, "can't be reached: "),
    ],
)
def test_loads_that_cannot_be(
    model: str, parameters: dict[str, object], error: type[LlamaForgeError], sentence: str
) -> None:
    backend = OpenAIBackend()
    with pytest.raises(error) as caught:
        backend.load_model(model, parameters)
    assert sentence in str(caught.value)
    assert not backend.is_model_loaded()


def test_a_failed_load_keeps_the_model_before(loaded: Loaded) -> None:
    backend = loaded("echo")
    with pytest.raises(ParameterError):
        backend.load_model("other", {"api_bas": "x"})
    assert backend.generate("still here") == "still here"


def test_nothing_is_generated_before_a_load() -> None:
    backend = OpenAIBackend()
    for ask in (backend.generate, backend.generate_stream, backend.completion):
        with pytest.raises(ModelNotLoadedError, match="No model loaded"):
            ask("x")
    assert backend.info().loaded is False
    assert get_backend("openai") is OpenAIBackend


def test_the_key_of_the_environment_is_for_openai_only(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = OpenAIBackend()
    backend.load_model("echo", {"api_base": upstream.openai_url})
    assert backend.generate("x") == "x"
    assert KEY not in str(upstream.received[0].headers)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
    backend.load_model("echo")
    assert backend.generate("x") == "x"
    assert upstream.received[1].headers["Authorization"] == f"Bearer {KEY}"
    backend.unload()


def test_azure(upstream: Upstream) -> None:
    backend = OpenAIBackend()
    backend.load_model(
        "echo", {"azure_endpoint": upstream.url, "api_version": "2024-10-21", "api_key": KEY, "deployment": "mine"}
    )
    assert backend.generate("over Azure") == "over Azure"
    assert upstream.received[0].path == "/openai/deployments/mine/chat/completions"
    assert upstream.received[0].headers["api-key"] == KEY
    backend.unload()


def test_organization_project_and_headers_are_sent(loaded: Loaded, upstream: Upstream) -> None:
    loaded("echo", organization="org-1", project="proj-1", headers={"X-Own": "yes"}).generate("x")
    headers = lower(upstream.received[0])
    assert (headers["openai-organization"], headers["openai-project"], headers["x-own"]) == ("org-1", "proj-1", "yes")


def test_info_lists_the_models_once(loaded: Loaded, upstream: Upstream) -> None:
    backend = loaded("echo")
    info = backend.info()
    assert (info.name, info.model, info.details["api_base"]) == ("openai", "echo", upstream.openai_url)
    assert info.details["models"] == list(upstream.models)
    backend.info()
    assert [received.path for received in upstream.received] == ["/v1/models"]
    assert KEY not in repr(info)


def test_info_without_a_list_of_models(loaded: Loaded, upstream: Upstream) -> None:
    upstream.models_status = 500
    assert loaded("echo").info().details["models"] is None


# ---- errors


def read(pieces: Iterator[str], said: list[str]) -> None:
    """Note every piece, so that those before an error are known."""
    for piece in pieces:
        said.append(piece)  # noqa: PERF402


async def aread(pieces: AsyncIterator[str], said: list[str]) -> None:
    async for piece in pieces:
        said.append(piece)  # noqa: PERF401


def refused(provider: Upstream, model: str) -> str:
    return {
        "error400": f"{provider.openai_url} answered 400: bad request",
        "error401": f"{provider.openai_url} refused the API key: invalid api key",
        "error403": f"{provider.openai_url} refused the API key: not for you",
        "error429": f"{provider.openai_url} asks to slow down: slow down",
        "error500": f"{provider.openai_url} answered 500: upstream exploded",
        "error503": f"{provider.openai_url} answered 503: overloaded",
        "html502": f"{provider.openai_url} answered 502: <html><h1>Bad Gateway</h1></html>",
        "unknown": f"{provider.openai_url} has not found it: The model `unknown` does not exist",
    }[model]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("error400", APIError),
        ("error401", AuthenticationError),
        ("error403", AuthenticationError),
        ("error429", APIError),
        ("error500", APIError),
        ("error503", APIError),
        ("html502", APIError),
        ("unknown", ModelNotFoundError),
    ],
)
async def test_refusals_keep_the_words_of_the_provider(
    loaded: Loaded, upstream: Upstream, model: str, error: type[LlamaForgeError]
) -> None:
    backend = loaded(model)
    with pytest.raises(error) as whole:
        backend.generate("x")
    with pytest.raises(error) as streamed:
        list(backend.chat_stream(HELLO))
    with pytest.raises(error) as twin:
        await backend.achat(HELLO)
    assert {str(caught.value) for caught in (whole, streamed, twin)} == {refused(upstream, model)}
    if isinstance(whole.value, APIError) and model.startswith("error"):
        assert whole.value.status == int(model.removeprefix("error"))
        assert whole.value.retry_after == (7 if model == "error429" else None)
    await backend.aclose()


@pytest.mark.parametrize(
    ("model", "words", "end"),
    [
        ("drop", TEN_WORDS, "broke the connection in the middle of its answer."),
        ("cut", TEN_WORDS, "ended its answer in the middle."),
        ("instream", TEN_WORDS, "broke off its answer: the model fell over"),
        ("garbage", "the ", "sent something that is no answer: it can't be read as JSON."),
    ],
)
async def test_an_answer_that_breaks_off_gives_its_words_and_then_the_reason(
    loaded: Loaded, upstream: Upstream, model: str, words: str, end: str
) -> None:
    backend = loaded(model)
    said: list[str] = []
    with pytest.raises(APIError) as caught:
        read(backend.generate_stream("x"), said)
    assert ("".join(said), str(caught.value)) == (words, f"{upstream.openai_url} {end}")
    said.clear()
    with pytest.raises(APIError) as caught:
        await aread(backend.agenerate_stream("x"), said)
    assert ("".join(said), str(caught.value)) == (words, f"{upstream.openai_url} {end}")
    await backend.aclose()


def raw(chunks: list[object], end: str = "[DONE]") -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + f"data: {end}\n\n".encode()


def plays(monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str = "text/event-stream") -> OpenAIBackend:
    """A backend whose provider answers with these bytes."""
    import httpx

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers={"content-type": kind}))
    backend = OpenAIBackend()
    backend.load_model("m", {"api_base": "http://127.0.0.1:1/v1", "api_key": KEY, "max_retries": 0})
    connection = backend._ready()
    sync = connection.sdk.OpenAI(**connection._options, http_client=httpx.Client(transport=transport))
    later = connection.sdk.AsyncOpenAI(**connection._options, http_client=httpx.AsyncClient(transport=transport))
    monkeypatch.setattr(connection, "client", sync)
    monkeypatch.setattr(connection, "async_clients", AsyncClients(lambda: later))
    return backend


SAYS = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}


async def test_an_answer_that_ends_without_a_reason_is_whole_with_the_end_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = plays(monkeypatch, raw([SAYS, {"id": "1", "choices": None}, {"choices": [{"delta": None}]}]))
    chunks = list(backend.chat_completion_stream(HELLO))
    assert [one["finish_reason"] for one in chunks[-1]["choices"]] == ["stop"]
    assert [chunk async for chunk in backend.achat_completion_stream(HELLO)] == chunks
    assert "".join(backend.chat_stream(HELLO)) == "Hi"
    assert [chunk["choices"][0]["text"] for chunk in backend.completion_stream("x") if chunk["choices"]] == [
        "Hi",
        "",
        "",
    ]
    for body in (raw([SAYS], end='{"id": "1", "choices": []}'), raw([{"choices": []}])):
        with pytest.raises(APIError, match="ended its answer in the middle"):
            list(plays(monkeypatch, body).chat_stream(HELLO))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"choices": None}, "sent something that is no answer"),
        ({"choices": []}, "sent something that is no answer"),
        ({"choices": [None]}, "sent something that is no answer"),
        ({"choices": [{"message": None}]}, "sent something that is no answer"),
        ({}, "sent something that is no answer"),
        ([], "sent something that is no answer"),
        ({"error": {"message": "no credit", "code": 402}}, "answered with an error: no credit"),
        ({"data": None}, "sent something that is no answer"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_the_provider(
    monkeypatch: pytest.MonkeyPatch, answer: object, words: str
) -> None:
    backend = plays(monkeypatch, json.dumps(answer).encode(), "application/json")
    for ask in (backend.chat, backend.chat_completion):
        with pytest.raises(APIError, match=words):
            ask(HELLO)
    with pytest.raises(APIError, match=words):
        await backend.achat(HELLO)
    with pytest.raises(APIError):
        backend.embed(["x"])


def test_a_provider_that_is_not_there(unused_port: int) -> None:
    backend = OpenAIBackend()
    backend.load_model("x", {"api_base": f"http://127.0.0.1:{unused_port}/v1", "max_retries": 0})
    for error in (APIError, APIConnectionError, ConnectionError):
        with pytest.raises(error, match=r"can't be reached: .*refused"):
            backend.generate("x")
    backend.unload()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_provider_that_hangs(loaded: Loaded, upstream: Upstream) -> None:
    backend = loaded("stall", timeout=0.3)
    said: list[str] = []
    with pytest.raises(APIError, match="did not answer in time"):
        read(backend.generate_stream("x"), said)
    assert "".join(said) == TEN_WORDS
    upstream.silent = True
    for error in (APITimeoutError, TimeoutError):
        with pytest.raises(error, match="did not answer in time"):
            backend.generate("x")


def test_a_message_is_not_changed_where_there_is_no_key(unused_port: int) -> None:
    backend = OpenAIBackend()
    backend.load_model("x", {"api_base": f"http://127.0.0.1:{unused_port}/none", "max_retries": 0})
    with pytest.raises(APIConnectionError, match=f":{unused_port}/none can't be reached"):
        backend.generate("x")
    assert backend._ready().errors._clean("there is none") == "there is none"
    backend.unload()


def test_the_key_is_in_no_log_and_no_message(
    loaded: Loaded, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.api_key = "another"
    backend = loaded("echo")
    with pytest.raises(AuthenticationError) as caught:
        backend.generate("x")
    assert KEY not in caplog.text + str(caught.value) + repr(backend)


def test_a_prompt_that_is_too_long(loaded: Loaded) -> None:
    """The provider's words are those of vLLM."""
    backend = loaded("echo")
    sdk, translator = backend._ready().sdk, backend._ready().errors
    httpx = translator._transport
    words = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
    response = httpx.Response(400, request=httpx.Request("POST", "http://x"), json={"error": {"message": words}})
    with pytest.raises(ContextLengthError) as caught, translator.translated():
        raise sdk.BadRequestError(words, response=response, body={"message": words})
    assert str(caught.value) == words


# ---- cancelling


def test_closing_the_iterator_closes_the_connection(loaded: Loaded, upstream: Upstream) -> None:
    stream = loaded("gated").generate_stream("x")
    upstream.release(2)
    assert [next(stream), next(stream)] == ["the ", "quick "]
    stream.close()  # type: ignore[attr-defined]
    upstream.wait_for(lambda provider: provider.received[0].ended.is_set())
    assert upstream.received[0].disconnected


async def test_cancelling_the_task_closes_the_connection(loaded: Loaded, upstream: Upstream) -> None:
    backend = loaded("stall")
    said: list[str] = []

    task = asyncio.create_task(aread(backend.achat_stream(HELLO), said))
    while len(said) < 10:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.wait_for_async(lambda provider: provider.received[0].ended.is_set())
    assert upstream.received[0].disconnected
    await backend.aclose()


def test_without_the_library_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["openai"] = None
from llamaforge.backends.openai_answer import vectors
from llamaforge.backends.openai_api import OpenAIBackend
try:
    OpenAIBackend().load_model("gpt-4", {"api_key": "x"})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"openai is not installed. Install it with: {how_to_install('openai')}\n"
