"""The OpenAI backends and their Azure twins, with the SDK, against a provider on the loopback interface."""

import asyncio
import copy
import gc

import openai as sdk
import pytest
from pydantic import BaseModel, Field

from synthora.exceptions import APIError, ConfigError, MessageError, StreamInterruptedError, StructuredOutputError
from synthora.messages import assistant, system, tool_response, user
from synthora.models import AzureChatBackend, AzureCompletionBackend, OpenAIChatBackend, OpenAICompletionBackend
from synthora.types import ModelBackendType
from tests.support.script import fixed_text
from tests.synthora.support import Listener

TEN_WORDS = fixed_text(10)
PRICES = {"fixed": {"input": 1.0, "output": 10.0}}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def chat(openai):
    """Makes chat backends, closed in the end."""
    made = []

    def make(model="fixed", **more):
        made.append(OpenAIChatBackend(model, **{"max_retries": 0, **more}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def completion(openai):
    made = []

    def make(model="fixed", **more):
        made.append(OpenAICompletionBackend(model, **{"max_retries": 0, **more}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


async def test_whole_and_streamed_sync_and_async(chat):
    backend = chat(config={"max_tokens": 3})
    text = fixed_text(3)
    assert backend.run(user("x")).content == text
    assert (await backend.async_run([user("x")])).content == text
    pieces = [(m.chunk, m.content) for m in backend.run(user("x"), stream=True)]
    assert pieces == [("the ", "the "), ("quick ", "the quick "), ("brown ", text), (None, text), (None, text)]
    assert [(m.chunk, m.content) async for m in await backend.async_run(user("x"), stream=True)] == pieces


async def test_usage_and_cost_streamed_too(chat, openai):
    backend = chat(config={"max_tokens": 3, "prices": PRICES})
    streamed = list(backend.run(user("x"), stream=True))
    astreamed = [m async for m in await backend.async_run(user("x"), stream=True)]
    for answer in (backend.run(user("x")), await backend.async_run(user("x")), streamed[-1], astreamed[-1]):
        assert answer.metadata["usage"].prompt_tokens == 7
        assert answer.metadata["usage"].completion_tokens == 3
        assert answer.metadata["cost"] == pytest.approx((7 * 1 + 3 * 10) / 1e6)
        assert answer.is_complete
    assert openai.chats[0].body["stream_options"] == {"include_usage": True}
    assert "prices" not in openai.chats[0].body
    assert "cost" not in backend.run(user("x"), prices={"other": {"input": 1, "output": 1}}).metadata
    list(backend.run(user("x"), stream=True, stream_options=None))
    assert "stream_options" not in openai.chats[-1].body


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("cheap", "'prices' must be a table"),
        ({"m": 1}, "'prices.m' must have"),
        ({"m": {"input": 1}}, "'prices.m.output' is missing"),
        ({"m": {"input": -1, "output": 1}}, "'prices.m.input' must be a number"),
        ({"m": {"input": float("nan"), "output": 1}}, "'prices.m.input' must be a number"),
        ({"m": {"input": 1, "outptu": 1}}, "'prices.m.outptu' is unknown"),
    ],
)
def test_prices_that_are_none(chat, table, words):
    with pytest.raises(ConfigError, match=words):
        chat(config={"prices": table})


def test_call_arguments_win(chat, completion, openai):
    for make in (chat, completion):
        backend = make(config={"max_tokens": 3, "temperature": 0.1, "stop": "x", "stream": True})
        assert backend.run(user("x"), max_tokens=2, stop=None, stream=False).content == fixed_text(2)
        body = openai.received[-1].body
        assert (body["max_tokens"], body["temperature"]) == (2, 0.1)
        assert "stop" not in body
        assert "stream" not in body or body["stream"] is False
        assert backend.config == {"max_tokens": 3, "temperature": 0.1, "stop": "x", "stream": True}


def test_the_stream_switch(chat):
    backend = chat()
    assert backend.stream is False
    backend.set_stream(True)
    assert backend.stream is True
    assert [m.content for m in backend.run(user("x"))][-1] == fixed_text()


def test_tools(chat, openai):
    backend = chat("tools", config={"tools": [ADD]})
    answer = backend.run(user("1+2?"))
    (streamed,) = list(backend.run(user("1+2?"), stream=True))[-1].tool_calls
    (call,) = answer.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "add", '{"query": "foxes"}')
    assert streamed.function == call.function
    assert answer.metadata["finish_reason"] == "tool_calls"
    told = backend.run([user("1+2?"), answer, tool_response(3, call.id)], tools=[])
    assert told.content.startswith("The tool says 3. ")
    assert "tools" not in openai.chats[-1].body
    assert openai.chats[-1].body["messages"][1]["tool_calls"][0]["id"] == "call_1"


def test_a_conversation_goes_out_as_it_is(chat, openai):
    chat("echo").run([system("be brief"), user("hi"), assistant("yes?"), user("say this")])
    assert [m["role"] for m in openai.chats[0].body["messages"]] == ["system", "user", "assistant", "user"]


# ---- errors


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nosuch", sdk.NotFoundError),
        ("error401", sdk.AuthenticationError),
        ("error429", sdk.RateLimitError),
        ("error500", sdk.InternalServerError),
        ("html502", sdk.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_are_raised_by_the_call(chat, model, error, stream):
    handler = Listener()
    backend = chat(model, handlers=[handler])
    with pytest.raises(error):
        backend.run(user("x"), stream=stream)
    with pytest.raises(error):
        await backend.async_run(user("x"), stream=stream)
    assert handler.names() == ["on_llm_start", "on_llm_error"] * 2


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("drop", sdk.APIConnectionError, "broke the connection in the middle"),
        ("cut", StreamInterruptedError, "ended its answer in the middle"),
        ("instream", sdk.APIError, "the model fell over"),
    ],
)
async def test_a_broken_stream_reaches_the_caller_and_the_handlers(chat, model, error, words):
    handler = Listener()
    backend = chat(model, handlers=[handler])
    got = []
    with pytest.raises(error, match=words) as raised:
        got.extend(backend.run(user("x"), stream=True))
    # The provider may send its last words with the cut, or be quicker with the cut.
    assert "".join(m.chunk or "" for m in got) == TEN_WORDS
    assert raised.value.__notes__ == [f"It happened in the middle of a stream, after {len(TEN_WORDS)} characters."]
    assert handler.names() == ["on_llm_start", *["on_llm_chunk"] * 10, "on_llm_error"]
    with pytest.raises(error, match=words):
        async for _ in await backend.async_run(user("x"), stream=True):
            pass
    assert handler.names()[12:] == ["on_llm_start", *["on_llm_chunk"] * 10, "on_llm_error"]


