"""Parameters of profiles, chats and pages become a provider's fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.connections.params import merge, with_system
from open_webui.errors import BadRequest


def test_later_layers_win_and_null_means_not_set() -> None:
    assert merge("openai", {"temperature": 1, "top_p": 0.5}, {"temperature": 0, "top_p": None, "seed": ""}) == {
        "temperature": 0,
        "top_p": 0.5,
    }


def test_only_known_names_reach_a_provider() -> None:
    layer = {
        "temperature": 1,
        "system": "x",
        "model_controls": {},
        "function_calling": "native",
        "stream_response": True,
    }
    assert merge("openai", layer) == {"temperature": 1}


@pytest.mark.parametrize(("kind", "sent"), [("openai", {}), ("ollama", {"num_ctx": 9}), ("local", {"num_ctx": 9})])
def test_names_of_ollama_reach_those_who_know_them(kind: str, sent: dict[str, Any]) -> None:
    assert merge(kind, {"num_ctx": 9}) == sent


def test_own_parameters_pass_but_do_not_steer() -> None:
    custom = {"custom_params": {"mine": 1, "model": "other", "messages": [], "stream": False}}
    assert merge("openai", custom) == {"mine": 1}
    assert merge("openai", {"custom_params": "text"}) == {}


@pytest.mark.parametrize(
    ("given_stop", "sent"),
    [("a, b", ["a", "b"]), ("\\n\\n,\\t", ["\n\n", "\t"]), (["x", ""], ["x"]), ([], []), ("a,,b", ["a", "b"])],
)
def test_stop_texts(given_stop: Any, sent: list[str]) -> None:
    assert merge("openai", {"stop": given_stop}) == {"stop": sent}


@pytest.mark.parametrize("wrong", [7, {"a": 1}, ["a", 1], ["x"] * 65, True])
def test_a_stop_list_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match="stop"):
        merge("openai", {"stop": wrong})


@given(st.dictionaries(st.sampled_from(["temperature", "stop", "custom_params", "x"]), st.none() | st.text() | st.lists(
    st.text())))  # fmt: skip
def test_no_layer_breaks_it(layer: dict[str, Any]) -> None:
    try:
        merge("openai", layer)
    except BadRequest:
        assert layer.get("stop")


def test_a_system_prompt_goes_in_front() -> None:
    said = [{"role": "user", "content": "Hi"}]
    assert with_system("S", said) == [{"role": "system", "content": "S"}, *said]
    own = [{"role": "system", "content": "T", "name": "n"}, *said]
    assert with_system("S", own) == [{"role": "system", "content": "S\n\nT", "name": "n"}, *said]
    parts = [{"role": "system", "content": [{"type": "text", "text": "T"}]}]
    assert with_system("S", parts) == [{"role": "system", "content": "S"}, *parts]
    assert with_system("S", []) == [{"role": "system", "content": "S"}]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("5432:100, 413:-100", {"5432": 100, "413": -100}),
        ("1:900,2:-900", {"1": 100, "2": -100}),
        ('{"5432": 5}', {"5432": 5}),
        ({"5432": 5}, {"5432": 5}),
        (" 1 : 2 ,", {"1": 2}),
    ],
)
def test_a_bias_typed_as_text_is_an_object(typed: Any, sent: dict[str, int]) -> None:
    assert merge("openai", {"logit_bias": typed}) == {"logit_bias": sent}


@pytest.mark.parametrize("typed", ["word", "1", "1:2:3", "a:1", "1:b", "1:"])
def test_a_bias_that_is_none_is_refused(typed: str) -> None:
    with pytest.raises(BadRequest, match="logit_bias"):
        merge("openai", {"logit_bias": typed})


def test_own_parameters_typed_as_text_become_values() -> None:
    typed = {
        "object": '{"a": false}',
        "flag": "true",
        "number": "0.5",
        "word": "plain",
        "odd": "{a",
        "nested": {"x": "1"},
    }
    sent = {"object": {"a": False}, "flag": True, "number": 0.5, "word": "plain", "odd": "{a", "nested": {"x": "1"}}
    assert merge("openai", {"custom_params": typed}) == sent
    assert merge("openai", {"custom_params": {"half": "\ud800", "deep": "[" * 100_000}})["half"] == "\ud800"


@pytest.mark.parametrize(("typed", "sent"), [("-1", -1), ("5m", "5m"), (-1, -1), ("300", 300), ("true", "true")])
def test_a_time_to_stay_loaded_is_a_number_or_has_its_unit(typed: Any, sent: Any) -> None:
    assert merge("ollama", {"keep_alive": typed}) == {"keep_alive": sent}


@pytest.mark.parametrize(
    "name", ["temperature", "top_p", "max_tokens", "seed", "n", "top_k", "repeat_penalty", "num_ctx"]
)
@pytest.mark.parametrize(
    ("typed", "sent"),
    [("5", 5), (" 0.5 ", 0.5), ("-1", -1), (3, 3), ("high", "high"), ("true", "true"), ("[1]", "[1]")],
)
def test_a_number_typed_as_text_is_a_number(name: str, typed: Any, sent: Any) -> None:
    assert merge("ollama", {name: typed}) == {name: sent}
