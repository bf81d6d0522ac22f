"""OpenAI's Responses API as a server speaks it, held against the SDK's own types."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.parts import Growing, Part, Reducer
from llamaforge.exceptions import ParameterError
from llamaforge.formats.responses import Renderer, decode_request
from tests.llamaforge.formats.test_anthropic import everywhere
from tests.support.responses import Decoder

PICTURE = "data:image/png;base64,QQ=="
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Of a city",
    "parameters": {"type": "object"},
    "strict": False,
}
REQUEST = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMED = TypeAdapter(ResponseStreamEvent)


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": "hi", **fields}


FULL = ask(
    instructions="Be brief.", tools=[TOOL], tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False,
    text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
    reasoning={"effort": "low", "summary": "auto"}, max_output_tokens=9, temperature=0.5, top_p=0.9, user="u",
    store=False, include=["reasoning.encrypted_content"], metadata={"a": "b"}, truncation="disabled",
    input=[
        {"role": "developer", "content": "In French."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"},
        {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "I ask.", "annotations": []}]},
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call", "call_id": "c2", "name": "now", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "warm"}, {"type": "input_image", "image_url": PICTURE}]},
        {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "So."},
    ],
)  # fmt: skip


def rendered(events: list[Event], request: dict[str, Any] | None = None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    renderer = Renderer("tiny", request or ask())
    data = renderer.begin() + b"".join(renderer.add(event) for event in events) + renderer.end()
    whole = renderer.whole()
    Response.model_validate(json.loads(json.dumps(whole)))
    return streamed(data), whole


def streamed(data: bytes) -> list[dict[str, Any]]:
    """The events in a stream's bytes, each of which the SDK's types know."""
    found = []
    for number, event in enumerate(data.decode().split("\n\n")[:-1]):
        name, text = event.split("\n")
        value = json.loads(text.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        assert value["sequence_number"] == number
        STREAMED.validate_python(value)
        found.append(value)
    return found


class TestDecoding:
    def test_a_plain_request(self) -> None:
        assert decode_request(b'{"input": "hi"}') == {"messages": [{"role": "user", "content": "hi"}]}

    def test_a_full_request(self) -> None:
        REQUEST.validate_python(FULL)
        decoded = decode_request(json.dumps(FULL).encode())
        call = {"type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        image = {"type": "image_url", "image_url": {"url": PICTURE}}
        assert decoded.pop("messages") == [
            {"role": "system", "content": "Be brief."}, {"role": "system", "content": "In French."},
            {"role": "user", "content": [{"type": "text", "text": "See"}, image]},
            {"role": "assistant", "content": "I ask.", "reasoning_content": "hm", "tool_calls": [
                {"id": "c1", **call}, {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "warm"},
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
            {"role": "user", "content": [image]},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "So."},
        ]  # fmt: skip
        function = {"name": "weather", "description": "Of a city", "parameters": {"type": "object"}, "strict": False}
        assert decoded == {
            "model": "tiny", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "user": "u", "parallel_tool_calls": False,
            "tools": [{"type": "function", "function": function}], "reasoning_effort": "low",
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "response_format": {
                "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}},
        }  # fmt: skip

    def test_the_plainest_shapes_and_streams(self) -> None:
        decoded = decode_request(ask(text={"format": {"type": "json_object"}}, tool_choice="required", stream=True))
        assert decoded["response_format"] == {"type": "json_object"}
        assert decoded["tool_choice"] == "required"
        assert decoded["stream_options"] == {"include_usage": True}
        assert "response_format" not in decode_request(ask(text={"format": {"type": "text"}}))

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"previous_response_id": "resp_1"}, "'previous_response_id'"), ({"conversation": "c"}, "'conversation'"),
            ({"prompt": {"id": "p"}}, "'prompt'"), ({"background": True}, "'background'"), ({"input": None}, "input"),
            ({"input": 3}, "input"), ({"input": [3]}, "input"), ({"input": [{"content": "hi"}]}, "no 'role'"),
            ({"input": [{"role": "robot", "content": "hi"}]}, "role"),
            ({"input": [{"type": "web_search_call", "id": "w"}]}, "web_search_call"),
            ({"input": [{"type": "function_call", "call_id": "c"}]}, "'name'"),
            ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "'output'"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://10.0.0.1/"}]}]}, "data: URL"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "data: URL"),
            ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input_file"),
            ({"tools": [{"type": "web_search"}]}, "web_search"), ({"tools": [{"type": "function"}]}, "no 'name'"),
            ({"tool_choice": {"type": "web_search"}}, "'tool_choice'"), ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "'schema'"), ({"stream": 1}, "stream"),
            ({"temperature": "hot"}, "temperature"), ({"instructions": 3}, "instructions"), ({"metadata": {"a": 1}}, "metadata"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            decode_request(ask(**fields))

    def test_a_wrong_value_in_every_place(self) -> None:
        for wrong in (None, True, 7, -1, "a", [], [3], {}, {"type": "text"}, [{"type": []}]):
            for changed in everywhere(FULL, wrong):
                try:
                    decode_request(json.dumps(changed).encode())
                except ParameterError:
                    continue


class TestRendering:
    def test_a_stream_and_a_whole_response(self) -> None:
        stream, whole = rendered([
            Reasoning("h"), Reasoning("m"), Text("Ye"), Text("s."), ToolCall(0, "c1", "weather"),
            ToolCall(0, arguments='{"a"'), ToolCall(1, "c2", "now"), ToolCall(0, arguments=":1}"), ToolCall(1, arguments="{}"),
            Done("tool_calls"), Usage(10, 7, 2, 1),
        ], FULL)  # fmt: skip
        assert [event["type"].removeprefix("response.") for event in stream] == [
            "created", "in_progress",
            "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done",
            "content_part.done", "output_item.done",
            "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
            "content_part.done", "output_item.done",
            "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
            "function_call_arguments.done", "output_item.done",
            "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
            "completed",
        ]  # fmt: skip
        assert stream[-1]["response"] == whole
        assert [event["item"] for event in stream if event["type"] == "response.output_item.done"] == whole["output"]
        assert whole["status"] == "completed"
        assert whole["usage"] == {
            "input_tokens": 10, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 17,
        }  # fmt: skip
        assert (whole["tools"], whole["instructions"], whole["metadata"]) == ([TOOL], "Be brief.", {"a": "b"})
        response = Response.model_validate(whole)
        assert response.output_text == "Yes."
        assert [(item["type"], item.get("name")) for item in whole["output"]] == [
            ("reasoning", None), ("message", None), ("function_call", "weather"), ("function_call", "now"),
        ]  # fmt: skip

    def test_an_answer_that_was_cut(self) -> None:
        stream, whole = rendered([Text("a"), Done("length")])
        assert stream[-1]["type"] == "response.incomplete"
        assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
        assert whole["output"][0]["status"] == stream[-2]["item"]["status"] == "incomplete"

    def test_a_refusal(self) -> None:
        _, whole = rendered([Refusal("No."), Done("stop")])
        assert whole["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]

    @pytest.mark.parametrize(
        ("status", "code"), [(400, "invalid_prompt"), (429, "rate_limit_exceeded"), (500, "server_error")]
    )
    def test_an_error_in_a_stream(self, status: int, code: str) -> None:
        renderer = Renderer("tiny", ask())
        data = renderer.begin() + renderer.add(Text("a")) + renderer.add(Error("Broke.", status))
        *_, last = streamed(data)
        assert last["type"] == "response.failed"
        assert last["response"]["error"] == {"code": code, "message": "Broke."}
        assert last["response"]["output"][0]["content"][0]["text"] == "a"

    @given(st.lists(st.one_of(
        st.builds(Text, st.text()), st.builds(Reasoning, st.text()), st.builds(Refusal, st.text(min_size=1)),
        st.builds(ToolCall, st.integers(0, 2), st.sampled_from(["a", "b"]), st.just("f"), st.just("")),
        st.just(Done("stop")), st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    )))  # fmt: skip
    @settings(max_examples=100, deadline=None)
    def test_any_events(self, events: list[Event]) -> None:
        stream, whole = rendered(events)
        done = [event["item"] for event in stream if event["type"] == "response.output_item.done"]
        assert [item["id"] for item in done] == [item["id"] for item in whole["output"]]

    def test_what_is_answered_can_be_sent_back(self) -> None:
        _, whole = rendered([Reasoning("hm"), Text("I ask."), ToolCall(0, "c1", "weather", "{}"), Done("tool_calls")])
        output = {"type": "function_call_output", "call_id": "c1", "output": "warm"}
        decoded = decode_request(ask(input=[{"role": "user", "content": "hi"}, *whole["output"], output]))
        assert [message["role"] for message in decoded["messages"]] == ["user", "assistant", "tool"]
        assert decoded["messages"][1]["reasoning_content"] == "hm"

    async def test_the_sdk_reads_it(self) -> None:
        events = [Text("Yes"), Text("."), ToolCall(0, "c1", "weather", '{"a":1}'), Done("tool_calls"), Usage(3, 4)]

        def answer(request: httpx2.Request) -> httpx2.Response:
            renderer = Renderer("tiny", ask())
            data = [renderer.begin(), *map(renderer.add, events), renderer.end()]
            headers = {"content-type": "text/event-stream"}
            return httpx2.Response(200, headers=headers, content=b"".join(data))

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
        client = openai.AsyncOpenAI(api_key="k", base_url="http://a", http_client=http)
        async with client, client.responses.stream(**ask()) as stream:
            kinds = [event.type async for event in stream]
            response = await stream.get_final_response()
        assert kinds[-1] == "response.completed"
        assert response.output_text == "Yes."
        assert response.usage is not None
        assert response.usage.total_tokens == 7


def decode(*values: Any) -> list[Event]:
    decoder = Decoder()
    events = [event for value in values for event in decoder.decode(json.dumps(value).encode())]
    assert decoder.lost == 0
    return events


def answered(events: list[Event]) -> list[tuple[str, str, str, str]]:
    reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
    for event in events:
        reducer.add(event)
    return [(part.kind, part.call_id, part.name, part.text) for part in reducer.parts]


class TestDecoder:
    def test_what_we_render_is_read_back(self) -> None:
        events = [
            Reasoning("hm"), Text("Ye"), Text("s."), ToolCall(0, "c1", "weather", '{"a"'), ToolCall(0, arguments=":1}"),
            ToolCall(1, "c2", "now", "{}"), Refusal("No."), Done("tool_calls"), Usage(10, 7, 2, 1),
        ]  # fmt: skip
        stream, whole = rendered(events)
        assert answered(decode(*stream)) == answered(decode(whole)) == answered(events)
        for found in (decode(*stream), decode(whole)):
            usage = next(event for event in found if isinstance(event, Usage))
            assert (usage.prompt, usage.completion, usage.cached, usage.reasoning) == (10, 7, 2, 1)
            assert found[-1] == Done("tool_calls")
        assert decode(*rendered([Text("a"), Done("length")])[0])[-1] == Done("length")

    def test_reasoning_goes_back_as_it_came(self) -> None:
        item = {
            "type": "reasoning",
            "id": "rs",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "x",
        }
        events = decode(
            {"type": "response.reasoning_summary_text.delta", "output_index": 1, "delta": "hm"},
            {"type": "response.output_item.done", "output_index": 1, "item": item},
        )
        kept = Reasoning("", "x", details={"reasoning_items": [{**item, "index": 1}]})
        assert events == [Reasoning("hm"), kept]
        assert decode({"object": "response", "output": [item]})[0].text == "hm"  # type: ignore[union-attr]

    def test_sources_and_pictures(self) -> None:
        note = {"type": "url_citation", "url": "https://a.example/", "title": "A", "start_index": 0, "end_index": 2}
        image = {"type": "image_generation_call", "result": "QQ==", "output_format": "webp"}
        events = decode(
            {"type": "response.output_text.annotation.added", "annotation": note},
            {"type": "response.output_item.done", "output_index": 0, "item": image},
        )
        assert events == [
            Source("https://a.example/", "A", details={"start_index": 0, "end_index": 2}), Image("data:image/webp;base64,QQ=="),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            ({"type": "error", "code": "rate_limit_exceeded", "message": "No."}, 429),
            ({"type": "error", "code": None, "message": "No."}, 502),
            ({"error": {"code": "invalid_prompt", "message": "No."}}, 400),
            ({"type": "response.failed", "response": {
                "status": "failed", "error": {"code": "server_error", "message": "No."}}}, 502),
        ],
    )  # fmt: skip
    def test_errors(self, value: dict[str, Any], status: int) -> None:
        decoder = Decoder()
        [error] = decoder.read(value)
        assert isinstance(error, Error)
        assert (error.detail, error.status, decoder.error, decoder.finished) == ("No.", status, error, False)

    @pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"null", b'"a"', b"{}", b"[" * 5000])
    def test_what_is_no_event(self, payload: bytes) -> None:
        decoder = Decoder()
        assert decoder.decode(payload) == []
        assert decoder.lost == 1

    def test_a_wrong_value_in_every_place(self) -> None:
        stream, whole = rendered([Reasoning("hm"), Text("a"), ToolCall(0, "c", "f", "{}"), Refusal("b"), Done("stop")])
        for wrong in (None, True, 7, "a", [], [3], {}, {"type": []}):
            for value in (whole, *stream):
                for changed in everywhere(value, wrong):
                    for event in Decoder().decode(json.dumps(changed).encode()):
                        assert isinstance(event, Event)


def test_calls_without_an_id_have_one_each_and_the_same_in_stream_and_whole() -> None:
    events, whole = rendered([ToolCall(0, None, "f", "{}"), ToolCall(1, "", "g", "{}"), ToolCall(2, "c", "h", "{}")])
    begun = [event["item"]["call_id"] for event in events if event["type"] == "response.output_item.added"]
    assert begun == [item["call_id"] for item in whole["output"]]
    assert len(set(begun)) == 3
    assert begun[0].startswith("call-")
    assert begun[2] == "c"
