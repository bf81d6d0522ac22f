"""Gemini's generateContent as a client speaks it, held against the SDK's own types."""

import json
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.gemini import Decoder
from llamaforge.exceptions import ParameterError
from llamaforge.formats.gemini import encode_request

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}


def decode(*values: Any) -> list[Event]:
    decoder = Decoder()
    events = []
    for value in values:
        types.GenerateContentResponse.model_validate(value)
        events += decoder.decode(json.dumps(value).encode())
    assert decoder.lost == 0
    return events


def answer(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


def encode(**fields: Any) -> dict[str, Any]:
    """A request, of which the SDK's types, which take no unknown field, say that it is one."""
    encoded = encode_request({"model": "gemini", "messages": [{"role": "user", "content": "hi"}], **fields})
    for content in (*encoded["contents"], encoded.get("systemInstruction", {"parts": []})):
        types.Content.model_validate(content)
    for tool in encoded.get("tools", ()):
        types.Tool.model_validate(tool)
    types.GenerationConfig.model_validate(encoded.get("generationConfig", {}))
    types.ToolConfig.model_validate(encoded.get("toolConfig", {}))
    return encoded


class TestDecoding:
    def test_a_stream(self) -> None:
        events = decode(
            answer({"text": "hm", "thought": True}),
            answer({"text": "Yes"}),
            answer({"text": ".", "thoughtSignature": "QQ=="}),
            answer({"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "QUI="},
                   {"functionCall": {"id": "x", "name": "now"}}),
            {**answer(finishReason="STOP"), "usageMetadata": {
                "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "cachedContentTokenCount": 4,
                "toolUsePromptTokenCount": 1, "totalTokenCount": 19}},
        )  # fmt: skip
        usage = events.pop()
        assert events == [
            Reasoning("hm"), Text("Yes"), Text(".", details={"google": [{"thought_signature": "QQ=="}]}),
            ToolCall(0, None, "weather", '{"city":"Rome"}', details={"google": [{"thought_signature": "QUI="}]}),
            ToolCall(1, "x", "now", "{}"), Done("tool_calls", details={"finishReason": "STOP"}),
        ]  # fmt: skip
        assert isinstance(usage, Usage)
        assert (usage.prompt, usage.completion, usage.cached, usage.reasoning) == (11, 8, 4, 3)
        assert usage.raw["total_tokens"] == usage.raw["totalTokenCount"] == 19

    def test_other_parts(self) -> None:
        code = {"executableCode": {"language": "PYTHON", "code": "1"}}
        events = decode(
            answer(
                {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}, code,
                citationMetadata={"citations": [{"uri": "https://a.example/", "title": "A", "startIndex": 1}]},
                groundingMetadata={"groundingChunks": [{"web": {"uri": "https://b.example/", "title": "B"}}, {}]},
            )
        )  # fmt: skip
        assert events == [
            Image("data:image/png;base64,QQ=="), Text("", details={"google": [code]}),
            Source("https://a.example/", "A", details={"start_index": 1}), Source("https://b.example/", "B"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
         ("IMAGE_SAFETY", "content_filter"), ("OTHER", "other")],
    )  # fmt: skip
    def test_finish_reasons(self, reason: str, finish: str) -> None:
        decoder = Decoder()
        [done] = decoder.read(answer(finishReason=reason, index=1))
        assert done == Done(finish, 1, {"finishReason": reason})
        assert decoder.finished

    def test_what_is_held_back_says_why(self) -> None:
        assert decode(answer(finishReason="SAFETY", finishMessage="Not that."))[0] == Refusal("Not that.")
        blocked = decode({"promptFeedback": {"blockReason": "SAFETY"}})
        assert blocked == [
            Refusal("The question was refused (SAFETY)."), Done("content_filter", details={"blockReason": "SAFETY"}),
        ]  # fmt: skip

    def test_a_call_that_cannot_be_read_is_an_error(self) -> None:
        decoder = Decoder()
        [error] = decoder.read(answer(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="Bad call."))
        assert error == decoder.error == Error("Bad call.", 502, {"finishReason": "MALFORMED_FUNCTION_CALL"})
        assert not decoder.finished

    def test_errors_also_in_an_array(self) -> None:
        body = {"error": {"code": 429, "message": "Too much.", "status": "RESOURCE_EXHAUSTED"}}
        assert Decoder().read(body) == [Error("Too much.", 429, body)]
        assert Decoder().decode(json.dumps([answer({"text": "a"}), body]).encode()) == [
            Text("a"), Error("Too much.", 429, body),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "payload", [b"", b"{", b"\xff", b"null", b'"a"', b"[" * 5000, b"[" * 900 + b"{}" + b"]" * 900]
    )
    def test_what_is_no_answer(self, payload: bytes) -> None:
        decoder = Decoder()
        assert decoder.decode(payload) == []
        assert decoder.lost == 1

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_any_value_in_any_field(self, data: st.DataObject) -> None:
        plain = st.none() | st.booleans() | st.integers() | st.text()
        junk = st.recursive(
            plain, lambda inner: st.lists(inner) | st.dictionaries(st.just("text"), inner), max_leaves=5
        )
        part = {data.draw(st.sampled_from(["text", "functionCall", "inlineData", "thought"])): data.draw(junk)}
        candidate = answer({**part, "thoughtSignature": data.draw(junk)}, finishReason=data.draw(junk))["candidates"][0]
        candidate |= {"index": data.draw(junk), "groundingMetadata": {"groundingChunks": data.draw(junk)}}
        value = {"candidates": data.draw(st.just([candidate]) | junk), "usageMetadata": data.draw(junk)}
        for event in Decoder().decode(json.dumps(value).encode()):
            assert isinstance(event, Event)


class TestEncoding:
    def test_a_plain_request(self) -> None:
        assert encode(stream=True, user="u", temperature=None) == {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}]
        }

    def test_parameters(self) -> None:
        schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
        encoded = encode(
            temperature=0.5, top_p=0.9, top_k=3, max_tokens=5, n=2, seed=1, presence_penalty=0.1, frequency_penalty=0.2,
            logprobs=True, top_logprobs=2, stop="END", reasoning_effort="low", parallel_tool_calls=True,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
            tools=[TOOL, {"googleSearch": {}}], tool_choice={"type": "function", "function": {"name": "weather"}},
            safetySettings=[], generationConfig={"topK": 4},
        )  # fmt: skip
        del encoded["contents"]
        assert encoded == {
            "safetySettings": [],
            "tools": [
                {"functionDeclarations": [{
                    "name": "weather", "description": "Of a city",
                    "parametersJsonSchema": TOOL["function"]["parameters"]}]},
                {"googleSearch": {}}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
            "generationConfig": {
                "temperature": 0.5, "topP": 0.9, "topK": 4, "maxOutputTokens": 5, "candidateCount": 2, "seed": 1,
                "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 2,
                "stopSequences": ["END"], "responseMimeType": "application/json", "responseJsonSchema": schema,
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}},
        }  # fmt: skip
        plain = encode(reasoning_effort="none", response_format={"type": "json_object"})
        assert plain["generationConfig"] == {
            "responseMimeType": "application/json", "thinkingConfig": {"thinkingBudget": 0},
        }  # fmt: skip

    @pytest.mark.parametrize(("choice", "mode"), [("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")])
    def test_tool_choice(self, choice: str, mode: str) -> None:
        encoded = encode(tools=[TOOL], tool_choice=choice)
        assert encoded["toolConfig"] == {"functionCallingConfig": {"mode": mode}}

    def test_messages(self) -> None:
        signed = {**CALL, "extra_content": {"google": {"thought_signature": "QQ=="}}}
        encoded = encode(
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]},
                {"role": "assistant", "content": "I ask.", "tool_calls": [
                    signed, {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "c1", "content": '{"t":20}'},
                {"role": "tool", "tool_call_id": "c2", "content": "noon", "is_error": True},
                {"role": "tool", "tool_call_id": "c9", "name": "other", "content": "7"},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": "And?"},
            ]
        )  # fmt: skip
        assert encoded["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
        assert encoded["contents"] == [
            {"role": "user", "parts": [
                {"text": "See"}, {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
                {"fileData": {"fileUri": "https://a.example/x.png", "mimeType": "image/png"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}}]},
            {"role": "model", "parts": [
                {"text": "I ask."},
                {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "QQ=="},
                {"functionCall": {"id": "c2", "name": "now", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"t": 20}}},
                {"functionResponse": {"id": "c2", "name": "now", "response": {"error": "noon"}}},
                {"functionResponse": {"id": "c9", "name": "other", "response": {"output": 7}}},
                {"text": "And?"}]},
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"logit_bias": {"1": 2}}, "no 'logit_bias'"), ({"parallel_tool_calls": False}, "no 'parallel_tool_calls'"),
            ({"messages": 3}, "'messages'"), ({"messages": [{"role": "robot"}]}, "'robot'"),
            ({"messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]}, "no call before"),
            ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": ""}]}]}, "'thinking'"),
            ({"response_format": {"type": "xml"}}, "response_format"), ({"tools": [3]}, "'tools'"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            encode(**fields)


async def test_the_sdk_would_ask_the_same_and_reads_the_same() -> None:
    """What Google's client sends for the same question is what is made here, and both read the same answer."""
    sent: list[Any] = []
    reply = {**answer({"functionCall": {"id": "c", "name": "weather", "args": {}}}, finishReason="STOP")}

    def serve(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, json=reply)

    http = httpx2.Client(transport=httpx2.MockTransport(serve))
    options = types.HttpOptions(base_url="http://a", httpx_client=http)
    client = genai.Client(api_key="k", http_options=options)
    config = types.GenerateContentConfig(
        temperature=0.5, max_output_tokens=9, stop_sequences=["END"], system_instruction="Be brief.",
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(
            name="weather", description="Of a city", parameters_json_schema={"type": "object", "properties": {}})])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY)),
    )  # fmt: skip
    response = client.models.generate_content(model="gemini", contents="hi", config=config)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    made = encode(messages=messages, temperature=0.5, max_tokens=9, stop="END", tools=[TOOL], tool_choice="required")
    # Google's JSON takes names in both spellings; and a system instruction's role says nothing.
    theirs = json.loads(json.dumps(sent[0]).replace("parameters_json_schema", "parametersJsonSchema"))
    theirs["systemInstruction"].pop("role", None)
    assert made == theirs
    assert response.function_calls is not None
    assert decode(reply)[0] == ToolCall(0, "c", response.function_calls[0].name, "{}")
