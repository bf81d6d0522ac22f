"""Schemas of usual annotations are what Pydantic makes of them."""

from typing import Annotated, Any, Literal, Optional, Union

import pytest
from pydantic import Field

from oui_sandbox import describe
from oui_sandbox.annotations import schema_of

USUAL = (
    str, int, float, bool, list, dict, list[str], list[list[int]], dict[str, float], dict[str, list[str]], str | None,
    Optional[int], Union[int, str], list[str] | None, list[bool | None], Literal["a", "b"], list[Literal["x", "y"]],  # noqa: UP007, UP045
)  # fmt: skip
# Left to Pydantic.
OTHER = (
    Any, object, set[str], tuple[int, ...], Annotated[int, Field(ge=1)], Literal["a"], Literal[1, 2], dict[int, str],
    list[Any], bytes, dict[str, Any], "unknown", type, list[Annotated[int, Field(ge=1)]],
)  # fmt: skip


@pytest.mark.parametrize("annotation", USUAL, ids=str)
@pytest.mark.parametrize("default", [..., None, 3, True, "x"], ids=str)
def test_a_usual_one(annotation: Any, default: Any) -> None:
    def function(value: Any, other: Any = None, **more: Any) -> None: ...

    function.__annotations__ = {"value": annotation, "other": int}
    if default is not ...:
        function.__defaults__ = (default, None)
    told = {"value": "What it is"}
    hints = dict(function.__annotations__)
    usual = describe._usual(function, told, hints)
    assert usual is not None
    assert usual == describe._by_pydantic(function, told, hints)


@pytest.mark.parametrize("annotation", OTHER, ids=str)
def test_another_one_is_left_to_pydantic(annotation: Any) -> None:
    assert schema_of(annotation) is None


def test_a_function_without_parameters() -> None:
    def function() -> None: ...

    assert describe._usual(function, {}, {}) == describe._by_pydantic(function, {}, {})
