"""Schemas of pydantic classes as a strict request has them, and answers read as objects."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from synthora.exceptions import StructuredOutputError
from synthora.messages import assistant
from synthora.models import structured
from synthora.models.structured import parse, response_format
from tests.support.turns import spent


class Car(BaseModel):
    kind: Literal["car"]
    seats: int


class Bike(BaseModel):
    kind: Literal["bike"]
    gears: int = 1


class Ride(BaseModel):
    by: Annotated[Car | Bike, Field(discriminator="kind")]


class Chapter(BaseModel):
    title: str
    parts: list[Annotated["Chapter", Field(description="a part of it")]] = []


class Free(BaseModel):
    counts: dict[str, int]


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Unique(BaseModel):
    names: set[str]


class Pair(BaseModel):
    both: tuple[int, str]


class Named(BaseModel):
    """A keyword as the name of a field is no keyword."""

    not_: int = Field(alias="not")
    default: int
    type: str = "object"


def asked(cls):
    format_ = response_format(cls)["json_schema"]
    return format_["schema"], format_["strict"]


def objects(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("cls", [Ride, Chapter, Tree, Named])
def test_strict_as_the_provider_takes_it(cls):
    schema, strict = asked(cls)
    assert strict is True
    assert schema["type"] == "object"
    for found in objects(schema):
        assert found["required"] == list(found["properties"])
        assert found["additionalProperties"] is False
    text = json.dumps(schema)
    assert "oneOf" not in text
    assert "discriminator" not in text
    assert all(set(found) == {"$ref"} for found in references(schema))


def references(schema):
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def test_a_recursion_ends_and_keeps_its_description():
    schema, _ = asked(Chapter)
    items = schema["properties"]["parts"]["items"]
    assert items["description"] == "a part of it"
    inner = items["properties"]["parts"]["items"]
    assert inner == {"anyOf": [{"$ref": "#/$defs/Chapter"}], "description": "a part of it"}


def test_fields_named_as_keywords():
    schema, _ = asked(Named)
    assert list(schema["properties"]) == ["not", "default", "type"]


@pytest.mark.parametrize("cls", [Free, Unique, Pair, RootModel[list[int]]])
def test_schemas_that_cannot_be_strict(cls):
    schema, strict = asked(cls)
    assert strict is False
    assert schema == cls.model_json_schema()


def test_the_cost_grows_with_the_schema_alone():
    def nest(depth):
        return {"type": "object", "properties": {"a": nest(depth - 1)} if depth else {}}

    nested = nest(200)
    described = {"$ref": "#/$defs/D0", "description": "x"}
    definitions = {
        f"D{n}": {
            "type": "object",
            "properties": {f"p{m}": {"$ref": f"#/$defs/D{n + 1}", "description": "y"} for m in range(9)},
        }
        for n in range(20)
    }
    root = {"$defs": {**definitions, "D20": {"type": "integer"}}, "type": "object", "properties": {"a": described}}
    with spent() as cost:
        structured._strict(nested, {})
        assert len(json.dumps([structured._strict(part, root) for part in root["$defs"].values()])) < 1_000_000
    assert cost.seconds < 1


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "car", "seats": 4}',
        '```json\n{"kind": "car", "seats": 4}\n```',
        '```\n{"kind": "car",\n "seats": 4}\n```\n',
        'Here it is:\n\n```JSON\r\n{"kind": "car", "seats": 4}```\nAnything else?',
        'First ```x``` then\n```python\nprint()\n```\n```json\n{"kind": "car", "seats": 4}\n```',
    ],
)
def test_an_answer_in_a_fence_or_not(text):
    assert parse(assistant(text), Car) == Car(kind="car", seats=4)


@pytest.mark.parametrize("text", ["", "a car", "```json\nnone\n```", '```json\n{"kind": "bike"}\n```', "```json\n{"])
def test_an_answer_that_is_none(text):
    with pytest.raises(StructuredOutputError, match="The answer is no Car") as raised:
        parse(assistant(text), Car)
    assert raised.value.message.content == text


class Bounded(BaseModel):
    count: int = Field(ge=1, le=9, description="how many")
    name: str = Field(min_length=2)
    kind: Literal["a"]
    rides: list[Ride] = Field(max_length=3)


def test_what_other_dialects_refuse():
    schema = response_format(Bounded, "anthropic")["json_schema"]["schema"]
    assert schema["properties"]["count"]["description"] == "how many (maximum: 9, minimum: 1)"
    assert schema["properties"]["name"]["description"] == "(minLength: 2)"
    assert schema["properties"]["rides"]["description"] == "(maxItems: 3)"
    text = json.dumps(schema)
    assert not {"minimum", "maxItems", "const", "oneOf", "discriminator"} & set(text.split('"'))
    assert schema["properties"]["kind"]["enum"] == ["a"]
    assert schema["additionalProperties"] is False
    google = response_format(Bounded, "gemini")["json_schema"]["schema"]
    assert (google["properties"]["count"]["minimum"], google["properties"]["kind"]["enum"]) == (1, ["a"])
    assert response_format(Bounded, "plain")["json_schema"] == {
        "name": "Bounded", "schema": Bounded.model_json_schema(), "strict": False
    }  # fmt: skip
    assert response_format(Bounded, "json_object") == {"type": "json_object"}
