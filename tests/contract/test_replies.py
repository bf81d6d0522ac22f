"""What handlers declare as their replies, compared with the interface as it was recorded (replies.json)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from msgspec import inspect

from open_webui.env import Settings
from open_webui.main import create_app
from open_webui.openapi import reply_types

RECORDED: Final = json.loads((Path(__file__).parent / "replies.json").read_text(encoding="utf-8"))
TYPES: Final = RECORDED["types"]
# Replies that are no JSON value of ours, with the reason.
UNTYPED: Final[dict[str, str]] = {}
Difference = tuple[str, str]


def name_of(route: APIRoute) -> str:
    function = route.endpoint
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def plain(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(_env_file=None, env="test", data_dir=tmp_path_factory.mktemp("data")))


def served(app: FastAPI) -> Iterator[tuple[str, APIRoute, Any]]:
    """Each operation of the recorded interface that is served, with what its reply looked like there."""
    recorded = {plain(operation): schema for operation, schema in RECORDED["operations"].items()}
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in route.methods:
                operation = f"{method} {plain(route.path)}"
                if operation in recorded:
                    yield operation, route, recorded[operation]


def differences(schema: Any, ours: inspect.Type, at: str = "") -> Iterator[Difference]:
    """Where a declared type lacks what was recorded, or has it otherwise."""
    if "$ref" in schema:
        yield from differences(TYPES[schema["$ref"]], ours, at)
    elif isinstance(ours, inspect.AnyType) or not schema:
        return
    elif isinstance(ours, inspect.UnionType):
        for member in ours.types:
            yield from differences(schema, member, at)
    elif "anyOf" in schema:
        found = [list(differences(choice, ours, at)) for choice in schema["anyOf"]]
        if [] not in found:
            yield min(found, key=len)[0]
    else:
        kind = schema.get("type")
        if kind not in _KINDS.get(type(ours), ()):
            yield at, f"{type(ours).__name__} is no {kind}"
        yield from _inside(schema, ours, at)


def _inside(schema: Any, ours: inspect.Type, at: str) -> Iterator[Difference]:
    if isinstance(ours, inspect.ListType | inspect.CollectionType):
        yield from differences(schema.get("items", {}), ours.item_type, f"{at}[]")
    elif isinstance(ours, inspect.DictType):
        yield from differences(schema.get("additionalProperties", {}), ours.value_type, f"{at}{{}}")
    elif isinstance(ours, inspect.StructType | inspect.TypedDictType):
        fields = {field.encode_name: field for field in ours.fields}
        for name, expected in schema.get("properties", {}).items():
            if name in fields:
                yield from differences(expected, fields[name].type, f"{at}.{name}")
            else:
                yield f"{at}.{name}", "is missing"


_KINDS: Final[dict[type, tuple[str, ...]]] = {
    inspect.StrType: ("string",),
    inspect.IntType: ("integer", "number"),
    inspect.FloatType: ("number",),
    inspect.BoolType: ("boolean",),
    inspect.NoneType: ("null",),
    inspect.LiteralType: ("string",),
    inspect.ListType: ("array",),
    inspect.CollectionType: ("array",),
    inspect.DictType: ("object",),
    inspect.StructType: ("object",),
    inspect.TypedDictType: ("object",),
}


def test_every_recorded_reply_has_a_type(app: FastAPI) -> None:
    untyped = {name_of(route) for _, route, _ in served(app) if not reply_types(route.endpoint)}
    assert untyped == UNTYPED.keys()


def test_declared_replies_have_what_was_recorded(app: FastAPI) -> None:
    found = {}
    for operation, route, schema in served(app):
        kinds = reply_types(route.endpoint)
        if wrong := [one for kind in kinds for one in differences(schema, inspect.type_info(kind))]:
            found[operation] = wrong
    assert found == {}


def test_a_difference_is_seen() -> None:
    class Row(msgspec.Struct):
        id: int
        tags: list[int]

    schema = {"type": "object", "properties": {"id": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}},
                                               "name": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}  # fmt: skip
    assert list(differences(schema, inspect.type_info(Row))) == [
        (".id", "IntType is no string"), (".tags[]", "IntType is no string"), (".name", "is missing"),
    ]  # fmt: skip
