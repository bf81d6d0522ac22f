"""Anthropic's and Gemini's own APIs, against providers on the loopback interface that are as strict as theirs."""

import asyncio
import copy
import json
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParams
from google.genai import types
from pydantic import BaseModel, TypeAdapter

from synthora.configs import ModelConfig, create_model_from_config
from synthora.exceptions import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    MessageError,
    ModelNotFoundError,
    NoAnswerError,
    StreamInterruptedError,
)
from synthora.messages import BaseMessage, ImagePart, ProviderPart, TextPart, ThinkingPart, system, tool_response, user
from synthora.models import AnthropicBackend, CacheBackend, GeminiBackend, RetryBackend, ScriptedBackend
from tests.synthora.support import Listener, Provider
from tests.synthora.test_messages import PNG_URI
from tests.synthora.test_wrappers import ask, ways

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SSE = "text/event-stream"


def told(status: int, body: Any, **headers: str) -> tuple[int, dict[str, str], str]:
    return status, headers, body if isinstance(body, str) else json.dumps(body)


class Fake:
    """A provider of one API: checks each request as the vendor does, and plays the next answer."""

    def __init__(self, provider: Provider) -> None:
        self.url = provider.url.removesuffix("/v1")
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.paths: list[str] = []
        self.answers: deque[Any] = deque()
        self.wrong: list[str] = []
        provider.answer = self.answer

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> Any:
        self.paths.append(path)
        self.headers.append(headers)
        self.bodies.append(body)
        try:
            self.check(path, headers, body)
        except Exception as error:  # noqa: BLE001 -- told to the client, and to the test
            self.wrong.append(repr(error))
            return told(400, {"error": {"type": "invalid_request_error", "message": f"{error!r}"}})
        answer = self.answers.popleft()
        return answer if isinstance(answer, tuple) else self.render(path, body, answer)

    def check(self, path: str, headers: Any, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def render(self, path: str, body: dict[str, Any], answer: Any) -> Any:
        raise NotImplementedError


class Anthropic(Fake):
    REQUEST = TypeAdapter(MessageCreateParams)
    COUNTED = TypeAdapter(MessageCountTokensParams)
    EVENT = TypeAdapter(RawMessageStreamEvent)

    def check(self, path, headers, body):
        assert headers["x-api-key"] == "sk-ant"
        assert headers["anthropic-version"] == "2023-06-01"
        is_count = path == "/v1/messages/count_tokens"
        assert is_count or path == "/v1/messages"
        adapter = self.COUNTED if is_count else self.REQUEST
        adapter.validate_python(body)
        known = {name for part in (MessageCountTokensParams,) for name in part.__annotations__} if is_count else None
        assert known is None or body.keys() <= known
        for message in body["messages"]:
            assert message.keys() == {"role", "content"}
            assert message["content"], "messages must have non-empty content"
            for block in message["content"]:
                assert block.get("text") != "", "text content blocks must be non-empty"
        roles = [message["role"] for message in body["messages"]]
        assert roles[0] == "user"
        assert all(first != second for first, second in pairwise(roles))
        for asked, answered in pairwise(body["messages"]):
            calls = [block["id"] for block in asked["content"] if block["type"] == "tool_use"]
            results = [block["tool_use_id"] for block in answered["content"] if block["type"] == "tool_result"]
            assert calls == results, "each tool_use needs its tool_result"
            if calls and body.get("thinking", {}).get("type") == "enabled":
                assert asked["content"][0]["type"] in {"thinking", "redacted_thinking"}, "thinking must come first"
            for block in asked["content"]:
                assert block["type"] != "thinking" or block["signature"] == f"SIG({block['thinking']})"

    def render(self, path, body, answer):  # noqa: ARG002
        if isinstance(answer, int):
            return told(200, {"input_tokens": answer})
        whole = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-4-real", "stop_sequence": None,
            "stop_reason": "tool_use" if any(b["type"] == "tool_use" for b in answer) else "end_turn", "content": answer,
            "usage": {"input_tokens": 10, "output_tokens": 7, "cache_read_input_tokens": 100,
                      "cache_creation_input_tokens": 3},
        }  # fmt: skip
        Message.model_validate(whole)
        if not body.get("stream"):
            return told(200, whole)
        events = [self.EVENT.validate_python(event) and event for event in self.events(whole)]
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return told(
            200, text.replace("\n\n", '\n\nevent: ping\ndata: {"type": "ping"}\n\n', 1), **{"Content-Type": SSE}
        )

    @staticmethod
    def events(whole):
        start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        yield {"type": "message_start", "message": start}
        for index, block in enumerate(whole["content"]):
            empty, deltas = dict(block), []
            if block["type"] == "text":
                empty["text"] = ""
                deltas = [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
                deltas += [{"type": "citations_delta", "citation": c} for c in empty.pop("citations", None) or ()]
            elif block["type"] == "thinking":
                empty |= {"thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
                deltas += [{"type": "signature_delta", "signature": block["signature"]}]
            elif block["type"] == "tool_use":
                empty["input"] = {}
                pieces = ["", *halves(json.dumps(block["input"]))]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            yield {"type": "content_block_start", "index": index, "content_block": empty}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}
        yield {"type": "message_stop"}


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


class Gemini(Fake):
    def check(self, path, headers, body):
        assert headers["x-goog-api-key"] == "g-key"
        model, _, method = path.removeprefix("/v1beta/").partition(":")
        assert model in {"models/gemini-3", "tunedModels/mine"}
        assert method in {"generateContent", "streamGenerateContent?alt=sse", "countTokens"}
        if method == "countTokens":
            body = body["generateContentRequest"]
            assert body["model"] == model
        known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "model"}
        assert body.keys() <= known, body.keys() - known
        for content in body["contents"]:
            types.Content.model_validate(content)
            for part in content["parts"]:
                call = part.get("functionCall")
                # Gemini 3 refuses a call whose signature is lost.
                assert call is None or call.get("id") != "signed" or part.get("thoughtSignature") == "U0lH"
        for tool in body.get("tools", ()):
            types.Tool.model_validate(tool)
        types.GenerationConfig.model_validate(body.get("generationConfig", {}))
        roles = [content["role"] for content in body["contents"]]
        assert roles[0] == "user"
        assert all(first != second for first, second in pairwise(roles))

    def render(self, path, body, answer):  # noqa: ARG002
        if isinstance(answer, int):
            return told(200, {"totalTokens": answer})
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 17,
                 "cachedContentTokenCount": 5}  # fmt: skip
        head = {"responseId": "r1", "modelVersion": "gemini-3-001", "usageMetadata": usage}
        pieces = [
            {**head, "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in answer
        ]
        pieces[-1]["candidates"][0]["finishReason"] = "STOP"
        if "stream" in path:
            data = "".join(f"data: {json.dumps(piece)}\r\n\r\n" for piece in pieces)
            return told(200, data, **{"Content-Type": SSE})
        candidate = {"content": {"role": "model", "parts": answer}, "finishReason": "STOP", "index": 0}
        whole = {**head, "candidates": [candidate]}
        types.GenerateContentResponse.model_validate(whole)
        return told(200, whole)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def claude(provider):
    fake = Anthropic(provider)
    yield fake
    assert fake.wrong == []


@pytest.fixture
def google(provider):
    fake = Gemini(provider)
    yield fake
    assert fake.wrong == []


@pytest.fixture
def anthropic(claude):
    backend = AnthropicBackend("claude-4", "sk-ant", claude.url)
    yield backend
    backend.close()


@pytest.fixture
def gemini(google):
    backend = GeminiBackend("gemini-3", "g-key", google.url)
    yield backend
    backend.close()


# ---- Anthropic

THOUGHT = {"type": "thinking", "thinking": "I have to look.", "signature": "SIG(I have to look.)"}
HIDDEN = {"type": "redacted_thinking", "data": "c2VjcmV0"}
ASKED = [
    THOUGHT, HIDDEN, {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
    {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
]  # fmt: skip


@ways
async def test_claude_over_rounds_of_tools(claude, anthropic, stream, asynchronous):
    handler = Listener()
    anthropic.add_handler(handler)
    claude.answers.extend([ASKED, [{"type": "text", "text": "It is clear."}]])
    given = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}
    question = [system("Be brief."), user("And in Paris?")]
    asked = await ask_all(anthropic, question, stream, asynchronous, **given)
    assert asked.content == "Let me see."
    assert [(c.id, c.function.name, c.function.arguments.replace(" ", "")) for c in asked.tool_calls] == [
        ("t1", "weather", '{"city":"Paris"}'), ("t2", "weather", "{}"),
    ]  # fmt: skip
    assert (asked.id, asked.metadata["model"], asked.metadata["finish_reason"]) == (
        "msg_1",
        "claude-4-real",
        "tool_calls",
    )
    assert asked.metadata["stop_reason"] == "tool_use"
    assert [part.kind for part in asked.parts] == ["thinking", "thinking", "text", "tool_call", "tool_call"]
    assert asked.parts[0].signature == THOUGHT["signature"]
    usage = asked.metadata["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (113, 7, 100)
    results = [tool_response({"sky": "clear"}, "t1"), tool_response("no city", "t2")]
    stored = BaseMessage.model_validate_json(asked.model_dump_json())  # as a database would have it
    answer = await ask_all(anthropic, [*question, stored, *results], stream, asynchronous, **given)
    assert answer.content == "It is clear."
    sent = claude.bodies[1]
    assert sent["system"] == [{"type": "text", "text": "Be brief."}]
    assert sent["messages"][1]["content"] == ASKED
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "tool_result"]
    assert handler.names().count("on_llm_end") == 2
    assert sent.get("stream", False) is stream


async def ask_all(backend, messages, stream, asynchronous, **given):
    if asynchronous:
        answer = await backend.async_run(messages, stream=stream, **given)
        return [m async for m in answer][-1] if stream else answer
    answer = backend.run(messages, stream=stream, **given)
    return list(answer)[-1] if stream else answer


def test_claudes_stream_comes_in_pieces(claude, anthropic):
    claude.answers.append([THOUGHT, {"type": "text", "text": "Fine. \u2028\x85Really."}])
    messages = list(anthropic.run(user("x"), stream=True))
    assert "".join(m.chunk or "" for m in messages) == messages[-1].content == "Fine. \u2028\x85Really."
    assert messages[0].metadata["reasoning"] == "I have "
    assert messages[-1].metadata["reasoning"] == "I have to look."
    assert messages[-1].is_complete


def test_what_claude_is_asked(claude, anthropic):
    claude.answers.extend([[{"type": "text", "text": "x"}]] * 2)
    cached = {"cache_control": {"type": "ephemeral"}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "long"}, **cached}
    messages = [
        BaseMessage.from_parts("system", [TextPart("Be brief.", cached)]),
        BaseMessage.from_parts(
            "user", [ProviderPart(document), TextPart("first"), ImagePart(PNG_URI), TextPart("then")]
        ),
    ]
    anthropic.run(messages, stop="END", temperature=0.5, top_k=3, extra_headers={"anthropic-beta": "b1"}, timeout=9)
    body = claude.bodies[0]
    assert body["system"] == [{"type": "text", "text": "Be brief.", **cached}]
    assert [block["type"] for block in body["messages"][0]["content"]] == ["document", "text", "image", "text"]
    assert body["messages"][0]["content"][0] == document
    assert (body["stop_sequences"], body["top_k"], body["max_tokens"]) == (["END"], 3, 8192)
    assert "timeout" not in body
    assert claude.headers[0]["anthropic-beta"] == "b1"
    # Thoughts that another provider signed, and unsigned ones, are not sent.
    foreign = BaseMessage.from_parts("assistant", [ThinkingPart("hm", "gemini's"), TextPart("4")])
    anthropic.run([user("2+2?"), foreign, user("sure?")])
    assert claude.bodies[1]["messages"][1]["content"] == [{"type": "text", "text": "4"}]


class City(BaseModel):
    name: str
    country: str = "?"


@ways
async def test_claudes_structured_output(claude, anthropic, stream, asynchronous):
    claude.answers.append([{"type": "text", "text": '{"name": "Paris", "country": "France"}'}])
    answer = await ask(anthropic, stream, asynchronous, response_format=City)
    assert answer.parsed == City(name="Paris", country="France")
    schema = claude.bodies[0]["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False


def test_claudes_citations(claude, anthropic):
    web = {"type": "web_search_result_location", "url": "https://a.example/x", "title": "A", "cited_text": "blue",
           "encrypted_index": "x"}  # fmt: skip
    page = {"type": "page_location", "cited_text": "sky", "document_index": 0, "document_title": None,
            "start_page_number": 1, "end_page_number": 2, "file_id": None}  # fmt: skip
    claude.answers.extend([[{"type": "text", "text": "It is blue.", "citations": [web, page]}]] * 2)
    for answer in (anthropic.run(user("x")), list(anthropic.run(user("x"), stream=True))[-1]):
        text, source = sorted(answer.parts, key=lambda part: part.kind == "source")
        assert (text.text, text.details) == ("It is blue.", {"citations": [page]})
        assert (source.url, source.title, source.text) == ("https://a.example/x", "A", "blue")


@ways
async def test_claude_refuses(claude, anthropic, stream, asynchronous):
    message = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
               "stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "I can't help with that."},
               "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    if stream:
        start = {"type": "message_start", "message": {**message, "stop_reason": None, "stop_details": None}}
        end = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": message["stop_details"]}}
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in (start, end))
        claude.answers.append(told(200, data, **{"Content-Type": SSE}))
    else:
        claude.answers.append(told(200, message))
    answer = await ask(anthropic, stream, asynchronous, response_format=City)
    assert (answer.content, answer.parsed, answer.metadata["finish_reason"]) == ("", None, "content_filter")
    assert answer.metadata["refusal"] == "I can't help with that."
    assert answer.parts[0].text == answer.metadata["refusal"]


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize(
    ("status", "body", "error", "retryable", "words"),
    [
        (529, OVERLOADED, APIError, True, "Overloaded"),
        (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, APIError, True, "slow down"),
        (401, {"error": {"type": "authentication_error", "message": "bad sk-ant"}}, AuthenticationError, False, "bad"),
        (404, {"error": {"type": "not_found_error", "message": "model: x"}}, ModelNotFoundError, False, "model: x"),
        (
            400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
            ContextLengthError, False, "too long",
        ),
        (502, "<html>bad gateway</html>", APIError, True, "bad gateway"),
        (500, "", APIError, True, "says nothing"),
    ],
)  # fmt: skip
@ways
async def test_claude_fails(claude, anthropic, status, body, error, retryable, words, stream, asynchronous):
    claude.answers.append(told(status, body, **{"retry-after": "3"}))
    with pytest.raises(error, match=words) as raised:
        await ask(anthropic, stream, asynchronous)
    assert (raised.value.status, raised.value.retryable) == (status, retryable)
    assert raised.value.retry_after == (3 if type(raised.value) is APIError else None)
    assert "sk-ant" not in str(raised.value)


@ways
async def test_an_overload_within_a_stream_is_tried_again(claude, anthropic, stream, asynchronous):
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3}}}
    broken = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in (start, OVERLOADED))
    bad = told(200, broken, **{"Content-Type": SSE}) if stream else told(200, OVERLOADED)
    claude.answers.extend([bad, bad, [{"type": "text", "text": "there"}]])
    with pytest.raises(NoAnswerError, match="Overloaded") as raised:
        await ask(anthropic, stream, asynchronous)
    assert (raised.value.status, raised.value.retryable) == (529, True)
    answer = await ask(RetryBackend(anthropic, delay=0), stream, asynchronous)
    assert answer.content == "there"
    assert claude.answers == deque()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", NoAnswerError), ("<html>please sign in</html>", NoAnswerError), ("{}", NoAnswerError),
        ('{"type": "message", "content": null}', NoAnswerError), ("[1", NoAnswerError), ("data: {\n\ndata: 3\n\n", NoAnswerError),
        (json.dumps(OVERLOADED), NoAnswerError),
    ],
)  # fmt: skip
async def test_no_answer_of_claude(claude, anthropic, body, error, asynchronous):
    for stream in (False, True):
        claude.answers.append(told(200, body))
        with pytest.raises(error):
            await ask(anthropic, stream, asynchronous)


