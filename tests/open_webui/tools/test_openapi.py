"""OpenAPI documents, good ones and bad ones, read into what a model may call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.tools.openapi import MAX_OPERATIONS, BadDocument, operations, read
from tests.support.tool_server import DOCUMENT


def document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {}, "paths": paths} | more


def body(schema: Any, media: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {media: {"schema": schema}}} | more}


def only(paths: dict[str, Any], **more: Any) -> Any:
    (operation,) = operations(document(paths, **more))
    return operation


def test_a_document_becomes_functions() -> None:
    found = {operation.name: operation for operation in read(json.dumps(DOCUMENT))}
    assert found["add"].definition == {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    }
    echo = found["echo"]
    assert {name: place.where for name, place in echo.parameters.items()} == {
        "name": "path", "tags": "query", "X-Mood": "header",
    }  # fmt: skip
    assert echo.definition["parameters"]["required"] == ["name"]
    assert echo.definition["description"] == "GET /echo/{name}"


def test_a_body_that_is_no_object_is_one_argument() -> None:
    operation = only({"/a": {"post": body({"type": "array", "items": {"type": "string"}}, required=True)}})
    assert (operation.name, operation.whole_body) == ("post__a", True)
    assert operation.definition["parameters"] == {
        "type": "object",
        "properties": {"body": {"type": "array", "items": {"type": "string"}}},
        "required": ["body"],
    }


def test_so_is_one_whose_members_have_the_names_of_parameters() -> None:
    parameter = {"name": "id", "in": "query", "schema": {"type": "string"}}
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    operation = only({"/a": {"put": body(schema) | {"parameters": [parameter]}}})
    assert operation.whole_body
    assert operation.definition["parameters"]["properties"].keys() == {"id", "body"}


def test_a_schema_that_leads_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "n": {"type": "integer"}}}
    schemas = {"Node": node}
    operation = only({"/a": {"post": body({"$ref": "#/components/schemas/Node"})}}, components={"schemas": schemas})
    assert operation.definition["parameters"]["properties"] == {"next": {}, "n": {"type": "integer"}}


def test_a_reference_to_itself_or_out_of_the_document_is_nothing() -> None:
    schemas = {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}}
    for reference in ("#/components/schemas/A", "https://example.com/a.json", "#/nowhere", "other.json#/A"):
        operation = only({"/a": {"post": body({"$ref": reference})}}, components={"schemas": schemas})
        assert operation.definition["parameters"]["properties"] == {"body": {}}


def test_a_schema_that_doubles_with_each_reference_is_bounded() -> None:
    schemas: dict[str, Any] = {
        f"S{n}": {"type": "object", "properties": {side: {"$ref": f"#/components/schemas/S{n + 1}"} for side in "abcd"}}
        for n in range(19)
    }
    paths = {"/a": {"post": body({"$ref": "#/components/schemas/S0"})}, "/b": {"get": {"operationId": "b"}}}
    # The one is too large for any model; the other is there.
    assert [o.name for o in operations(document(paths, components={"schemas": schemas}))] == ["b"]


def test_there_is_an_end_to_operations() -> None:
    paths = {f"/{n}": {"get": {"operationId": f"op{n}"}} for n in range(MAX_OPERATIONS + 50)}
    assert len(operations(document(paths))) == MAX_OPERATIONS


def test_names_are_such_as_providers_take() -> None:
    found = operations(
        document({"/a": {"get": {"operationId": "List all/things!"}, "post": {"operationId": "x" * 99}}})
    )
    assert [operation.name for operation in found] == ["List_all_things", "x" * 64]


def test_headers_that_say_who_asks_are_no_arguments() -> None:
    parameters = [{"name": name, "in": "header"} for name in ("Authorization", "cookie", "Host", "X-Fine")]
    assert only({"/a": {"get": {"parameters": parameters}}}).parameters.keys() == {"X-Fine"}


def test_what_may_be_null_in_3_0_says_so() -> None:
    operation = only(
        {"/a": {"post": body({"type": "object", "properties": {"a": {"type": "string", "nullable": True}}})}}
    )
    assert operation.definition["parameters"]["properties"] == {"a": {"type": ["string", "null"]}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("openapi: 3.0.0", "no JSON"),
        ("[]", "no paths"),
        ('{"paths": 1}', "no paths"),
        ('{"paths": {}}', "another version"),
        ('{"paths": {}, "swagger": "2.0"}', "another version"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (" " * (4 * 2**20 + 1), "larger"),
    ],
)
def test_what_is_no_document_is_said_so(text: str | bytes, says: str) -> None:
    with pytest.raises(BadDocument, match=says):
        read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["#/paths", "$ref", "string"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$ref", "type", "properties", "schema", "content", "in", "name", "a"]), inner
        )
    ),
    max_leaves=12,
)


@given(item=JSON, operation=JSON, parameter=JSON, schema=JSON)
def test_nothing_in_a_document_raises(item: Any, operation: Any, parameter: Any, schema: Any) -> None:
    paths = {
        "/a": item,
        "/b": {"get": operation, "parameters": parameter},
        "/c": {"post": body(schema) | {"parameters": [parameter]}},
    }
    for found in operations(document(paths)):
        assert found.name


def test_of_nothing_more_is_said() -> None:
    assert operations(document({})) == []
