"""Arguments of calls against the schemas of tools: what models get wrong is told, what they mean is understood."""

from typing import Any

import pytest

from open_webui.services.mcp_endpoint import own_tools
from open_webui.tools.arguments import fitted, problems

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "place": {"$ref": "#/$defs/Place"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "exact": {"type": "boolean"},
    },
    "required": ["city"],
    "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"city": "Rome"}, []),
        ({}, ["'city' is missing"]),
        ({"city": ""}, ["'city' should have at least 1 characters"]),
        ({"city": ["Rome"]}, ["'city' should be a text"]),
        ({"city": "Rome", "days": "many"}, ["'days' should be a whole number"]),
        ({"city": "Rome", "days": 1.5}, ["'days' should be a whole number"]),
        ({"city": "Rome", "days": True}, ["'days' should be a whole number"]),
        ({"city": "Rome", "days": 10**30}, ["'days' should be at most 7"]),
        ({"city": "Rome", "unit": "K"}, ["""'unit' should be one of "C", "F\""""]),
        ({"city": "Rome", "tags": ["a", 1]}, ["'tags[1]' should be a text"]),
        ({"city": "Rome", "tags": ["a", "b", "c"]}, ["'tags' should have at most 2 entries"]),
        ({"city": "Rome", "place": {}}, ["'place.lat' is missing"]),
        ({"city": "Rome", "place": {"lat": 1}}, []),
        ({"city": "Rome", "note": None}, []),
        ({"city": "Rome", "note": 1}, ["'note' should be a text or 'note' should be null"]),
        ({"city": "Rome", "other": 1}, []),
        ({"days": 0, "unit": 1}, ["'city' is missing", "'days' should be at least 1", "'unit' should be a text"]),
    ],
)
def test_what_does_not_fit_is_told(given: dict[str, Any], told: list[str]) -> None:
    assert problems(CITY, given) == told


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"days": "3"}, {"days": 3}),
        ({"days": 3.0}, {"days": 3}),
        ({"days": "three"}, {"days": "three"}),
        ({"exact": "True"}, {"exact": True}),
        ({"tags": '["a"]'}, {"tags": ["a"]}),
        ({"tags": "a, b"}, {"tags": "a, b"}),
        ({"city": 8}, {"city": "8"}),
        ({"unit": None, "city": "Rome"}, {"city": "Rome"}),
        ({"city": None}, {"city": None}),
        ({"note": None}, {"note": None}),
        ({"other": None}, {"other": None}),
    ],
)
def test_what_a_model_means_is_understood(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert fitted(CITY, given) == meant


def test_fields_that_a_tool_does_not_know_are_told_where_it_wants_no_others() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    assert problems(schema, {"a": 1, "b": 2}) == ["there is no 'b'"]


_LOOP: dict[str, Any] = {"$ref": "#"}
_WIDE: dict[str, Any] = {"type": "string"}
for _ in range(24):
    _WIDE = {"anyOf": [_WIDE, _WIDE]}


@pytest.mark.parametrize(
    "schema",
    [None, [], "x", {}, {"properties": 7, "required": "a"}, {"required": [7, None]}, {"type": ["odd", "string"]}, _LOOP,
     {"properties": {"a": _WIDE}}, {"properties": {"a": {"$ref": "#/nowhere"}}}, {"enum": 7}, {"properties": {"a": True}},
     {"properties": {"a": {"minimum": "1", "maxLength": -1.5, "items": 3}}}, {"allOf": [None, 7], "anyOf": []}],
)  # fmt: skip
def test_odd_schemas_do_no_harm(schema: Any) -> None:
    problems(schema, fitted(schema, {"a": 1, "b": {"c": [1]}}))


async def test_mcp_clients_are_corrected_like_models() -> None:
    class Never:
        seconds = 1.0

        def __init__(self) -> None:
            self.definition = {"name": "city", "parameters": CITY}

        async def run(self, _arguments: dict[str, Any], _progress: Any) -> Any:
            raise AssertionError

    answer = await own_tools.call(Never(), {"days": 9}, None)  # type: ignore[arg-type]
    assert answer["isError"] is True
    assert "'city' is missing; 'days' should be at most 7" in answer["content"][0]["text"]
