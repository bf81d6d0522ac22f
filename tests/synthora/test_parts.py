"""Ordered parts of messages: built from answers and streams, in step with the fields, stored, and sent back."""

import base64

import pytest

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, Usage
from llamaforge.events import ToolCall as CallPiece
from synthora.exceptions import ImageError, MessageError, NoAnswerError
from synthora.messages import (
    BaseMessage,
    ImagePart,
    ProviderPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolCallPart,
    ToolResultPart,
    assistant,
    system,
    tool_response,
    user,
)
from synthora.models import OpenAIChatBackend, Profile, ScriptedBackend, profile_of
from synthora.models.profile import ANTHROPIC
from synthora.types import Err, Ok
from tests.synthora.test_messages import CALL, PNG_URI
from tests.synthora.test_streaming import call, chunk, together

CACHED = {"cache_control": {"type": "ephemeral"}}
WEB = "https://example.com/a"


def grown(*batches: list[Event]) -> list[BaseMessage]:
    """The messages of a stream, each from one batch of events."""
    messages: list[BaseMessage] = []
    for batch in batches:
        previous = messages[-1] if messages else None
        messages.append(BaseMessage.from_events(batch, None, previous, model="m"))
    return messages


def short(message: BaseMessage) -> list[object]:
    out: list[object] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            out.append((part.kind, part.call.function.name, part.call.function.arguments))
        elif isinstance(part, ImagePart | SourcePart):
            out.append((part.kind, part.url))
        else:
            out.append((part.kind, part.text))
    return out


# ---- of fields


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (user("hi"), [TextPart("hi")]),
        (user(""), []),
        (system("hi"), [TextPart("hi")]),
        (user("look", images=[PNG_URI, WEB]), [TextPart("look"), ImagePart(PNG_URI), ImagePart(WEB)]),
        (assistant("a", tool_calls=[CALL]), [TextPart("a"), ToolCallPart(ToolCall(**CALL))]),
        (assistant(tool_calls=[]), []),
        (tool_response({"a": 1}, "c1"), [ToolResultPart("c1", '{"a": 1}')]),
        (tool_response(Err(KeyError("x"), "no x"), "c1"), [ToolResultPart("c1", "no x", is_error=True)]),
        (tool_response(Ok(1), "c1"), [ToolResultPart("c1", "1")]),
        (
            BaseMessage(role="assistant", content="a", metadata={"reasoning": "hm", "refusal": "no"}),
            [ThinkingPart("hm"), TextPart("a"), RefusalPart("no")],
        ),
    ],
)
def test_parts_of_fields(message, parts):
    assert message.parts == parts
    assert message.parts is not message.parts


def test_parts_follow_the_fields():
    (message,) = grown([Reasoning("hm"), Text("one "), CallPiece(0, "a", "f", "{}"), Text("two")])
    assert short(message) == [("thinking", "hm"), ("text", "one "), ("tool_call", "f", "{}"), ("text", "two")]
    message.content = "one and more"
    assert short(message) == [("thinking", "hm"), ("text", "one "), ("tool_call", "f", "{}"), ("text", "and more")]
    message.content, message.tool_calls = "x", None
    assert short(message) == [("thinking", "hm"), ("text", "x")]
    message.tool_calls = [ToolCall(id="b"), ToolCall(id="c")]
    assert [kind for kind, *_ in short(message)] == ["thinking", "text", "tool_call", "tool_call"]


def test_a_message_of_parts():
    parts = [
        ThinkingPart("hm", "sig"), TextPart("a"), ToolCallPart(ToolCall(**CALL)), TextPart("b", CACHED),
        SourcePart(WEB, "A"), RefusalPart("no"), ProviderPart({"type": "x"}), ImagePart(PNG_URI),
    ]  # fmt: skip
    message = BaseMessage.from_parts("assistant", parts)
    assert message.parts == parts
    assert (message.content, message.tool_calls, message.images) == ("ab", [ToolCall(**CALL)], [PNG_URI])
    assert (message.metadata["reasoning"], message.metadata["refusal"]) == ("hm", "no")
    result = BaseMessage.from_parts("tool_response", [ToolResultPart("c1", "3")])
    assert (result.id, result.content, result.parts) == ("c1", "3", [ToolResultPart("c1", "3")])
    assert BaseMessage.from_parts("user", [ImagePart(PNG_URI)]).content is None


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: BaseMessage.from_parts("user", ["text"]), MessageError),
        (lambda: BaseMessage.from_parts("robot", [TextPart("x")]), MessageError),
        (lambda: BaseMessage.from_parts("system", [ImagePart(PNG_URI)]), MessageError),
        (lambda: BaseMessage.from_parts("tool_response", [TextPart("x")]), MessageError),
        (lambda: BaseMessage.from_parts("user", [ImagePart("data:text/plain;base64,aGk=")]), ImageError),
        (lambda: BaseMessage(role="user", content="x", parts=[TextPart("x")]), ValueError),
    ],
)
def test_what_is_no_part(make, error):
    with pytest.raises(error):
        make()


