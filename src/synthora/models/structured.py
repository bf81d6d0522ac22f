"""Structured output: a pydantic class as `response_format`, and the answer as an object of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from synthora.exceptions import StructuredOutputError
from synthora.messages import BaseMessage

Schema = dict[str, Any]


def response_format(cls: type[BaseModel]) -> Schema:
    """What a request asks for. Strict, so that the model can't leave the schema, unless it has objects of free keys."""
    schema = cls.model_json_schema()
    root = _resolved(schema, schema) if "$ref" in schema else schema
    strict = not _has_free_keys(schema)
    if strict:
        root = _strict(root, schema)
        if definitions := schema.get("$defs"):
            root["$defs"] = {name: _strict(part, schema) for name, part in definitions.items()}
    named = {"name": cls.__name__, "schema": root, "strict": strict}
    return {"type": "json_schema", "json_schema": named}


def parse(message: BaseMessage, cls: type[BaseModel]) -> BaseModel | None:
    """The object that a finished answer is, None for a refusal or a call of tools.

    Raises StructuredOutputError with the message where the answer is something else.
    """
    if message.metadata.get("refusal") or message.tool_calls:
        return None
    try:
        return cls.model_validate_json(message.content or "")
    except ValidationError as error:
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


def _strict(schema: Any, root: Schema) -> Any:
    """Every object with all of its keys required and no others; a reference stands alone. A new schema."""
    if isinstance(schema, list):
        return [_strict(part, root) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema and len(schema) > 1:
        schema = _resolved(schema, root)
    changed = {name: _strict(part, root) for name, part in schema.items() if name not in {"$defs", "default"}}
    if schema.get("type") == "object":
        changed["properties"] = {name: _strict(part, root) for name, part in schema.get("properties", {}).items()}
        changed["required"] = list(changed["properties"])
        changed["additionalProperties"] = False
    return changed


def _has_free_keys(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(_has_free_keys(part) for part in schema)
    if not isinstance(schema, dict):
        return False
    free = schema.get("type") == "object" and schema.get("additionalProperties", False) is not False
    return free or any(_has_free_keys(part) for part in schema.values())