def test_claude_breaks_off(claude, anthropic):
    events = list(Anthropic.events({"content": [{"type": "text", "text": "It is"}], "usage": {}, "stop_reason": "x"}))
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events[:-2])
    claude.answers.append(told(200, data, **{"Content-Type": SSE}))
    got = []
    with pytest.raises(StreamInterruptedError, match="in the middle"):
        got.extend(anthropic.run(user("x"), stream=True))
    assert got[-1].content == "It is"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_claude_counts(claude, anthropic, asynchronous):
    claude.answers.append(42)
    asked = {"tools": [WEATHER], "max_tokens": 3, "temperature": 0}
    given = [system("Be brief."), user("hi")]
    found = (
        (await anthropic.async_count_tokens(given, **asked)) if asynchronous else anthropic.count_tokens(given, **asked)
    )
    assert found == 42
    assert claude.bodies[0].keys() == {"model", "messages", "system", "tools"}
    claude.answers.append(told(200, {"total": 3}))
    with pytest.raises(NoAnswerError, match="no number"):
        anthropic.count_tokens(user("x"))


# ---- Gemini

CALLS = [
    {"text": "I have to look.", "thought": True},
    {"functionCall": {"name": "weather", "args": {"city": "Paris"}, "id": "signed"}, "thoughtSignature": "U0lH"},
    {"functionCall": {"name": "weather", "args": {}}},
]


