"""One family of errors: what a provider refuses, breaks off or sends instead of an answer, whichever backend asks."""

import json
import time

import httpx2
import openai as sdk
import pytest

from llamaforge.backends.api_errors import refusal, retry_after
from synthora.exceptions import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    FallbackError,
    LlamaForgeError,
    MissingExtraError,
    ModelNotFoundError,
    NoAnswerError,
    StreamInterruptedError,
    SynthoraError,
)
from synthora.messages import BaseMessage, user
from synthora.models import (
    FallbackBackend,
    OpenAIChatBackend,
    OpenAICompletionBackend,
    RetryBackend,
    ScriptedBackend,
    clients,
)
from tests.synthora.support import Listener
from tests.synthora.test_wrappers import ask, ways

BUSY = json.dumps({"error": {"message": "upstream is out of capacity", "code": 503}})
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chunk(delta=None, reason=None, **more):
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


@pytest.fixture
def backend(provider):
    made = OpenAIChatBackend("m", "sk-secret", provider.url)
    yield made
    made.close()


# ---- a status of 200 that is no answer


@pytest.mark.parametrize(
    ("kind", "body", "words", "status"),
    [
        ("application/json", BUSY, "upstream is out of capacity", 503),
        ("application/json", '{"error": "no such route"}', "no such route", 502),
        ("application/json", '{"choices": null}', "without any choices", 502),
        ("application/json", '{"id": "x", "choices": []}', "without any choices", 502),
        ("application/json", '{"choices": [null]}', "without any choices", 502),
        ("application/json", '{"choices": [{"index": 0, "message": null}]}', "without any choices", 502),
        ("application/json", "{}", "without any choices", 502),
        ("application/json", "null", "no answer|without any choices", 502),
        ("application/json", "[]", "without any choices", 502),
        ("application/json", '{"choices": [', "no answer", 502),
        ("application/json", "", "no answer", 502),
        ("text/html", "<html>please sign in</html>", "please sign in", 502),
        ("text/plain", "", "no answer|without an answer", 502),
    ],
)
@ways
async def test_no_answer_is_an_error(backend, provider, kind, body, words, status, stream, asynchronous):
    provider.raw = (kind, body)
    handler = Listener()
    backend.add_handler(handler)
    with pytest.raises(NoAnswerError, match=words) as raised:
        await ask(backend, stream, asynchronous)
    error = raised.value
    assert (error.status, error.retryable, isinstance(error, APIError)) == (status, True, True)
    assert handler.names() == ["on_llm_start", "on_llm_error"]
    again = RetryBackend(backend, attempts=2, delay=0)
    chain = FallbackBackend([again, ScriptedBackend(answers=["second"])])
    assert (await ask(chain, stream, asynchronous)).content == "second"
    assert len(provider.bodies) == 3


