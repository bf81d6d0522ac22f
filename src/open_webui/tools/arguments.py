"""Whether the arguments of a call are as the tool's JSON schema says: what is wrong is told to the model.

What this doesn't know of JSON Schema is taken as fulfilled: the tool itself checks again.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest

# Things that are told at once.
_MOST: Final = 8
# Schemas may be of other people: so much work, and so deep.
_STEPS: Final = 20_000
_DEEPEST: Final = 30
_TYPES: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


WRONG: Final = "The arguments of '{}' are not as its parameters say: {}. Call it again with arguments that are."


def checked(definition: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call as its tool gets them. Raises BadRequest with a sentence for the model."""
    schema = definition.get("parameters")
    meant = fitted(schema, arguments)
    if wrong := problems(schema, meant):
        raise BadRequest(WRONG.format(definition.get("name"), "; ".join(wrong)))
    return meant


def fitted(schema: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as a model means them: a number or a yes that it wrote as a text is one where the schema wants one, and what
    it left empty with null is left out where it may be.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return arguments
    required = schema.get("required")
    needed = required if isinstance(required, list) else ()
    out = {}
    for name, value in arguments.items():
        wanted = properties.get(name)
        if value is None and name not in needed and name in properties and not _fits(schema, wanted, None):
            continue
        out[name] = _typed(wanted, value)
    return out


def _typed(wanted: Any, value: Any) -> Any:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if isinstance(value, str) and kind in ("integer", "number", "boolean", "array", "object"):
        try:
            read = msgspec.json.decode(value.strip().lower().encode() if kind == "boolean" else value.encode())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return value
        return _typed(wanted, read) if _is(kind, read) else value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "string" and _is("number", value):
        return str(value)
    return value


def problems(schema: Any, arguments: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments, in words; nothing where they fit."""
    return list(dict.fromkeys(_Check(schema).of(schema, arguments, "", 0)))[:_MOST]


def _fits(whole: Any, schema: Any, value: Any) -> bool:
    return next(_Check(whole).of(schema, value, "", 0), None) is None


class _Check:
    """One walk through a schema. whole: where its references lead."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self._left = _STEPS

    def of(self, schema: Any, value: Any, at: str, depth: int) -> Iterator[str]:
        self._left -= 1
        if not isinstance(schema, dict) or self._left < 0 or depth > _DEEPEST:
            return
        where = f"'{at}'" if at else "what you gave"
        if isinstance(reference := schema.get("$ref"), str):
            yield from self.of(self._found(reference), value, at, depth + 1)
        if (said := _wrong_type(schema, value)) is not None:
            yield f"{where} should be {said}"
            return
        if isinstance(choices := schema.get("enum"), list) and not any(_same(value, one) for one in choices):
            yield f"{where} should be one of {_listed(choices)}"
        if "const" in schema and not _same(value, schema["const"]):
            yield f"{where} should be {_listed([schema['const']])}"
        if (said := _out_of_bounds(schema, value)) is not None:
            yield f"{where} {said}"
        yield from self._combined(schema, value, at, depth)
        if isinstance(value, dict):
            yield from self._members(schema, value, at, depth)
        elif isinstance(value, list):
            for n, one in enumerate(value):
                yield from self.of(schema.get("items"), one, f"{at}[{n}]", depth + 1)

    def _combined(self, schema: dict[str, Any], value: Any, at: str, depth: int) -> Iterator[str]:
        for one in _list(schema, "allOf"):
            yield from self.of(one, value, at, depth + 1)
        for name in ("anyOf", "oneOf"):
            choices, first = _list(schema, name), list[str]()
            for one in choices:
                found = next(self.of(one, value, at, depth + 1), None)
                if found is None:
                    break
                first.append(found)
            else:
                if choices:
                    yield " or ".join(list(dict.fromkeys(first))[:3])

    def _members(self, schema: dict[str, Any], value: dict[str, Any], at: str, depth: int) -> Iterator[str]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        inside = f"{at}." if at else ""
        for name in _list(schema, "required"):
            if isinstance(name, str) and name not in value:
                yield f"'{inside}{name}' is missing"
        others = schema.get("additionalProperties")
        for name, one in value.items():
            if name in properties:
                yield from self.of(properties[name], one, f"{inside}{name}", depth + 1)
            elif others is False and "patternProperties" not in schema:
                yield f"there is no '{inside}{name[:100]}'"
            else:
                yield from self.of(others, one, f"{inside}{name[:100]}", depth + 1)

    def _found(self, reference: str) -> Any:
        """What a reference inside the schema leads to; None for another."""
        found: Any = self._whole
        if not reference.startswith("#"):
            return None
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []


def _wrong_type(schema: Mapping[str, Any], value: Any) -> str | None:
    """What a value should be that has another type."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    known = [kind for kind in kinds if kind in _TYPES] if isinstance(kinds, list) else []
    if not known or len(known) < len(kinds or ()) or any(_is(kind, value) for kind in known):
        return None
    if value is None and schema.get("nullable") is True:
        return None
    return " or ".join(_TYPES[kind] for kind in known)


def _is(kind: str, value: Any) -> bool:
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "array": list, "object": dict}[kind])


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


_BOUNDS: Final[dict[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "minimum": ("should be at least {}", lambda value, bound: value >= bound),
    "maximum": ("should be at most {}", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("should be more than {}", lambda value, bound: value > bound),
    "exclusiveMaximum": ("should be less than {}", lambda value, bound: value < bound),
}
_SIZES: Final[dict[type, tuple[str, str, str]]] = {
    str: ("minLength", "maxLength", "characters"),
    list: ("minItems", "maxItems", "entries"),
}


def _out_of_bounds(schema: Mapping[str, Any], value: Any) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, (said, holds) in _BOUNDS.items():
            bound = schema.get(name)
            if _is("number", bound) and not holds(value, bound):
                return said.format(bound)
    if isinstance(value, str | list):
        least, most, what = _SIZES[type(value)]
        low, high = schema.get(least), schema.get(most)
        if isinstance(low, int) and len(value) < low:
            return f"should have at least {low} {what}"
        if isinstance(high, int) and len(value) > high:
            return f"should have at most {high} {what}"
    return None


def _listed(choices: list[Any]) -> str:
    shown = [f'"{one[:60]}"' if isinstance(one, str) else str(one)[:60] for one in choices[:20]]
    return ", ".join(shown) + (" …" if len(choices) > len(shown) else "")