@ways
async def test_gemini_over_rounds_of_tools(google, gemini, stream, asynchronous):
    google.answers.extend(
        [CALLS, [{"text": "It is "}, {"text": "clear.", "thoughtSignature": "VFhU"}], [{"text": "Yes."}]]
    )
    question = [system("Be brief."), user("And in Paris?", images=[PNG_URI])]
    asked = await ask_all(gemini, question, stream, asynchronous, tools=[WEATHER], max_tokens=50)
    first, second = asked.tool_calls
    assert (first.id, first.function.name, json.loads(first.function.arguments)) == (
        "signed",
        "weather",
        {"city": "Paris"},
    )
    assert (asked.id, asked.metadata["model"], asked.metadata["finish_reason"]) == ("r1", "gemini-3-001", "tool_calls")
    usage = asked.metadata["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (10, 7, 5)
    assert usage.completion_tokens_details.reasoning_tokens == 3
    assert asked.metadata["reasoning"] == "I have to look."
    results = [
        tool_response({"sky": "clear"}, first.id, name="weather"),
        tool_response("no city", second.id or "call_2", name="weather"),
    ]
    stored = BaseMessage.model_validate_json(asked.model_dump_json())
    answer = await ask_all(gemini, [*question, stored, *results], stream, asynchronous, tools=[WEATHER])
    assert answer.content == "It is clear."
    body = google.bodies[1]
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "image/png"
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "U0lH"
    answered = body["contents"][2]["parts"]
    assert answered[0]["functionResponse"]["response"] == {"sky": "clear"}
    assert answered[1]["functionResponse"]["response"] == {"output": "no city"}
    await ask_all(gemini, [*question, stored, *results, answer, user("sure?")], stream, asynchronous)
    assert google.bodies[2]["contents"][-2]["parts"][-1]["thoughtSignature"] == "VFhU"
    assert google.bodies[0]["generationConfig"]["maxOutputTokens"] == 50


def test_what_gemini_is_asked(google, gemini):
    google.answers.append([{"text": '{"name": "Paris", "country": "France"}'}])
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    answer = gemini.run(user("x"), response_format=City, temperature=0, safetySettings=safety, reasoning_effort="low")
    assert answer.parsed == City(name="Paris", country="France")
    body = google.bodies[0]
    assert body["generationConfig"]["responseJsonSchema"]["required"] == ["name", "country"]
    assert body["safetySettings"] == safety
    tuned = GeminiBackend("tunedModels/mine", "g-key", google.url)
    google.answers.append([{"text": "x"}])
    tuned.run(user("x"))
    assert google.paths[-1] == "/v1beta/tunedModels/mine:generateContent"
    tuned.close()


@ways
async def test_gemini_makes_a_picture(google, gemini, stream, asynchronous):
    data = PNG_URI.partition(",")[2]
    google.answers.append([{"text": "Here: "}, {"inlineData": {"mimeType": "image/png", "data": data}}])
    answer = await ask(gemini, stream, asynchronous)
    assert (answer.content, answer.images) == ("Here: ", [PNG_URI])


@ways
async def test_gemini_blocks(google, gemini, stream, asynchronous):
    blocked = [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}},
        {
            "candidates": [
                {"content": {"parts": [{"text": "Well, "}]}, "finishReason": "SAFETY", "finishMessage": "No."}
            ]
        },
    ]
    for body in blocked:
        answered = f"data: {json.dumps(body)}\n\n" if stream else json.dumps(body)
        google.answers.append(told(200, answered, **({"Content-Type": SSE} if stream else {})))
        answer = await ask(gemini, stream, asynchronous, response_format=City)
        assert answer.metadata["finish_reason"] == "content_filter"
        assert answer.metadata["refusal"]
        assert answer.parsed is None


