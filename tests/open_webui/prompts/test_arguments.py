"""What a prompt's text says of its variables, as MCP clients are told."""

import pytest

from open_webui.services.mcp_endpoint.own_prompts import arguments_of


@pytest.mark.parametrize(
    "said",
    [
        "a:required=[1]", 'a:options=[["x"]', f"a:options={'[' * 1_500}]", "a:default=[[]]", "a:label=7:required", ":a=[" * 100,
        "a:required=NaN", ":::", "=",
    ],
)  # fmt: skip
def test_whatever_is_said_of_a_variable_it_is_one(said: str) -> None:
    (found,) = arguments_of(f"Tell me {{{{x | {said}}}}}")
    assert found.name == "x"
    assert isinstance(found.required, bool)


def test_what_is_needed_is_said_in_words_or_by_itself() -> None:
    texts = ("a:required", "a:required=true", 'a:required="true"', "a:required=false", "a")
    assert [arguments_of(f"{{{{x | {said}}}}}")[0].required for said in texts] == [True, True, True, False, False]