def test_nobody_there(chat):
    for error in (sdk.APIConnectionError, ConnectionError, APIError):
        with pytest.raises(error, match=r"127\.0\.0\.1:9/v1 can't be reached"):
            chat(base_url="http://127.0.0.1:9/v1").run(user("x"))


async def test_a_silent_provider(chat):
    for error in (sdk.APITimeoutError, TimeoutError, APIError):
        with pytest.raises(error, match="did not answer in time"):
            async for _ in await chat("stall", timeout=0.2).async_run(user("x"), stream=True):
                pass


def test_a_missing_key(monkeypatch):
    for make in (OpenAIChatBackend, OpenAICompletionBackend):
        with pytest.raises(ValueError, match="API Key is required for OpenAI"):
            make("gpt-4o")


def test_messages_that_are_none(chat, completion, openai):
    for messages in ("hi", [], [{"role": "user", "content": "x"}], None):
        with pytest.raises(MessageError):
            chat().run(messages)
    for prompt in ([], None, [user("a"), user("b")], 3, assistant(tool_calls=[])):
        with pytest.raises(MessageError):
            completion().run(prompt)
    assert openai.received == []


def test_unknown_options(chat, openai):
    with pytest.raises(TypeError, match="takes no 'url'"):
        chat(url="http://127.0.0.1")
    with pytest.raises(TypeError, match="top_kk"):
        chat().run(user("x"), top_kk=1)


# ---- the life of a request


async def test_closing_a_stream_closes_the_connection(chat, openai):
    backend = chat("stall")
    stream = backend.run(user("x"), stream=True)
    next(stream)
    stream.close()
    openai.wait_for(lambda up: up.chats[0].ended.is_set())
    assert openai.chats[0].disconnected

    for _ in backend.run(user("x"), stream=True):
        break  # forgetting it closes it, too
    openai.wait_for(lambda up: len(up.chats) == 2 and up.chats[1].ended.is_set())
    assert openai.chats[1].disconnected

    stream = await backend.async_run(user("x"), stream=True)
    await anext(stream)
    await stream.aclose()
    await openai.wait_for_async(lambda up: up.chats[2].ended.is_set())
    assert openai.chats[2].disconnected

    backend.run(user("x"), stream=True).close()  # before its first message
    openai.wait_for(lambda up: up.chats[3].ended.is_set())
    assert openai.chats[3].disconnected