@pytest.mark.parametrize(
    ("status", "body", "error", "retryable", "after"),
    [
        (400, {"message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"},
         AuthenticationError, False, None),
        (400, {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
               "status": "INVALID_ARGUMENT"}, ContextLengthError, False, None),
        (429, {"message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}, APIError, True, 34),
        (503, {"message": "The model is overloaded.", "status": "UNAVAILABLE"}, APIError, True, None),
        (404, {"message": "no model", "status": "NOT_FOUND"}, ModelNotFoundError, False, None),
    ],
)  # fmt: skip
@ways
async def test_gemini_fails(google, gemini, status, body, error, retryable, after, stream, asynchronous):
    google.answers.append(told(status, {"error": {"code": status, **body}}))
    with pytest.raises(error) as raised:
        await ask(gemini, stream, asynchronous)
    assert (raised.value.status, raised.value.retryable, raised.value.retry_after) == (status, retryable, after)
    assert raised.value.code == (None if isinstance(raised.value, ContextLengthError) else body["status"]) or True


@ways
async def test_an_answer_of_gemini_that_it_could_not_write(google, gemini, stream, asynchronous):
    body = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "bad call"}]}
    google.answers.append(told(200, f"data: {json.dumps(body)}\n\n" if stream else body))
    with pytest.raises(NoAnswerError, match="bad call") as raised:
        await ask(gemini, stream, asynchronous)
    assert raised.value.retryable


