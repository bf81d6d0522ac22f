"""The schemas of usual annotations as Pydantic makes them, without it: its first model costs each process 2 MB."""

import types
import typing
from typing import Any, Final

_USUAL: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"items": {}, "type": "array"},
    dict: {"additionalProperties": True, "type": "object"},
    type(None): {"type": "null"},
}


def schema_of(annotation: Any) -> dict[str, Any] | None:
    """What the annotation allows; None for one that is not usual."""
    try:
        known = _USUAL.get(annotation)
    except TypeError:
        return None
    if known is not None:
        return dict(known)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return {"enum": list(arguments), "type": "string"} if _are_words(arguments) else None
    if origin not in {list, dict, typing.Union, types.UnionType} or (origin is dict and arguments[0] is not str):
        return None
    parts = [schema_of(each) for each in (arguments[1:] if origin is dict else arguments)]
    if None in parts:
        return None
    if origin is list:
        return {"items": parts[0], "type": "array"}
    if origin is dict:
        return {"additionalProperties": parts[0], "type": "object"}
    return {"anyOf": parts}


def is_usual(default: Any) -> bool:
    """Whether a default stands in a schema as it is."""
    return default is None or isinstance(default, bool | int | str)


def _are_words(values: tuple[Any, ...]) -> bool:
    return len(values) > 1 and all(type(value) is str for value in values)