async def test_cancelling_closes_the_connection(chat, openai):
    task = asyncio.create_task(chat("stall").async_run(user("x")))
    await openai.wait_for_async(lambda up: bool(up.chats))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await openai.wait_for_async(lambda up: up.chats[0].ended.is_set())
    assert openai.chats[0].disconnected


def test_one_backend_over_several_event_loops(chat):
    """As scripts do that call asyncio.run() twice; no connection is left open behind them."""
    backend = chat()

    async def ask():
        return (await backend.async_run(user("x"))).content

    assert asyncio.run(ask()) == asyncio.run(ask()) == backend.run(user("x")).content
    assert backend._async_clients._clients == {}
    gc.collect()  # an unclosed connection would warn now


def test_clients_are_made_when_needed_and_kept(chat):
    backend = chat()
    assert backend.client is None
    backend.run(user("x"))
    client = backend.client
    backend.run(user("x"))
    assert backend.client is client
    handler = Listener()
    backend.add_handler(handler)
    twin = copy.deepcopy(backend)
    assert twin.client is None
    twin.set_stream(True)
    assert backend.stream is False
    twin.add_handler(Listener())
    assert backend.callback_manager.handlers == [handler]
    assert list(twin.run(user("x")))[-1].content == fixed_text()
    twin.close()


def test_a_forked_process_has_connections_of_its_own(chat, monkeypatch):
    backend = chat()
    backend.run(user("x"))
    client = backend.client
    monkeypatch.setattr("os.getpid", lambda: -1)
    backend.run(user("x"))
    assert backend.client is not client
    client.close()


def test_default(openai):
    backend = OpenAIChatBackend.default()
    assert (backend.model_type, backend.name, backend.backend_type) == ("gpt-4o", "gpt-4o", "openai_chat")
    assert type(OpenAICompletionBackend.default()) is OpenAICompletionBackend
    assert OpenAICompletionBackend.default().backend_type is ModelBackendType.OPENAI_COMPLETION


# ---- completions


async def test_completions(completion, openai):
    backend = completion(config={"max_tokens": 2, "prices": PRICES})
    whole = backend.run("Once")
    assert (whole.content, whole.is_complete) == (fixed_text(2), True)
    assert whole.metadata["cost"] == pytest.approx((7 + 200) / 1e6)
    assert (await backend.async_run(user("Once"))).content == fixed_text(2)
    assert [m.chunk for m in backend.run([user("Once")], stream=True)] == ["the ", "quick ", None]
    assert [m.chunk async for m in await backend.async_run("Once", stream=True)] == ["the ", "quick ", None]
    assert {r.path for r in openai.received} == {"/v1/completions"}
    assert {r.body["prompt"] for r in openai.received} == {"Once"}


def test_completions_tell_their_handlers(completion):
    handler = Listener()
    completion(handlers=[handler]).run("Once")
    (_, _, start), (_, message, end) = handler.events
    assert [m.content for m in start["messages"]] == ["Once"]
    assert end["prompt"] == "Once"
    assert message.content == fixed_text()


