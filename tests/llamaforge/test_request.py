"""The one normaliser of requests: what is understood, in which form it goes on, and each mistake in a sentence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.backends import get_backend
from llamaforge.exceptions import LlamaForgeError, ParameterError, UnsupportedError
from llamaforge.formats.request import MEDIA, TEXT, checked_messages, embedding, normalise, shaped
from llamaforge.loading import Plan, http_request

ASK = [{"role": "user", "content": "hi"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def called(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": arguments}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}]


# ---- the request


def test_what_is_asked_and_what_are_parameters() -> None:
    fields = {
        "model": "m", "messages": ASK, "stream": True, "stream_options": {"include_usage": True}, "n": 2.0, "top_k": 3,
        "seed": None, "user": {"any": "thing"}, "metadata": {}, "store": True, "service_tier": "auto",
    }  # fmt: skip
    request = normalise(fields, "chat")
    assert (request.content, request.parameters, request.model) == (ASK, {"top_k": 3}, "m")
    assert (request.stream, request.include_usage, request.n) == (True, True, 2)
    assert request.body() == {
        "model": "m", "messages": ASK, "stream": True, "stream_options": {"include_usage": True}, "n": 2, "top_k": 3,
    }  # fmt: skip
    assert normalise({"prompt": "x", "stream": None, "n": None, "echo": None}, "completion").body() == {"prompt": "x"}


@pytest.mark.parametrize(
    ("prompt", "content"), [("x", ["x"]), (["x", "y"], ["x", "y"]), ([1, 2], [[1, 2]]), ([[1], "x"], [[1], "x"]), ("", [""])]
)  # fmt: skip
def test_prompts(prompt: Any, content: list[Any]) -> None:
    assert normalise({"prompt": prompt}, "completion").content == content
    assert normalise({"input": prompt}, "embeddings").content == content


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("chat", [], "The body must be an object."),
        ("chat", {}, "'messages' is missing."),
        ("chat", {"messages": "hi"}, "'messages' must be a list of objects"),
        ("chat", {"messages": [7]}, "'messages' must be a list of objects"),
        ("completion", {"prompt": []}, "'prompt' must be text, or a list"),
        ("completion", {"prompt": [[]]}, "'prompt' must be text, or a list"),
        ("completion", {"prompt": [True]}, "'prompt' must be text, or a list"),
        ("completion", {"prompt": [-1]}, "'prompt' must be text, or a list"),
        ("completion", {"prompt": {"a": 1}}, "'prompt' must be text, or a list"),
        ("embeddings", {"input": 5}, "'input' must be text, or a list"),
        ("embeddings", {"input": "x", "encoding_format": []}, "'encoding_format' must be 'float' or 'base64'."),
        ("chat", {"messages": ASK, "n": []}, "'n' must be a number."),
        ("chat", {"messages": ASK, "n": True}, "'n' must be a number."),
        ("chat", {"messages": ASK, "n": "2"}, "'n' must be a number."),
        ("chat", {"messages": ASK, "n": 1.5}, "'n' must be a whole number."),
        ("chat", {"messages": ASK, "n": 0}, "'n' must be between 1 and 128."),
        ("chat", {"messages": ASK, "stream": "yes"}, "'stream' must be true or false."),
        ("chat", {"messages": ASK, "stream_options": []}, "'stream_options' must be an object."),
        ("chat", {"messages": ASK, "stream_options": {"include_usage": "x"}}, "'include_usage' must be true or false."),
        ("chat", {"messages": ASK, "model": ["m"]}, "'model' must be text."),
        ("completion", {"prompt": "x", "suffix": 5}, "'suffix' must be text."),
        ("completion", {"prompt": "x", "echo": 1}, "'echo' must be true or false."),
    ],
)
def test_mistakes_in_a_request(kind: Any, fields: Any, words: str) -> None:
    with pytest.raises(ParameterError) as raised:
        normalise(fields, kind)
    assert str(raised.value).startswith(words)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "n stream stop tools tool_choice response_format json_schema grammar logprobs top_logprobs max_tokens temperature"
    " max_completion_tokens seed logit_bias parallel_tool_calls chat_template_kwargs echo suffix lora samplers"
).split()


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), JSON, st.sampled_from(["llama.cpp", "huggingface"]))
def test_no_value_of_any_field_is_a_bare_error(fields: dict[str, Any], content: Any, backend: str) -> None:
    plan = Plan(get_backend(backend), "x", {}, {}, {})
    for kind, name, given_ in (
        ("chat", "messages", ASK), ("chat", "messages", content), ("chat", "messages", [content]),
        ("chat", "messages", [{"role": "user", "content": content}]),
        ("chat", "messages", [{"role": "assistant", "tool_calls": content}]),
        ("chat", "messages", called(content)), ("completion", "prompt", content), ("embeddings", "input", content),
    ):  # fmt: skip
        try:
            http_request(plan, {**fields, name: given_}, kind)  # type: ignore[arg-type]
        except LlamaForgeError as error:
            assert error.status in {400, 501}  # noqa: PT017


# ---- the shape of an answer


def test_a_tool_by_name_is_the_only_one_and_required() -> None:
    tools = [tool("find_train"), tool("book_train")]
    for choice in (
        {"type": "function", "function": {"name": "book_train"}},
        {"type": "function", "name": "book_train"},
    ):
        assert shaped({"tools": tools, "tool_choice": choice}) == {
            "tools": tools[1:], "tool_choice": "required", "parallel_tool_calls": False,
        }  # fmt: skip
    assert shaped({"tools": tools, "tool_choice": "none"}) == {"tools": tools, "tool_choice": "none"}
    assert shaped({"tools": [], "tool_choice": "auto"}) == {}
    assert shaped({"tools": [{"function": {"name": "f"}}]}) == {
        "tools": [{"type": "function", "function": {"name": "f"}}]
    }


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"tools": [tool("a")], "tool_choice": []}, "'tool_choice' must be"),
        ({"tools": [tool("a")], "tool_choice": "sometimes"}, "'tool_choice' must be"),
        (
            {"tools": [tool("a")], "tool_choice": {"function": {"name": "b"}}},
            "names the function 'b', which is not among",
        ),
        ({"tools": [tool("a")], "tool_choice": {"function": []}}, "names the function None"),
        ({"tool_choice": "required"}, "'tools' has none"),
        ({"tools": [5]}, "Each tool must be an object"),
        ({"tools": [{"function": {"name": ""}}]}, "Each tool must be an object"),
        ({"tools": [{"function": {"name": "f", "parameters": 5}}]}, "The parameters of the tool 'f'"),
        ({"response_format": {"type": "xml"}}, "'response_format' must be of the type"),
        ({"response_format": {"type": []}}, "'response_format' must be of the type"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}}, "'response_format' must be of"),
        ({"json_schema": {}, "response_format": {"type": "json_object"}}, "give one of them"),
        ({"json_schema": {}, "grammar": "x"}, "give one of them"),
    ],
)
def test_mistakes_in_a_shape(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        shaped(given_)


def test_the_ways_to_ask_for_json() -> None:
    schema = {"type": "object", "properties": {}}
    named = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert shaped({"response_format": named}) == shaped({"json_schema": schema}) == {"json_schema": schema}
    assert shaped({"response_format": {"type": "json_object"}}) == {"json_schema": {"type": "object"}}
    assert shaped({"response_format": {"type": "text"}}) == {}


def test_the_length_of_vectors_is_the_models() -> None:
    with pytest.raises(UnsupportedError, match="'dimensions' can't be had"):
        embedding({"dimensions": 3}, ())
    assert embedding({"dimensions": None}, ()) == {}


# ---- messages


def test_messages_have_one_form() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"text": "c"}, {"type": "refusal", "refusal": "d"}]
    assert checked_messages([{"role": "user", "content": parts, "name": None}]) == [
        {"role": "user", "content": "a\nb\nc\nd"}
    ]
    assert checked_messages([{"role": "assistant", "content": None, "tool_calls": [], "audio": None}, {"role": "user"}]) == [
        {"role": "assistant", "content": ""}, {"role": "user", "content": ""},
    ]  # fmt: skip
    mixed = [{"role": "user", "content": ["see", PICTURE, {"type": "image_url", "image_url": "data:x"}]}]
    assert checked_messages(mixed, TEXT | MEDIA)[0]["content"] == [
        {"type": "text", "text": "see"}, PICTURE, {"type": "image_url", "image_url": {"url": "data:x"}},
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", ["", "  ", None, {}, "{}", "null"])
def test_a_call_without_arguments_has_none(arguments: Any) -> None:
    [message] = checked_messages(called(arguments))
    assert message["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}
    assert message["content"] is None


def test_arguments_are_kept_as_they_were_written() -> None:
    for given_, kept in (('{"a":1}', '{"a":1}'), ({"a": "ä"}, '{"a": "ä"}')):
        assert checked_messages(called(given_))[0]["tool_calls"][0]["function"]["arguments"] == kept


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hi", "must be a list"),
        (None, "must be a list"),
        ([], "no message to answer"),
        ([None], "Each message must be an object"),
        ([{"content": "x"}], "Each message must be an object"),
        ([{"role": "", "content": "x"}], "Each message must be an object"),
        ([{"role": "user", "content": 5}], "The content of a message must be"),
        ([{"role": "user", "content": {"text": "x"}}], "The content of a message must be"),
        ([{"role": "user", "content": [5]}], "Each part of a message"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "'text' must be text"),
        ([{"role": "user", "content": [{"type": "video"}]}], "unknown type 'video'"),
        ([{"role": "user", "content": [{"type": []}]}], "unknown type"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}], "data: URL"),
        ([{"role": "user", "content": "x", "name": 5}], "'name' must be text"),
        ([{"role": "tool", "content": "x", "tool_call_id": 5}], "'tool_call_id' must be text"),
        ([{"role": "assistant", "tool_calls": 5}], "'tool_calls' must be a list"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "Each call in 'tool_calls'"),
        (called("{"), "The arguments of the call of 'clock' must be a JSON object"),
        (called("[1]"), "must be a JSON object"),
        (called(5), "must be a JSON object"),
    ],
)
def test_mistakes_in_messages(messages: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        checked_messages(messages)


@pytest.mark.parametrize("kind", sorted(MEDIA))
def test_a_part_that_the_model_does_not_read_is_refused(kind: str) -> None:
    value = {"url": "data:x"} if kind != "input_audio" else {"data": "AAAA", "format": "wav"}
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind, kind: value}]}]
    with pytest.raises(UnsupportedError, match="This model takes no"):
        checked_messages(messages)
    assert checked_messages(messages, {kind})[0]["content"][1] == {"type": kind, kind: value}


def test_arguments_that_are_no_json_are_refused() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": {"a": {1}}}}
    with pytest.raises(ParameterError, match="'f' have a value that is no JSON"):
        checked_messages([{"role": "assistant", "tool_calls": [call]}])


def tool_with(**bounds: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"a": {"type": "integer", **bounds}}}
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def test_bounds_of_a_tool_that_leave_every_integer_are_left_out() -> None:
    """As Go's and pydantic's int64 have them; llama.cpp never came back from the highest of them."""
    assert shaped(tool_with(minimum=-(2**63), maximum=2**63 - 1)) == shaped(tool_with())
    assert shaped(tool_with(minimum=-5, maximum=5)) == tool_with(minimum=-5, maximum=5)


@pytest.mark.parametrize("bounds", [{"minimum": 2**63 - 1}, {"exclusiveMaximum": -(2**63)}, {"minimum": 10**400}])
def test_bounds_of_a_tool_beyond_an_engines_numbers_are_refused(bounds: Any) -> None:
    with pytest.raises(ParameterError, match="beyond the numbers"):
        shaped(tool_with(**bounds))


def test_a_tool_too_deep_is_refused() -> None:
    deep: Any = {}
    for _ in range(500):
        deep = {"properties": {"a": deep}}
    with pytest.raises(ParameterError, match="deep within"):
        shaped(tool_with(properties=deep))