# ---- of streams


STREAM = [
    [Reasoning("let me ", details={"thinking_blocks": [{"type": "thinking", "index": 0, "thinking": "let me "}]})],
    [Reasoning("see", details={"thinking_blocks": [{"type": "thinking", "index": 0, "thinking": "see"}]})],
    [Reasoning("", "SIG", details={"thinking_blocks": [{"type": "thinking", "index": 0, "signature": "SIG"}]})],
    [Reasoning("", details={"thinking_blocks": [{"type": "redacted_thinking", "index": 1, "data": "hidden"}]})],
    [Text("It ")], [Text("is ")],
    [Source(WEB, "A", "quoted", details={"start_index": 0, "end_index": 5})],
    [CallPiece(0, "a", "f")], [CallPiece(0, arguments='{"x"')], [CallPiece(0, arguments=":1}")],
    [Text("so.")], [Text("", details={"citation": {"type": "page_location"}})],
    [Image(PNG_URI)], [Image(PNG_URI)], [Refusal("no ")], [Refusal("way")], [Reasoning("again")],
    [Usage(1, 2, raw={"prompt_tokens": 1, "completion_tokens": 2})], [Done("stop")],
]  # fmt: skip


def test_a_stream_in_its_order():
    messages = grown(*STREAM)
    last = messages[-1]
    assert last.parts == [
        ThinkingPart("let me see", "SIG", {"thinking_blocks": [{"type": "thinking", "index": 0}]}),
        ThinkingPart("", None, {"thinking_blocks": [{"type": "redacted_thinking", "index": 1, "data": "hidden"}]}),
        TextPart("It is "),
        SourcePart(WEB, "A", "quoted", 0, 5),
        ToolCallPart(ToolCall(id="a", function={"name": "f", "arguments": '{"x":1}'}, index=0)),
        TextPart("so.", {"citations": [{"type": "page_location"}]}),
        ImagePart(PNG_URI),
        RefusalPart("no way"),
        ThinkingPart("again"),
    ]
    assert (last.content, last.images, last.metadata["reasoning"]) == ("It is so.", [PNG_URI], "let me seeagain")
    assert (last.is_complete, last.metadata["usage"].total_tokens, last.metadata["refusal"]) == (True, 3, "no way")
    # Earlier messages are not changed by later ones.
    assert short(messages[0]) == [("thinking", "let me ")]
    assert short(messages[5])[2:] == [("text", "It is ")]
    assert short(messages[7])[-1] == ("tool_call", "f", "")


def test_every_way_of_cutting_a_stream_is_the_same():
    whole = [event for batch in STREAM for event in batch]
    expected = grown(*STREAM)[-1]
    for size in range(1, len(whole) + 1):
        batches = [whole[at : at + size] for at in range(0, len(whole), size)]
        last = grown(*batches)[-1]
        assert last.parts == expected.parts, size
        assert last.content == expected.content


def test_what_is_stored_comes_back():
    last = grown(*STREAM)[-1]
    back = BaseMessage.model_validate_json(last.model_dump_json())
    assert back.parts == [p if p.kind != "tool_call" else back.parts[4] for p in last.parts]
    assert back.parts[4].call.function == last.parts[4].call.function
    # Words are stored once, and plain messages store no order.
    assert last.model_dump_json().count("let me see") == 1
    assert "ordered" not in user("hi").model_dump()
    assert "ordered" not in together(chunk({"content": "a"}), chunk({}, "stop"))[-1].model_dump()


def test_an_error_in_the_middle():
    with pytest.raises(NoAnswerError, match="overloaded") as raised:
        grown([Text("a")], [Error("overloaded", 529)])
    assert (raised.value.status, raised.value.retryable) == (529, True)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_in_every_spelling(name):
    last = together(chunk({name: "let "}), chunk({name: "me see"}), chunk({"content": "4"}), chunk({}, "stop"))[-1]
    assert last.metadata["reasoning"] == "let me see"
    assert short(last) == [("thinking", "let me see"), ("text", "4")]
    choice = {"index": 0, "message": {"role": "assistant", name: "see", "content": "4"}, "finish_reason": "stop"}
    whole = BaseMessage.from_openai_chat_response({"choices": [choice]})
    assert short(whole) == [("thinking", "see"), ("text", "4")]


def test_a_signature_of_a_call_in_openais_shape():
    signed = {"extra_content": {"google": {"thought_signature": "S"}}}
    last = together(
        chunk({"tool_calls": [{**call(0, "a", "f", ""), **signed}]}), chunk({"tool_calls": [call(0, arguments="{}")]}),
        chunk({}, "tool_calls"),
    )[-1]  # fmt: skip
    assert last.to_openai_message()["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **signed}
    ]


