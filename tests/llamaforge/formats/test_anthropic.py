"""Anthropic's Messages API in both directions, held against the SDK's own types."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.anthropic import Decoder
from llamaforge.events.parts import Growing, Part, Reducer
from llamaforge.exceptions import ParameterError
from llamaforge.formats import anthropic_server
from llamaforge.formats.anthropic import encode_request
from llamaforge.formats.anthropic_server import Renderer, decode_request
from llamaforge.formats.fields import INVALID_JSON

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
REQUEST = TypeAdapter(MessageCreateParamsNonStreaming)
STREAMED = TypeAdapter(RawMessageStreamEvent)


def decode(*values: Any) -> list[Event]:
    decoder = Decoder()
    events = [event for value in values for event in decoder.decode(json.dumps(value).encode())]
    assert decoder.lost == 0
    return events


def encode(**fields: Any) -> dict[str, Any]:
    """A request, of which the SDK's types say that it is one."""
    encoded = encode_request({"model": "claude", "messages": [{"role": "user", "content": "hi"}], **fields})
    REQUEST.validate_python(json.loads(json.dumps(encoded)))
    return encoded


def block(index: int, begin: dict[str, Any], *deltas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": begin}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def streamed(data: bytes) -> list[dict[str, Any]]:
    """The events in a stream's bytes, each of which the SDK's types know."""
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        name, text = event.split("\n")
        value = json.loads(text.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        if value["type"] not in {"ping", "error"}:
            STREAMED.validate_python(value)
        found.append(value)
    return found


def rendered(events: list[Event]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Events as a stream and as a whole message."""
    renderer = Renderer("tiny")
    data = renderer.begin() + b"".join(renderer.add(event) for event in events) + renderer.end()
    whole = renderer.whole()
    Message.model_validate(json.loads(json.dumps(whole)))
    return streamed(data), whole


def parts(events: list[Event]) -> list[tuple[str, str, str, str]]:
    reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
    for event in events:
        reducer.add(event)
    return [(part.kind, part.call_id, part.name, part.text) for part in reducer.parts]


class TestDecoder:
    def test_a_stream(self) -> None:
        usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}
        events = decode(
            {"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}},
            {"type": "ping"},
            *block(0, {"type": "thinking", "thinking": "", "signature": ""},
                   {"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "s"}),
            *block(1, {"type": "redacted_thinking", "data": "x"}),
            *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Yes"}, {"type": "text_delta", "text": "."}),
            *block(3, {"type": "tool_use", "id": "t", "name": "weather", "input": {}},
                   {"type": "input_json_delta", "partial_json": ""}, {"type": "input_json_delta", "partial_json": '{"a":'},
                   {"type": "input_json_delta", "partial_json": "1}"}),
            *block(4, {"type": "tool_use", "id": "u", "name": "now", "input": {}}),
            {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
             "usage": {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 4}}},
            {"type": "message_stop"},
        )  # fmt: skip
        first, *others, done, last = events
        assert isinstance(first, Usage)
        assert (first.prompt, first.completion, first.cached, first.reasoning) == (17, 1, 5, None)
        assert others == [
            Reasoning("hm", None, details={"thinking_blocks": [
                {"type": "thinking", "index": 0, "thinking": "hm", "signature": ""}]}),
            Reasoning("", "s", details={"thinking_blocks": [
                {"type": "thinking", "index": 0, "thinking": "", "signature": "s"}]}),
            Reasoning("", details={"thinking_blocks": [{"type": "redacted_thinking", "index": 1, "data": "x"}]}),
            Text("Yes"), Text("."),
            ToolCall(0, "t", "weather"), ToolCall(0, arguments='{"a":'), ToolCall(0, arguments="1}"),
            ToolCall(1, "u", "now"), ToolCall(1, arguments="{}"),
        ]  # fmt: skip
        assert done == Done("tool_calls", details={"stop_reason": "tool_use"})
        assert isinstance(last, Usage)
        assert (last.prompt, last.completion, last.cached, last.reasoning) == (17, 20, 5, 4)
        assert last.raw["prompt_tokens"] == 17
        assert last.raw["cache_creation_input_tokens"] == 2

    def test_a_whole_message_says_the_same_as_its_stream(self) -> None:
        content = [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Yes."},
            {"type": "tool_use", "id": "t", "name": "weather", "input": {"a": 1}},
            {"type": "tool_use", "id": "u", "name": "now", "input": {}},
        ]  # fmt: skip
        whole = {"type": "message", "content": content, "stop_reason": "max_tokens", "usage": {"input_tokens": 1}}
        events = decode(whole)
        assert parts(events) == [
            ("reasoning", "", "", "hm"), ("text", "", "", "Yes."),
            ("call", "t", "weather", '{"a":1}'), ("call", "u", "now", "{}"),
        ]  # fmt: skip
        assert events[-2] == Done("length", details={"stop_reason": "max_tokens"})

    def test_thinking_goes_back_as_it_came(self) -> None:
        blocks = [
            {"type": "thinking", "thinking": "a b", "signature": "s1"}, {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "c", "signature": "s2"},
        ]  # fmt: skip
        reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
        for event in decode(
            *block(0, {"type": "thinking"}, {"type": "thinking_delta", "thinking": "a "},
                   {"type": "thinking_delta", "thinking": "b"}, {"type": "signature_delta", "signature": "s1"}),
            *block(1, blocks[1]), *block(2, blocks[2]),
        ):  # fmt: skip
            reducer.add(event)
        details = reducer.parts[0].details
        assert details is not None
        message = {"role": "assistant", "content": "d", **details.value()}
        assert encode(messages=[message])["messages"][0]["content"] == [*blocks, {"type": "text", "text": "d"}]

    def test_sources_and_what_has_no_address(self) -> None:
        page = {"type": "web_search_result_location", "url": "https://a.example/", "title": "A", "cited_text": "says"}
        place = {"type": "char_location", "cited_text": "b", "document_index": 0}
        found = {"type": "web_search_result", "url": "https://c.example/", "title": "C", "encrypted_content": "x"}
        events = decode(
            *block(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                   {"type": "input_json_delta", "partial_json": "{}"}),
            *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]}),
            *block(2, {"type": "text", "text": "", "citations": None}, {"type": "citations_delta", "citation": page},
                   {"type": "citations_delta", "citation": place}),
            *block(3, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}),
        )  # fmt: skip
        assert events == [
            Source("https://c.example/", "C"), Source("https://a.example/", "A", "says"),
            Text("", details={"citation": place}), Image("data:image/png;base64,QQ=="),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
         ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
         ("new_one", "new_one")],
    )  # fmt: skip
    def test_stop_reasons(self, reason: str, finish: str) -> None:
        decoder = Decoder()
        assert decoder.read({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": "X"}}) == [
            Done(finish, details={"stop_reason": reason, "stop_sequence": "X"})
        ]
        assert decoder.finished

    def test_a_refusal_is_explained(self) -> None:
        details = {"type": "refusal", "explanation": "Not that.", "category": "bio"}
        events = decode({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}})
        assert events[0] == Refusal("Not that.")

    @pytest.mark.parametrize(
        ("kind", "status"),
        [("overloaded_error", 529), ("rate_limit_error", 429), ("invalid_request_error", 400), (7, 502)],
    )
    def test_errors(self, kind: Any, status: int) -> None:
        body = {"type": "error", "error": {"type": kind, "message": "No."}}
        decoder = Decoder()
        assert decoder.read(body) == [Error("No.", status, body)]
        assert decoder.error == Error("No.", status, body)
        assert not decoder.finished

    @pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"null", b'"a"', b"[" * 5000])
    def test_what_is_no_event(self, payload: bytes) -> None:
        decoder = Decoder()
        assert decoder.decode(payload) == []
        assert decoder.lost == 1

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_any_value_in_any_field(self, data: st.DataObject) -> None:
        names = st.sampled_from(
            ["type", "index", "delta", "content_block", "text", "message", "usage", "content", "error"]
        )
        plain = st.none() | st.booleans() | st.integers() | st.text()
        junk = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=6)
        event = {
            "type": data.draw(st.sampled_from(["message_start", "message_delta", "message", "content_block_start",
                                               "content_block_delta", "content_block_stop", "error"])),
            "index": data.draw(st.integers(0, 3) | junk),
        }  # fmt: skip
        kinds = ["text", "thinking", "tool_use", "image", "text_delta", "citations_delta", "web_search_tool_result"]
        inner = {
            name: data.draw(junk)
            for name in ("text", "thinking", "input", "source", "id", "citation", "content", "usage")
        }
        inner["type"] = data.draw(st.sampled_from(kinds) | junk)
        for name in ("delta", "content_block", "message", "error"):
            event[name] = data.draw(st.just(inner) | junk)
        for found in Decoder().decode(json.dumps(event).encode()):
            assert isinstance(found, Event)


class TestEncoding:
    def test_a_plain_request(self) -> None:
        assert encode(max_tokens=None) == {
            "model": "claude",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            "max_tokens": 8192,
        }

    def test_parameters(self) -> None:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        encoded = encode(
            max_completion_tokens=5, stop="END", user="u", tools=[TOOL], parallel_tool_calls=False, stream=False, top_k=3,
            reasoning_effort="minimal", n=1, seed=None, presence_penalty=0.0, thinking={"type": "adaptive"},
            stream_options={"include_usage": True},
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        )  # fmt: skip
        del encoded["messages"]
        assert encoded == {
            "model": "claude", "max_tokens": 5, "stop_sequences": ["END"], "metadata": {"user_id": "u"}, "stream": False,
            "top_k": 3, "thinking": {"type": "adaptive"},
            "tools": [{"name": "weather", "description": "Of a city", "input_schema": TOOL["function"]["parameters"]}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        }  # fmt: skip
        assert encode(reasoning_effort="none")["thinking"] == {"type": "disabled"}

    @pytest.mark.parametrize(
        ("choice", "encoded"),
        [("auto", {"type": "auto"}), ("none", {"type": "none"}), ("required", {"type": "any"}), (None, None),
         ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"})],
    )  # fmt: skip
    def test_tool_choice(self, choice: Any, encoded: Any) -> None:
        assert encode(tools=[TOOL], tool_choice=choice).get("tool_choice") == encoded

    def test_messages(self) -> None:
        url = f"data:image/png;base64,{PICTURE}"
        encoded = encode(
            messages=[
                {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "name": "ann", "content": [
                    {"type": "text", "text": "See"}, {"type": "text", "text": ""},
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}}]},
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": [
                    CALL, {**CALL, "id": "c2", "function": {"name": "now", "arguments": ""}},
                    {**CALL, "id": "c3", "function": {"name": "now", "arguments": '{"a"'}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "warm"},
                {"role": "tool", "tool_call_id": "c2", "content": "", "is_error": True},
                {"role": "tool", "tool_call_id": "c3", "content": [{"type": "image_url", "image_url": {"url": url}}]},
                {"role": "developer", "content": "In French."},
                {"role": "user", "content": "And?"},
                {"role": "assistant", "content": ""},
            ]
        )  # fmt: skip
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
        assert encoded["system"] == [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "In French."},
        ]
        assert encoded["messages"] == [
            {"role": "user", "content": [
                {"type": "text", "text": "See"}, image,
                {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
                {"type": "tool_use", "id": "c3", "name": "now", "input": {INVALID_JSON: '{"a"'}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "warm"}]},
                {"type": "tool_result", "tool_use_id": "c2", "is_error": True},
                {"type": "tool_result", "tool_use_id": "c3", "content": [image]},
                {"type": "text", "text": "And?"}]},
        ]  # fmt: skip

    def test_parts_in_order_are_kept_in_order(self) -> None:
        content = [
            {"type": "thinking", "thinking": "a", "signature": "s", "index": 0}, {"type": "text", "text": "b"},
            {"type": "thinking", "thinking": "c", "signature": "t", "index": 2},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
        ]  # fmt: skip
        found = encode(messages=[{"role": "assistant", "content": content}])["messages"][0]["content"]
        assert found == [{name: value for name, value in part.items() if name != "index"} for part in content]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"seed": 1}, "no 'seed'"), ({"n": 2}, "no 'n'"), ({"frequency_penalty": 0.5}, "no 'frequency_penalty'"),
            ({"response_format": {"type": "json_object"}}, "without a schema"),
            ({"response_format": {"type": "json_schema"}}, "with a schema"),
            ({"tools": [TOOL], "tool_choice": "maybe"}, "'tool_choice'"), ({"tools": [TOOL], "tool_choice": 3}, "'tool_choice'"),
            ({"tools": [TOOL], "tool_choice": {"function": {}}}, "'tool_choice'"), ({"tools": ["a"]}, "'tools'"),
            ({"tools": [{"type": "function", "function": {}}]}, "'name'"),
            ({"messages": ["a"]}, "list of objects"), ({"messages": [{"role": "robot"}]}, "role 'robot'"),
            ({"messages": [{"role": "user", "content": 3}]}, "content"),
            ({"messages": [{"role": "user", "content": [{}]}]}, "'type'"),
            ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "sound"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "data: URL"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png,xx"}]}]}, "base64"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]}, "http"),
            ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "'tool_calls'"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            encode(**fields)


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


CLAUDE_CODE = ask(
    system=[{"type": "text", "text": "You are Claude.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief."}],
    tools=[{"name": "Bash", "description": "Runs",
            "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}],
    metadata={"user_id": "user_1"}, stream=True, temperature=1, thinking={"type": "enabled", "budget_tokens": 1024},
    context_management={"edits": []}, tool_choice={"type": "auto"}, top_p=0.9, top_k=5, stop_sequences=["END"],
    output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    messages=[
        {"role": "user", "content": [{"type": "text", "text": "<reminder>"}, {"type": "text", "text": "list"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "I list."},
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}, "cache_control": {"type": "ephemeral"}},
            {"type": "tool_use", "id": "t2", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "a.txt"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [
                {"type": "text", "text": "no"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}]},
            {"type": "document", "title": "D", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "text", "text": "go on"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t3", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t3"}]},
        {"role": "system", "content": [{"type": "text", "text": "Now in French."}]},
    ],
)  # fmt: skip


class TestDecoding:
    def test_a_request_as_claude_code_makes_them(self) -> None:
        REQUEST.validate_python({name: value for name, value in CLAUDE_CODE.items() if name != "stream"})
        decoded = decode_request(json.dumps(CLAUDE_CODE).encode())
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
        bash = CLAUDE_CODE["tools"][0]
        calls = [("t1", '{"command":"ls"}'), ("t2", "{}"), ("t3", "{}")]
        first, second, third = (
            {"id": name, "type": "function", "function": {"name": "Bash", "arguments": arguments}}
            for name, arguments in calls
        )
        assert decoded.pop("messages") == [
            {"role": "system", "content": "You are Claude.\n\nBe brief."},
            {"role": "user", "content": "<reminder>\n\nlist"},
            {"role": "assistant", "content": "I list.", "reasoning_content": "hm", "tool_calls": [first, second]},
            {"role": "tool", "tool_call_id": "t1", "content": "a.txt"},
            {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
            {
                "role": "user",
                "content": [image, {"type": "text", "text": "D\nwords"}, {"type": "text", "text": "go on"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [third]},
            {"role": "tool", "tool_call_id": "t3", "content": ""},
            {"role": "system", "content": "Now in French."},
        ]
        assert decoded == {
            "model": "tiny", "max_tokens": 9, "temperature": 1.0, "top_p": 0.9, "top_k": 5, "stop": ["END"], "user": "user_1",
            "stream": True, "stream_options": {"include_usage": True}, "tool_choice": "auto",
            "reasoning_effort": "high",
            "tools": [{"type": "function", "function": {
                "name": "Bash", "description": "Runs", "parameters": bash["input_schema"]}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("choice", "decoded"),
        [({"type": "any"}, {"tool_choice": "required"}), ({"type": "none"}, {"tool_choice": "none"}),
         ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
         ({"type": "tool", "name": "a"}, {"tool_choice": {"type": "function", "function": {"name": "a"}}})],
    )  # fmt: skip
    def test_tool_choice(self, choice: Any, decoded: dict[str, Any]) -> None:
        found = decode_request(ask(tools=[{"name": "a", "input_schema": {}}], tool_choice=choice))
        assert {name: found[name] for name in ("tool_choice", "parallel_tool_calls") if name in found} == decoded

    def test_thinking_can_be_switched_off(self) -> None:
        assert decode_request(ask(thinking={"type": "disabled"}))["reasoning_effort"] == "none"
        assert "reasoning_effort" not in decode_request(ask(thinking={"type": "enabled", "budget_tokens": 1024}))

    def test_a_request_for_a_count_needs_no_limit(self) -> None:
        counted = {name: value for name, value in ask().items() if name != "max_tokens"}
        assert decode_request(counted, only_counted=True) == {"model": "tiny", "messages": ask()["messages"]}
        with pytest.raises(ParameterError, match="max_tokens"):
            decode_request(counted)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": "9"}, "max_tokens"), ({"messages": []}, "messages"),
            ({"model": None}, "model"), ({"messages": "hi"}, "messages"), ({"system": 3}, "system"),
            ({"mcp_servers": [{}]}, "mcp_servers"), ({"tools": [{"name": "s", "type": "web_search_20250305"}]}, "Anthropic"),
            ({"tools": [{"name": "s"}]}, "input_schema"), ({"tools": [{"name": "", "input_schema": {}}]}, "name"),
            ({"tools": [{"name": "a", "input_schema": {}}], "tool_choice": {"type": "tool"}}, "'name'"),
            ({"stream": "yes"}, "stream"), ({"output_config": {"format": {"type": "xml"}}}, "output_config"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            decode_request(ask(**fields))

    @pytest.mark.parametrize(
        ("role", "block", "words"),
        [
            ("user", {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/"}}, "no addresses"),
            ("user", {"type": "image", "source": {"type": "base64", "media_type": "text/html", "data": "QQ=="}}, "media_type"),
            ("user", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "@"}}, "base64"),
            ("user", {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}, "as text"),
            ("user", {"type": "server_tool_use", "id": "a"}, "server_tool_use"), ("user", {}, "type"), ("user", 3, "content"),
            ("user", {"type": "tool_use", "id": "a", "name": "b", "input": {}}, "'tool_use'"),
            ("assistant", {"type": "tool_result", "tool_use_id": "a"}, "'tool_result'"),
            ("assistant", {"type": "tool_use", "id": "a", "name": "b", "input": "{}"}, "input"),
            ("assistant", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}, "'image'"),
            ("system", {"type": "tool_result", "tool_use_id": "a"}, "'tool_result'"),
            ("robot", {"type": "text", "text": ""}, "role"),
        ],
    )  # fmt: skip
    def test_blocks_that_are_refused(self, role: str, block: Any, words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            decode_request(ask(messages=[{"role": role, "content": [block]}]))

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"a":' * 5000])
    def test_what_is_no_request(self, body: bytes) -> None:
        with pytest.raises(ParameterError):
            decode_request(body)

    def test_a_wrong_value_in_every_place(self) -> None:
        for wrong in (None, True, 7, -1, 1e400, "a", [], [3], {}, {"type": "text"}, [{"type": []}]):
            for changed in everywhere(CLAUDE_CODE, wrong):
                try:
                    decode_request(json.dumps(changed).encode())
                except ParameterError:
                    continue


def everywhere(value: Any, wrong: Any) -> Iterator[Any]:
    """`value` with `wrong` in each of its places in turn."""
    yield wrong
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: changed} for changed in everywhere(inner, wrong))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in everywhere(inner, wrong))


class TestRendering:
    def test_a_stream_and_a_whole_message(self) -> None:
        usage = Usage(12, 7, 2)
        events = [
            Reasoning("h"), Reasoning("m", "sig"), Text("Ye"), Text("s."), ToolCall(0, "t", "weather"),
            ToolCall(0, arguments='{"a"'), ToolCall(1, "u", "now"), ToolCall(0, arguments=":1}"), ToolCall(1, arguments="{}"),
            Done("tool_calls"), usage,
        ]  # fmt: skip
        stream, whole = rendered(events)
        counted = {
            "input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 7,
        }  # fmt: skip
        assert [event["type"].removeprefix("content_block_") for event in stream] == [
            "message_start", "ping", "start", "delta", "delta", "delta", "stop", "start", "delta", "delta", "stop",
            "start", "delta", "delta", "stop", "start", "delta", "stop", "message_delta", "message_stop",
        ]  # fmt: skip
        assert whole["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "Yes."},
            {"type": "tool_use", "id": "t", "name": "weather", "input": {"a": 1}},
            {"type": "tool_use", "id": "u", "name": "now", "input": {}},
        ]  # fmt: skip
        assert whole["stop_reason"] == "tool_use"
        assert whole["usage"] == stream[-2]["usage"] == counted
        assert parts(decode(*stream)) == parts(decode(whole)) == parts(list(events))

    @pytest.mark.parametrize(
        ("event", "reason"),
        [(Done("stop"), "end_turn"), (Done("length"), "max_tokens"), (Done("content_filter"), "refusal"),
         (Done("strange"), "end_turn"), (Done("stop", details={"stop_reason": "pause_turn"}), "pause_turn")],
    )  # fmt: skip
    def test_stop_reasons(self, event: Done, reason: str) -> None:
        stream, whole = rendered([Text("a"), event])
        assert whole["stop_reason"] == stream[-2]["delta"]["stop_reason"] == reason

    def test_a_stop_sequence_is_named(self) -> None:
        done = Done("stop", details={"stop_reason": "stop_sequence", "stop_sequence": "END"})
        assert rendered([done])[1]["stop_sequence"] == "END"

    def test_calls_that_say_stop_are_calls_anyway(self) -> None:
        assert rendered([ToolCall(0, "t", "now", "{}"), Done("stop")])[1]["stop_reason"] == "tool_use"

    def test_an_answer_of_nothing(self) -> None:
        stream, whole = rendered([])
        assert [event["type"] for event in stream] == ["message_start", "ping", "message_delta", "message_stop"]
        assert whole["content"] == []

    def test_a_piece_that_comes_too_late_spoils_nothing(self) -> None:
        events = [ToolCall(0, "t", "now", "{}"), Text("a"), ToolCall(0, arguments=" "), Text("b"), Done("stop")]
        assert parts(decode(*rendered(events)[0])) == [("call", "t", "now", "{}"), ("text", "", "", "ab")]

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"), (413, "request_too_large"),
         (415, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (501, "api_error"),
         (503, "overloaded_error")],
    )  # fmt: skip
    def test_errors(self, status: int, kind: str) -> None:
        data = Renderer("tiny").add(Error("No.", status))
        assert streamed(data) == [{"type": "error", "error": {"type": kind, "message": "No."}}]
        assert Decoder().decode(anthropic_server.error_body(status, "No."))[0].detail == "No."  # type: ignore[union-attr]

    @given(st.lists(st.one_of(
        st.builds(Text, st.text()), st.builds(Reasoning, st.text(), st.none() | st.text()),
        st.builds(Refusal, st.text(min_size=1)),
        st.builds(ToolCall, st.integers(0, 2), st.sampled_from(["a", "b"]), st.just("f"), st.just("")),
        st.just(Done("stop")), st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    )))  # fmt: skip
    @settings(max_examples=200, deadline=None)
    def test_any_events(self, events: list[Event]) -> None:
        stream, whole = rendered(events)
        begun = [event["index"] for event in stream if event["type"] == "content_block_start"]
        ended = [event["index"] for event in stream if event["type"] == "content_block_stop"]
        assert begun == ended == list(range(len(whole["content"])))
        assert [part[3] for part in parts(decode(*stream))] == [part[3] for part in parts(decode(whole))]

    async def test_the_sdk_reads_it(self) -> None:
        events = [Text("Yes"), Text("."), ToolCall(0, "t", "weather", '{"a":1}'), Done("tool_calls"), Usage(3, 4)]

        def answer(request: httpx2.Request) -> httpx2.Response:
            renderer = Renderer("tiny")
            data = [renderer.begin(), *map(renderer.add, events), renderer.end()]
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(data))

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
        client = anthropic.AsyncAnthropic(api_key="k", base_url="http://a", http_client=http)
        async with client, client.messages.stream(**ask()) as stream:  # type: ignore[arg-type]
            texts = [text async for text in stream.text_stream]
            message = await stream.get_final_message()
        assert texts == ["Yes", "."]
        assert message.content[1].input == {"a": 1}  # type: ignore[union-attr]
        assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize("wrong", [None, 7, "a", [], {}])
def test_requests_of_any_form_are_encoded_or_refused(wrong: Any) -> None:
    for changed in everywhere(decode_request(CLAUDE_CODE), wrong):
        try:
            encode_request(changed if isinstance(changed, dict) else {"messages": changed})
        except ParameterError:
            continue


def test_a_request_survives_both_directions() -> None:
    once = decode_request(CLAUDE_CODE)
    encoded = encode_request(once)
    once["messages"] = [message for message in once["messages"] if message["role"] != "system"]
    again = decode_request(encoded)
    again["messages"] = [message for message in again["messages"] if message["role"] != "system"]
    for message in (*once["messages"], *again["messages"]):
        message.pop("reasoning_content", None)
    assert again == once


def test_calls_without_an_id_have_one_each_and_the_same_in_stream_and_whole() -> None:
    events, whole = rendered([ToolCall(0, None, "f", "{}"), ToolCall(1, "", "g", "{}"), ToolCall(2, "c", "h", "{}")])
    begun = [event["content_block"]["id"] for event in events if event["type"] == "content_block_start"]
    assert begun == [block["id"] for block in whole["content"]]
    assert len(set(begun)) == 3
    assert begun[0].startswith("call-")
    assert begun[2] == "c"
