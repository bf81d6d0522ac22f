"""Structured output: a pydantic class as `response_format`, and the answer as an object of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from synthora.exceptions import StructuredOutputError
from synthora.messages import BaseMessage

Schema = dict[str, Any]
# The keywords of JSON Schema whose values are schemas: by name, in a list, or alone. Values of others are data.
_MAPS: Final = frozenset({"$defs", "definitions", "properties"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE: Final = frozenset({"additionalProperties", "items", "not"})
# What OpenAI refuses in a strict schema, and what has no other form there.
_NEVER_STRICT: Final = frozenset({
    "allOf", "contains", "dependentRequired", "dependentSchemas", "else", "if", "not", "patternProperties", "prefixItems",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
})  # fmt: skip
# What Anthropic refuses in a schema; whether an answer keeps to it is seen when it is read.
_NOT_HELD: Final = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems",
})  # fmt: skip
_FENCED: Final = re.compile(r"```[\w+-]*\s*?\n(.*?)\n?[ \t]*```", re.DOTALL)


def response_format(cls: type[BaseModel], dialect: str = "openai-strict") -> Schema:
    """What a request asks for. Strict, so that the model can't leave the schema, where the schema can be made so.

    It can't be with objects of free keys, and with keywords that OpenAI does not take (`uniqueItems`, `prefixItems`, ...).
    dialect: see Profile.schemas.
    """
    if dialect == "json_object":
        return {"type": "json_object"}
    schema = cls.model_json_schema()
    root = _resolved(schema, schema) if "$ref" in schema else schema
    strict = dialect != "plain" and root.get("type") == "object" and _can_be_strict(schema)
    if strict:
        root = _strict(root, schema)
        if definitions := schema.get("$defs"):
            root["$defs"] = {name: _strict(part, schema) for name, part in definitions.items()}
    if dialect in {"anthropic", "gemini"}:
        root = _said(root, _NOT_HELD if dialect == "anthropic" else frozenset())
    named = {"name": cls.__name__, "schema": root, "strict": strict}
    return {"type": "json_schema", "json_schema": named}


def parse(message: BaseMessage, cls: type[BaseModel]) -> BaseModel | None:
    """The object that a finished answer is, in a code fence or not; None for a refusal or a call of tools.

    Raises StructuredOutputError with the message where the answer is something else.
    """
    if message.metadata.get("refusal") or message.tool_calls:
        return None
    text = message.content or ""
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        for fenced in _FENCED.findall(text):
            try:
                return cls.model_validate_json(fenced)
            except ValidationError:
                continue
        cut = message.metadata.get("finish_reason") == "length"
        why = "it was cut off at 'max_tokens'" if cut else _first_problem(error)
        raise StructuredOutputError(f"The answer is no {cls.__name__}: {why}.", message) from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def _resolved(schema: Schema, root: Schema) -> Schema:
    """A schema that is a reference, with what it refers to and what stands beside it."""
    beside = {name: part for name, part in schema.items() if name != "$ref"}
    found: Any = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **beside}


def _strict(schema: Any, root: Schema, *, copied: bool = False) -> Any:
    """Every object with all of its keys required and no others, alternatives as `anyOf`. A new schema.

    A reference stands alone: what it refers to is copied where something stands beside it. copied: whether this is within
    such a copy, where a reference with something beside it becomes the one alternative of an `anyOf`; so that recursion
    ends, and copies of copies don't grow.
    """
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        beside = {name: part for name, part in schema.items() if name not in {"$ref", "default"}}
        if not beside:
            return {"$ref": schema["$ref"]}
        if copied:
            return {"anyOf": [{"$ref": schema["$ref"]}], **beside}
        schema, copied = _resolved(schema, root), True
    left_out = {"$defs", "default", "discriminator"}
    changed = _mapped(schema, lambda part: _strict(part, root, copied=copied), left_out)
    if (alternatives := changed.pop("oneOf", None)) is not None:
        changed["anyOf"] = alternatives
    if schema.get("type") == "object":
        changed.setdefault("properties", {})
        changed["required"] = list(changed["properties"])
        changed["additionalProperties"] = False
    return changed


def _said(schema: Any, dropped: frozenset[str]) -> Any:
    """A schema without `const`, which becomes an `enum`, and with the dropped keywords in its description."""
    if not isinstance(schema, dict):
        return schema
    changed = _mapped(schema, lambda part: _said(part, dropped), {"const", *dropped})
    if "const" in schema:
        changed["enum"] = [schema["const"]]
    if told := [f"{name}: {schema[name]}" for name in schema if name in dropped]:
        changed["description"] = " ".join((*filter(None, [schema.get("description")]), f"({', '.join(told)})"))
    return changed


def _mapped(schema: Schema, change: Callable[[Any], Any], left_out: set[str]) -> Schema:
    """A copy of a schema with the schemas in it changed."""
    out: Schema = {}
    for name, value in schema.items():
        if name in left_out:
            continue
        if name in _MAPS and isinstance(value, dict):
            out[name] = {key: change(part) for key, part in value.items()}
        elif name in _LISTS and isinstance(value, list):
            out[name] = [change(part) for part in value]
        else:
            out[name] = change(value) if name in _SINGLE else value
    return out


def _can_be_strict(schema: Schema) -> bool:
    free = schema.get("type") == "object" and schema.get("additionalProperties", False) is not False
    if free or not _NEVER_STRICT.isdisjoint(schema) or {"anyOf", "oneOf"} <= schema.keys():
        return False
    return all(_can_be_strict(part) for part in _within(schema) if isinstance(part, dict))


def _within(schema: Schema) -> Iterator[Any]:
    """The schemas that stand in a schema."""
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, dict):
            yield from value.values()
        elif name in _LISTS and isinstance(value, list):
            yield from value
        elif name in _SINGLE:
            yield value