def test_no_answer_of_a_completion(provider):
    provider.raw = ("application/json", BUSY)
    backend = OpenAICompletionBackend("m", "k", provider.url)
    with pytest.raises(NoAnswerError, match="out of capacity"):
        backend.run("Once")
    backend.close()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_whole_answer_to_a_request_for_a_stream(backend, provider, asynchronous):
    message = {"role": "assistant", "content": "Fine."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    provider.raw = ("application/json", json.dumps({"id": "c", "choices": [choice], "usage": USAGE}))
    answer = await ask(backend, True, asynchronous)
    assert (answer.content, answer.is_complete, answer.metadata["usage"].total_tokens) == ("Fine.", True, 3)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_calls_itself_json(backend, provider, asynchronous):
    lines = [json.dumps(chunk({"content": piece})) for piece in "ab"] + [json.dumps(chunk({}, "stop")), "[DONE]"]
    provider.raw = ("application/json", "".join(f"data: {line}\n\n" for line in lines))
    assert (await ask(backend, True, asynchronous)).content == "ab"


# ---- streams and their ends


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_without_a_reason_is_over_with_its_end(backend, provider, asynchronous):
    handler = Listener()
    backend.add_handler(handler)
    provider.chunks = [chunk({"content": "Fi"}), chunk({"content": "ne."}), chunk(None, usage=USAGE)]
    answer = await ask(backend, True, asynchronous)
    assert (answer.content, answer.chunk, answer.metadata["finish_reason"]) == ("Fine.", None, "stop")
    assert answer.metadata["usage"].total_tokens == 3
    assert handler.names() == ["on_llm_start", *["on_llm_chunk"] * 4, "on_llm_end"]
    assert handler.events[-1][1].is_complete
    function = {"name": "add", "arguments": "{}"}
    provider.chunks = [chunk({"tool_calls": [{"index": 0, "id": "a", "function": function}]})]
    assert (await ask(backend, True, asynchronous)).metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_without_its_end_it_is_broken(backend, provider, asynchronous):
    provider.done = False
    provider.chunks = [chunk({"content": "Fi"})]
    with pytest.raises(StreamInterruptedError, match="in the middle") as raised:
        await ask(backend, True, asynchronous)
    assert (raised.value.status, raised.value.retryable) == (502, True)
    for chunks in ([], [chunk({"role": "assistant", "content": ""})], [{"choices": [], "usage": USAGE}]):
        provider.done, provider.chunks = True, chunks
        with pytest.raises(NoAnswerError, match="without an answer"):
            await ask(backend, True, asynchronous)


JUNK = [
    {"choices": None}, {"choices": [{"index": 0, "delta": None}]}, {"choices": "x"}, {"choices": [None]},
    {"choices": [{"index": 0, "delta": "x"}]}, {"choices": [{"index": 0, "delta": {"content": 3}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [None, "x", 3]}}]}, {"choices": [], "usage": 3},
    {"choices": [], "usage": {"prompt_tokens": "many"}}, {"id": 7, "choices": []}, [], "x", None,
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_junk_in_a_stream_is_passed_over(backend, provider, junk, asynchronous):
    provider.chunks = [junk, chunk({"content": "a"}), junk, chunk({}, "stop")]
    assert (await ask(backend, True, asynchronous)).content == "a"


@pytest.mark.parametrize("calls", [None, "x", 3, [None], ["x"], [{"function": "x"}], {}])
def test_junk_in_a_whole_answer(backend, provider, calls):
    message = {"content": "a", "tool_calls": calls}
    provider.whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": "none", "id": 7}
    answer = backend.run(user("x"))
    assert (answer.content, answer.has_tool_calls, answer.metadata["usage"]) == ("a", False, None)


def test_an_error_in_the_place_of_a_chunk():
    with pytest.raises(NoAnswerError, match="fell over") as raised:
        BaseMessage.from_openai_chat_stream_response({"error": {"message": "it fell over", "code": 529}})
    assert raised.value.status == 529


@pytest.mark.parametrize(("code", "status", "retryable"), [(503, 503, True), (400, 400, False), ("bad", None, True)])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_in_a_stream_has_its_status(backend, provider, code, status, retryable, asynchronous):
    provider.chunks = [{"error": {"message": "it fell over", "code": code}}]
    with pytest.raises(sdk.APIError, match="it fell over") as raised:
        await ask(backend, True, asynchronous)
    assert (raised.value.status, raised.value.retryable) == (status, retryable)


# ---- the SDK's errors


@pytest.mark.parametrize(
    ("status", "body", "theirs", "ours", "retryable"),
    [
        (401, {"message": "bad sk-secret"}, sdk.AuthenticationError, AuthenticationError, False),
        (403, {"message": "no"}, sdk.PermissionDeniedError, AuthenticationError, False),
        (404, {"message": "no", "code": "model_not_found"}, sdk.NotFoundError, ModelNotFoundError, False),
        (400, {"message": "no", "code": "bad"}, sdk.BadRequestError, APIError, False),
        (
            400, {"message": "long", "code": "context_length_exceeded"}, sdk.BadRequestError, ContextLengthError, False,
        ),
        (429, {"message": "slow"}, sdk.RateLimitError, APIError, True),
        (429, {"message": "empty", "code": "insufficient_quota"}, sdk.RateLimitError, APIError, False),
        (500, {"message": "oh"}, sdk.InternalServerError, APIError, True),
        (529, {"message": "full"}, sdk.InternalServerError, APIError, True),
    ],
)  # fmt: skip
@ways
async def test_a_refusal_is_ours_and_the_sdks(provider, status, body, theirs, ours, retryable, stream, asynchronous):
    provider.status, provider.raw = status, ("application/json", json.dumps({"error": body}))
    provider.headers = {"Retry-After": "7", "x-request-id": "r1"}
    backend = OpenAIChatBackend("m", "sk-secret", provider.url, max_retries=0)
    with pytest.raises(theirs) as raised:
        await ask(backend, stream, asynchronous)
    error = raised.value
    assert isinstance(error, ours)
    assert isinstance(error, LlamaForgeError)
    assert (error.status, error.status_code, error.retryable, error.request_id) == (status, status, retryable, "r1")
    assert error.code == body.get("code")
    assert error.retry_after == (7 if type(error).__mro__[1] is APIError else None)
    assert error.response.status_code == status
    assert "sk-secret" not in str(error)
    assert body["message"].split()[0] in str(error)
    assert isinstance(error.__cause__, theirs)
    backend.close()


async def test_the_network_is_ours_and_the_sdks():
    backend = OpenAIChatBackend("m", "k", "http://127.0.0.1:9/v1", max_retries=0)
    for stream in (False, True):
        with pytest.raises(sdk.APIConnectionError, match=r"127\.0\.0\.1:9/v1 can't be reached") as raised:
            backend.run(user("x"), stream=stream)
        assert isinstance(raised.value, APIError)
        assert (raised.value.status, raised.value.retryable) == (None, True)

    def late(request):
        raise httpx2.ReadTimeout("late", request=request)

    client = httpx2.Client(transport=httpx2.MockTransport(late))
    slow = OpenAIChatBackend("m", "k", "http://127.0.0.1:9/v1", max_retries=0, http_client=client)
    with pytest.raises(sdk.APITimeoutError, match="did not answer in time") as raised:
        slow.run(user("x"))
    assert isinstance(raised.value, APIError)
    slow.close()


def test_what_is_not_the_sdks_stays_what_it_is():
    for error in (ValueError("x"), NoAnswerError("x"), KeyboardInterrupt(), MissingExtraError("synthora", "openai")):
        expected = NoAnswerError if isinstance(error, json.JSONDecodeError) else type(error)
        assert type(clients.translated(error, "http://x", "key")) is expected
    assert issubclass(NoAnswerError, SynthoraError)


def test_a_chain_may_be_tried_again_if_any_of_it_may():
    gone, busy = AuthenticationError("no", status=401), APIError("busy", status=503)
    assert FallbackError([("a", gone), ("b", busy)]).retryable is True
    assert FallbackError([("a", gone), ("b", ValueError("x"))]).retryable is False


def test_how_long_a_provider_asks_to_wait():
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "9"}) == 9
    assert retry_after({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}) == 0
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 50 < retry_after({"retry-after": soon}) <= 60
    for header in ("soon", "inf", "-1", "nan", ""):
        assert retry_after({"retry-after": header}) is None
    assert retry_after({}) is None
    error = refusal("http://x", 503, "full", headers={"retry-after": "3"})
    assert (error.status, error.retryable, error.retry_after) == (503, True, 3)
