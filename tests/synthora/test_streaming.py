"""Streams put together: text, tool calls by their index, usage, and what providers do that they should not."""

import pytest

from synthora.messages import BaseMessage, ToolCall


def chunk(delta=None, reason=None, **more):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {"id": "c1", "created": 1, "model": "m", "choices": choices, **more}


def call(index, id_=None, name=None, arguments=None):
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id_, "type": "function" if id_ else None, "function": function}


def together(*chunks):
    messages = []
    for one in chunks:
        previous = messages[-1] if messages else None
        messages.append(BaseMessage.from_openai_chat_stream_response(one, previous=previous))
    return messages


def calls(message):
    return [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls]


def test_text_as_published():
    deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}]
    messages = together(*map(chunk, deltas), chunk({}, "stop"))
    assert [(m.chunk, m.content) for m in messages] == [("", ""), ("Hel", "Hel"), ("lo", "Hello"), (None, "Hello")]
    assert [m.is_complete for m in messages] == [False, False, False, True]
    assert [m.tool_calls for m in messages] == [[], [], [], []]
    assert messages[0].metadata == {
        "created": 1, "model": "m", "service_tier": None, "system_fingerprint": None, "usage": None,
        "finish_reason": None,
    }  # fmt: skip
    assert messages[-1].id == "c1"


def test_text_in_the_finishing_chunk_is_kept():
    last = together(chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop"))[-1]
    assert (last.chunk, last.content, last.is_complete) == ("lo", "Hello", True)


def test_usage_in_a_chunk_of_its_own():
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    last = together(chunk({"content": "a"}), chunk({}, "stop"), chunk(usage=usage))[-1]
    assert (last.content, last.metadata["finish_reason"]) == ("a", "stop")
    assert last.metadata["usage"].total_tokens == 9
    assert last.metadata["usage"].cached_tokens == 4


def test_tool_calls_go_by_their_index():
    messages = together(
        chunk({"role": "assistant", "content": None, "tool_calls": [call(0, "a", "add", "")]}),
        chunk({"tool_calls": [call(1, "b", "mul", "")]}),
        chunk({"tool_calls": [call(0, arguments='{"x"')]}),
        chunk({"tool_calls": [call(1, arguments='{"y"'), call(0, arguments=":1}")]}),
        chunk({"tool_calls": [call(1, arguments=":2}")]}),
        chunk({}, "tool_calls"),
    )
    assert calls(messages[-1]) == [("a", "add", '{"x":1}'), ("b", "mul", '{"y":2}')]
    assert messages[-1].content == ""
    assert messages[-1].has_tool_calls
    # Earlier messages are not changed by later ones.
    assert calls(messages[0]) == [("a", "add", "")]
    assert calls(messages[2]) == [("a", "add", '{"x"'), ("b", "mul", "")]


@pytest.mark.parametrize("index", [0, None])
def test_providers_that_number_every_call_the_same(index):
    messages = together(
        chunk({"tool_calls": [call(index, "a", "add", "{}")]}),
        chunk({"tool_calls": [call(index, "b", "mul", '{"x"')]}),
        chunk({"tool_calls": [call(index, None, None, ":1}")]}),
    )
    assert calls(messages[-1]) == [("a", "add", "{}"), ("b", "mul", '{"x":1}')]


def test_an_id_that_comes_with_every_delta():
    messages = together(*(chunk({"tool_calls": [call(0, "a", "add", piece)]}) for piece in ('{"x"', ":1}")))
    assert calls(messages[-1]) == [("a", "add", '{"x":1}')]


def test_content_in_parts():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    parts = [thinking, {"type": "text", "text": "Yes"}]
    last = together(chunk({"content": parts}), chunk({"content": [{"type": "text", "text": "."}]}, "stop"))[-1]
    assert (last.content, last.metadata["reasoning"]) == ("Yes.", "Hm.")
    whole = BaseMessage.from_openai_chat_response(
        {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    )
    assert (whole.content, whole.metadata["reasoning"]) == ("Yes", "Hm.")


def test_thoughts_and_refusals_stand_beside_the_text():
    last = together(
        chunk({"reasoning_content": "First "}),
        chunk({"reasoning_content": "think."}),
        chunk({"refusal": "No."}, "stop"),
    )[-1]
    assert last.content == ""
    assert (last.metadata["reasoning"], last.metadata["refusal"]) == ("First think.", "No.")


def test_other_choices_do_not_mix_in():
    other = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}
    last = together(chunk({"content": "a"}), other)[-1]
    assert (last.content, last.is_complete) == ("a", False)


NUMBER = {"choices": [{"delta": {"content": 3}}]}


@pytest.mark.parametrize(
    "junk", [{}, {"choices": "none"}, {"choices": [None]}, {"choices": [{"delta": None}]}, NUMBER, None]
)
def test_junk_adds_nothing(junk):
    assert together(junk)[-1].content == ""
    assert together(chunk({"content": "a"}), junk)[-1].content == "a"


def test_whole_answers():
    message = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}}]}  # fmt: skip
    response = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    answer = BaseMessage.from_openai_chat_response(response)
    assert calls(answer) == [("a", "add", "{}")]
    assert (answer.id, answer.content, answer.is_complete) == ("c1", None, True)
    legacy = {"choices": [{"message": {"content": None, "function_call": {"name": "add", "arguments": "{}"}}}]}
    assert BaseMessage.from_openai_chat_response(legacy).tool_calls == [
        ToolCall(function={"name": "add", "arguments": "{}"})
    ]


def test_of_the_sdk():
    from openai.types.chat import ChatCompletionChunk

    sdk = [ChatCompletionChunk.model_validate({**one, "object": "chat.completion.chunk"}) for one in (
        chunk({"tool_calls": [call(0, "a", "add", "")]}), chunk({"tool_calls": [call(0, arguments="{}")]}),
        chunk({"content": "x"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
    )]  # fmt: skip
    last = together(*sdk)[-1]
    assert (last.content, calls(last), last.metadata["usage"].total_tokens) == ("x", [("a", "add", "{}")], 3)
    assert last.origional_response is sdk[-1]


def test_arguments_that_are_not_text():
    function = {"name": "add", "arguments": {"x": 1}}
    message = {"content": None, "tool_calls": [{"id": "a", "type": None, "function": function}]}
    answer = BaseMessage.from_openai_chat_response({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    assert calls(answer) == [("a", "add", '{"x":1}')]
    delta = {"index": 0, "id": "a", "function": function}
    assert calls(together(chunk({"tool_calls": [delta]}))[-1]) == [("a", "add", '{"x":1}')]