def test_usage_of_a_streamed_completion(provider):
    head = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    provider.chunks = [
        {**head, "choices": [{"index": 0, "text": "Hel", "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "text": "lo", "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    ]
    prices = {"m": {"input": 1, "output": 1}}
    with_usage = OpenAICompletionBackend("m", "k", provider.url, config={"prices": prices})
    messages = list(with_usage.run("x", stream=True))
    assert [(m.chunk, m.content) for m in messages] == [("Hel", "Hel"), ("lo", "Hello"), (None, "Hello")]
    assert messages[-1].metadata["cost"] == pytest.approx(3e-6)
    with_usage.close()


# ---- Azure


def test_azure(upstream, monkeypatch):
    for name, missing in (("API_KEY", "api_key"), ("ENDPOINT", "azure_endpoint"), ("API_VERSION", "api_version")):
        with pytest.raises(ValueError, match=f"needs {missing}"):
            AzureChatBackend("fixed")
        monkeypatch.setenv(f"AZURE_OPENAI_{name}", {"ENDPOINT": upstream.url}.get(name, f"the-{name}"))
    chat, plain = AzureChatBackend("fixed"), AzureCompletionBackend("fixed")
    assert (chat.backend_type, plain.backend_type) == ("azure_chat", "azure_completion")
    assert chat.run(user("x")).content == fixed_text()
    assert [m.chunk for m in chat.run(user("x"), stream=True, max_tokens=1)] == ["the ", None, None]
    assert plain.run("x").content == fixed_text()
    assert [m.chunk for m in plain.run("x", stream=True, max_tokens=1)] == ["the ", None]
    assert [r.path for r in upstream.received] == [
        "/openai/deployments/fixed/chat/completions",
        "/openai/deployments/fixed/chat/completions",
        "/openai/deployments/fixed/completions",
        "/openai/deployments/fixed/completions",
    ]
    assert {r.headers["api-key"] for r in upstream.received} == {"the-API_KEY"}
    chat.close()
    plain.close()


async def test_azure_async(upstream):
    backend = AzureChatBackend("fixed", "k", upstream.url, "2024-10-21")
    assert (await backend.async_run(user("x"))).content == fixed_text()


# ---- structured output


class Address(BaseModel):
    city: str
    zip: str | None = None


class Person(BaseModel):
    name: str
    age: int = Field(default=0, description="in years")
    home: Address


PERSON = '{"name": "Ada", "age": 36, "home": {"city": "London", "zip": null}}'
ADA = Person(name="Ada", age=36, home=Address(city="London"))


async def test_structured_output(chat, openai):
    openai.answer_when("Who", PERSON)
    backend = chat(config={"response_format": Person})
    assert backend.run(user("Who?")).parsed == ADA
    assert (await backend.async_run(user("Who?"))).parsed == ADA
    messages = list(backend.run(user("Who?"), stream=True))
    assert messages[0].content == '{"name": '
    assert [m.parsed for m in messages[:-2]] == [None] * (len(messages) - 2)
    assert messages[-1].parsed == messages[-2].parsed == ADA
    assert [m.parsed async for m in await backend.async_run(user("Who?"), stream=True)][-1] == ADA

    asked = openai.chats[0].body["response_format"]
    assert asked["json_schema"]["strict"] is True
    schema = asked["json_schema"]["schema"]
    assert schema["required"] == ["name", "age", "home"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["age"] == {"description": "in years", "title": "Age", "type": "integer"}
    assert schema["$defs"]["Address"]["required"] == ["city", "zip"]
    # What the SDK itself asks for, so that providers see nothing new.
    from openai.lib._pydantic import to_strict_json_schema

    ours, theirs = schema, to_strict_json_schema(Person)
    theirs["properties"]["age"].pop("default", None)
    assert ours == theirs


async def test_an_answer_of_another_form(chat, openai):
    openai.answer_when("Who", "Ada, I think.")
    handler = Listener()
    backend = chat(config={"response_format": Person}, handlers=[handler])
    with pytest.raises(StructuredOutputError, match="The answer is no Person: Invalid JSON") as raised:
        backend.run(user("Who?"))
    assert raised.value.message.content == "Ada, I think."
    with pytest.raises(StructuredOutputError):
        list(backend.run(user("Who?"), stream=True))
    with pytest.raises(StructuredOutputError):
        await backend.async_run(user("Who?"))
    assert handler.names().count("on_llm_error") == 3
    assert "on_llm_end" not in handler.names()


def test_a_dictionary_goes_out_as_it_is(chat, openai):
    answer = chat().run(user("x"), response_format={"type": "json_object"})
    assert (answer.content, answer.parsed) == (fixed_text(), None)
    assert openai.chats[0].body["response_format"] == {"type": "json_object"}


def test_a_refusal_has_no_object(provider):
    message = {"role": "assistant", "content": None, "refusal": "No."}
    provider.whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    backend = OpenAIChatBackend("m", "k", provider.url)
    answer = backend.run(user("x"), response_format=Person)
    assert (answer.parsed, answer.content, answer.metadata["refusal"]) == (None, "", "No.")
    backend.close()


def test_cut_at_the_limit(provider):
    message = {"role": "assistant", "content": '{"name": "A'}
    provider.whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]}
    backend = OpenAIChatBackend("m", "k", provider.url)
    with pytest.raises(StructuredOutputError, match="cut off at 'max_tokens'"):
        backend.run(user("x"), response_format=Person)
    backend.close()
