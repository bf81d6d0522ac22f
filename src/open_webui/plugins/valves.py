"""What can be set of a plugin: the fields of its classes `Valves` and `UserValves`, as a JSON schema, and values."""

import ast
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from open_webui.plugins.annotations import Module, model_of
from open_webui.plugins.text import Unreadable, Which

# Bytes of a form's values.
MAX_VALUES: Final = 100_000


def valves_class(entry: ast.ClassDef, which: Which) -> ast.ClassDef | None:
    """The class inside a plugin's class. Only one that is written there counts; another name for one is none."""
    found = [node for node in entry.body if isinstance(node, ast.ClassDef) and node.name == which]
    return found[-1] if found else None


def valves_model(entry: ast.ClassDef, module: Module, which: Which) -> type[BaseModel] | None:
    """A model of the values; None where the plugin has no such class."""
    node = valves_class(entry, which)
    return None if node is None else model_of(node, module.inside(entry))


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, with what it refers to in its place."""
    schema = model.model_json_schema()
    whole: dict[str, Any] = inlined(schema, schema.pop("$defs", {}))
    return whole


def inlined(value: Any, definitions: dict[str, Any]) -> Any:
    """A schema whose references are replaced by what they refer to. None refers to itself (annotations.Module.made)."""
    if isinstance(value, list):
        return [inlined(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    place = value.get("$ref")
    if isinstance(place, str):
        rest = {key: inner for key, inner in value.items() if key != "$ref"}
        value = definitions.get(place.rpartition("/")[2], {}) | rest
    return {key: inlined(inner, definitions) for key, inner in value.items()}


def checked(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """The values that were given, each made what its field wants; without those that no field is for. Raises Unreadable."""
    try:
        made = model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise Unreadable(f"{place or 'The values'}: {problem['msg']}.") from None
    except TypeError as error:
        raise Unreadable(f"The values can't be checked: {error}.") from None
    return made.model_dump(mode="json", exclude_unset=True)