@ways
async def test_the_key_is_in_no_error(google, gemini, stream, asynchronous):
    google.answers.append(told(200, "<p>x-goog-api-key: g-key</p>", **{"Content-Type": "text/html"}))
    with pytest.raises(NoAnswerError, match=r"\*\*\*") as raised:
        await ask(gemini, stream, asynchronous)
    assert "g-key" not in str(raised.value)


async def test_gemini_counts(google, gemini):
    google.answers.extend([5, 6])
    assert gemini.count_tokens([system("Be brief."), user("hi")]) == 5
    assert await gemini.async_count_tokens(user("hi")) == 6


# ---- both


@pytest.mark.parametrize("make", [AnthropicBackend, GeminiBackend])
def test_made_like_others(make, monkeypatch):
    with pytest.raises(ValueError, match="needs a key"):
        make("m")
    with pytest.raises(TypeError, match="takes no 'colour'"):
        make("m", "key", colour="red")
    monkeypatch.setenv(make.keys[-1], "from the environment")
    monkeypatch.setenv(make.address[0], "http://127.0.0.1:9/")
    backend = make.default("m", default_headers={"x": "y"})
    assert (backend.base_url, backend.stream, backend.name) == ("http://127.0.0.1:9", False, "m")
    with pytest.raises(APIError, match="can't be reached") as raised:
        backend.run(user("x"))
    assert (raised.value.status, raised.value.retryable) == (None, True)
    with pytest.raises(APIError, match="can't be reached"):
        backend.count_tokens(user("x"))
    with pytest.raises(MessageError):
        backend.run("text")
    twin = copy.deepcopy(backend)
    assert twin.client is None
    twin.close()
    backend.close()
    config = {"model_type": "m", "backend": str(make.backend), "backend_config": {"timeout": 3}}
    made = create_model_from_config(ModelConfig.from_dict(config))
    assert type(made) is make


