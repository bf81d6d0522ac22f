"""Parameters of profiles, chats and pages become a provider's fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.chat.params import merge, with_system
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