# ---- sent


def thought_and_called():
    details = {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "look", "signature": "S"}]}
    return together(
        chunk({"reasoning": "look", **details}),
        chunk({"tool_calls": [call(0, "c", "f", "{}")]}),
        chunk({}, "tool_calls"),
    )[-1]


def test_what_profiles_ask_for():
    asked = thought_and_called()
    plain = {"role": "assistant", "content": "", "name": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}  # fmt: skip
    assert asked.to_openai_message() == asked.to_openai_message(Profile()) == plain
    for name in ("reasoning_content", "reasoning"):
        assert asked.to_openai_message(Profile(returns_reasoning=name)) == {**plain, name: "look"}
    details = asked.to_openai_message(Profile(returns_reasoning="reasoning_details"))["reasoning_details"]
    assert details == [{"type": "reasoning.text", "index": 0, "text": "look", "signature": "S"}]
    (said,) = grown([Reasoning("hm"), Text("4"), Done("stop")])
    assert "reasoning_content" not in said.to_openai_message(Profile(returns_reasoning="reasoning_content"))
    assert user("hi").to_openai_message(Profile(sends_names=False)) == {"role": "user", "content": "hi"}


def test_an_order_of_ones_own_goes_out():
    message = BaseMessage.from_parts("user", [TextPart("first", CACHED), ImagePart(WEB), TextPart("then")])
    assert message.to_openai_message()["content"] == [
        {"type": "text", "text": "first", **CACHED},
        {"type": "image_url", "image_url": {"url": WEB, "detail": "auto"}},
        {"type": "text", "text": "then"},
    ]
    own = BaseMessage.from_parts("user", [ProviderPart({"type": "file", "file": {"file_id": "f"}})])
    assert own.to_openai_message()["content"] == [{"type": "file", "file": {"file_id": "f"}}]
    (painted,) = grown([Text("Here."), Image(PNG_URI)])
    assert painted.to_openai_message()["content"] == "Here."


def test_anthropics_blocks_go_back_as_they_came():
    last = grown(*STREAM)[-1]
    assert last.to_openai_message(ANTHROPIC) == {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "let me see", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "text", "text": "It is "},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "text", "text": "so."},
    ]}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "url", "expected"),
    [
        ("gpt-4o", None, Profile()),
        ("gpt-4o", "https://api.openai.com/v1", Profile()),
        ("gpt-5-mini", None, Profile(max_tokens="max_completion_tokens")),
        ("o3", "https://eu.api.openai.com/v1", Profile(max_tokens="max_completion_tokens")),
        ("gpt-5-mini", "http://127.0.0.1:8000/v1", Profile()),
        ("mistral-large-latest", "https://api.mistral.ai/v1", Profile(sends_names=False, max_tokens="max_tokens")),
        ("mistralai/Ministral-8B", "http://vllm:8000/v1", Profile(sends_names=False, max_tokens="max_tokens")),
        ("deepseek-chat", "https://api.deepseek.com", Profile(returns_reasoning="reasoning_content", schemas="json_object")),
        ("Qwen3-8B", "http://127.0.0.1:8000/v1", Profile(returns_reasoning="reasoning_content")),
        ("openai/gpt-oss-20b", "http://127.0.0.1:8000/v1", Profile(returns_reasoning="reasoning")),
        ("x/y", "https://openrouter.ai/api/v1", Profile(returns_reasoning="reasoning_details")),
        ("x", "https://notmistral.ai.example.com", Profile()),
        ("x", "not an address", Profile()),
    ],
)  # fmt: skip
def test_whose_profile_it_is(model, url, expected):
    assert profile_of(model, url) == expected


def test_a_backend_asks_by_its_profile(openai):
    own = Profile(sends_names=False, max_tokens="max_completion_tokens", schemas="plain")
    backend = OpenAIChatBackend("fixed", profile=own)
    backend.run(user("x"), max_tokens=3)
    assert openai.chats[-1].body["messages"] == [{"role": "user", "content": "x"}]
    assert openai.chats[-1].body["max_completion_tokens"] == 3
    assert "max_tokens" not in openai.chats[-1].body
    backend.close()
    mute = ScriptedBackend(answers=["x"])
    mute.profile = Profile(supports_tools=False)
    with pytest.raises(NotImplementedError, match="calls no tools"):
        mute.run(user("x"), tools=[{"type": "function", "function": {"name": "f"}}])
    assert mute.run(user("x"), tools=[]).content == "x"


def test_pictures_are_checked_in_parts_too(tmp_path):
    (tmp_path / "a.png").write_bytes(base64.b64decode(PNG_URI.partition(",")[2]))
    message = BaseMessage.from_parts("user", [ImagePart(str(tmp_path / "a.png"))])
    assert message.images == [PNG_URI]