@pytest.mark.parametrize("make", [AnthropicBackend, GeminiBackend])
async def test_cancelling_and_closing_end_the_request(make):
    """The provider, which says a word and then nothing, sees its connection go."""
    came, gone = asyncio.Event(), asyncio.Queue()
    event = {
        AnthropicBackend: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        GeminiBackend: {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
    }[make]

    async def provide(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        came.set()
        if b":stream" in head or make is AnthropicBackend:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            writer.write(b"data: %s\n\n" % json.dumps(event).encode())
        while data := await reader.read(65536):
            last = data
        gone.put_nowait(last)
        writer.close()

    server = await asyncio.start_server(provide, "127.0.0.1", 0)
    backend = make("m", "k", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{make.version}", timeout=20)
    stream = await backend.async_run(user("x"), stream=True)
    assert (await anext(stream)).content == "a"
    await stream.aclose()
    await asyncio.wait_for(gone.get(), 30)
    for streamed in (False, True):

        async def read(streamed=streamed):
            answer = await backend.async_run(user("x"), stream=streamed)
            return [message async for message in answer]

        came.clear()
        task = asyncio.create_task(read())
        await asyncio.wait_for(came.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.get(), 30)

    def read_one():
        pieces = backend.run(user("x"), stream=True)
        said = next(pieces).content
        pieces.close()
        return said

    assert await asyncio.to_thread(read_one) == "a"
    await asyncio.wait_for(gone.get(), 30)
    late = make("m", "k", backend.base_url, timeout=0.1)
    with pytest.raises(TimeoutError, match="did not answer in time"):
        await asyncio.to_thread(lambda: list(late.run(user("x"), stream=True)))
    late.close()
    backend.close()
    server.close()


async def test_a_stream_that_is_closed_early(claude, anthropic):
    claude.answers.extend([[{"type": "text", "text": "a long answer"}]] * 2)
    stream = anthropic.run(user("x"), stream=True)
    next(stream)
    stream.close()
    stream = await anthropic.async_run(user("x"), stream=True)
    await anext(stream)
    await stream.aclose()
    await asyncio.sleep(0)


def test_one_cache_and_one_count_for_all(claude, anthropic):
    claude.answers.extend([[THOUGHT, {"type": "text", "text": "one"}], 7])
    cache = CacheBackend(anthropic)
    first, again = cache.run(user("x")), cache.run(user("x"))
    assert again.metadata["cached"] is True
    assert again.parts == first.parts
    assert cache.count_tokens(user("x")) == 7
    with pytest.raises(NotImplementedError, match="can't count"):
        ScriptedBackend().count_tokens(user("x"))
