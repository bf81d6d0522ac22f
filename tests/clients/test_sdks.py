"""The packages that people use: openai (sync and async) and ollama, against the real process."""

from collections.abc import AsyncIterator, Iterator

import httpx
import ollama
import openai
import pytest

from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
QUESTION = [{"role": "user", "content": "Say something"}]
PATHS = ("/api", "/api/v1", "/openai")
pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def token(server: Server) -> str:
    form = {"name": "Ann", "email": "ann@example.com", "password": "correct horse battery"}
    reply = httpx.post(f"{server.url}/api/v1/auths/signup", json=form, trust_env=False, timeout=60)
    return str(reply.json()["token"])


@pytest.fixture(params=PATHS)
def client(request: pytest.FixtureRequest, server: Server, token: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + request.param, api_key=token, max_retries=0) as opened:
        yield opened


@pytest.fixture
async def aclient(server: Server, token: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/api", api_key=token, max_retries=0) as opened:
        yield opened


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="fixed", messages=QUESTION, max_tokens=5)
    assert answer.choices[0].message.content.strip() == fixed_text(5).strip()
    assert answer.usage.completion_tokens == 5


def test_a_streamed_answer(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="fixed", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == fixed_text()
    assert [c.usage.completion_tokens for c in chunks if c.usage] == [20]


def test_tools_there_and_back(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tools", messages=QUESTION, tools=[TOOL], tool_choice="auto")
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, answer.choices[0].finish_reason) == ("weather", "tool_calls")
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*QUESTION, answer.choices[0].message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="tools", messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content


def test_provider_fields_reach_the_provider(client: openai.OpenAI, upstream: Upstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    fields = {
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "top_logprobs": 2,
        "seed": 7,
        "reasoning_effort": "low",
    }
    content = [{"type": "text", "text": "What is this?"}, picture]
    client.chat.completions.create(
        model="fixed", messages=[{"role": "user", "content": content}], extra_body={"custom": [1]}, **fields
    )
    body = upstream.chats[-1].body
    assert {name: body[name] for name in (*fields, "custom")} == fields | {"custom": [1]}
    assert body["messages"][0]["content"] == content


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("error401", openai.AuthenticationError, "invalid api key"),
        ("error429", openai.RateLimitError, "slow down"),
        ("error500", openai.InternalServerError, "upstream exploded"),
        ("error400", openai.BadRequestError, "bad request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_refusal_is_the_packages_exception(
    client: openai.OpenAI, model: str, kind: type[openai.APIStatusError], said: str, stream: bool
) -> None:
    with pytest.raises(kind, match=said):
        client.chat.completions.create(model=model, messages=QUESTION, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_not_there_is_not_found_or_a_bad_request(client: openai.OpenAI, stream: bool) -> None:
    """As OpenAI's API says it where the address is its own, and as Open WebUI's does elsewhere."""
    kind = openai.NotFoundError if str(client.base_url).endswith("/openai/") else openai.BadRequestError
    with pytest.raises(kind, match="Model not found"):
        client.chat.completions.create(model="nothing-of-that-name", messages=QUESTION, stream=stream)


@pytest.mark.parametrize("model", ["drop", "cut", "instream"])
def test_a_stream_that_breaks_says_so_after_what_came(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
    said = "".join(next(stream).choices[0].delta.content or "" for _ in range(10))
    assert said == fixed_text(10)
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_wrong_key_is_an_authentication_error(server: Server, token: str) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/api", api_key=token + "x", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="fixed", messages=QUESTION)


def test_models_are_listed(client: openai.OpenAI) -> None:
    if not str(client.base_url).endswith("/openai/"):
        assert "fixed" in [model.id for model in client.models.list()]


async def test_async_streams_and_embeddings(aclient: openai.AsyncOpenAI) -> None:
    said: list[str] = []

    async def read() -> None:
        stream = await aclient.chat.completions.create(model="garbage", messages=QUESTION, stream=True)
        async for chunk in stream:
            for choice in chunk.choices:
                said.append(choice.delta.content or "")  # noqa: PERF401 -- what came before the error counts

    with pytest.raises(openai.APIError, match="could not be read"):
        await read()
    assert "".join(said) == fixed_text()


@pytest.fixture
def ollama_client(server: Server, token: str) -> Iterator[ollama.Client]:
    client = ollama.Client(host=f"{server.url}/ollama", headers={"Authorization": f"Bearer {token}"})
    yield client
    # It has no way to close its connections itself.
    client._client.close()


@pytest.mark.parametrize("stream", [False, True])
def test_ollama_chats_with_any_model(ollama_client: ollama.Client, stream: bool) -> None:
    reply = ollama_client.chat(model="fixed", messages=QUESTION, stream=stream, options={"num_predict": 6})
    if not stream:
        assert (reply.message.content.strip(), reply.done, reply.eval_count) == (fixed_text(6).strip(), True, 6)
        return
    parts = list(reply)
    assert "".join(part.message.content for part in parts) == fixed_text(6)
    assert [part.done for part in parts[-2:]] == [False, True]


def test_ollama_generates_thinks_and_calls_tools(ollama_client: ollama.Client) -> None:
    assert ollama_client.generate(model="fixed", prompt="Go on", options={"num_predict": 3}).response.split() == (
        fixed_text(3).split()
    )
    thought = ollama_client.chat(model="reasoning", messages=QUESTION, think=True)
    assert thought.message.thinking
    called = ollama_client.chat(model="tools", messages=QUESTION, tools=[TOOL])
    assert [call.function.name for call in called.message.tool_calls] == ["weather"]


def test_ollama_refusals_are_its_exception(ollama_client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not found"):
        ollama_client.chat(model="nothing-of-that-name", messages=QUESTION)
    with pytest.raises(ollama.ResponseError, match="slow down"):
        ollama_client.chat(model="error429", messages=QUESTION)
