"""Values of any form as typed ones, field by field: a field of an unexpected kind is lost, the rest is kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
_NOTHING: dict[str, Any] = {}


def fields(value: Any) -> Mapping[str, Any]:
    """What a dictionary or an object of the openai SDK holds, with what the provider added; nothing of anything else.

    An attribute that a pydantic object lacks takes microseconds to be refused, and providers leave much out.
    """
    if isinstance(value, dict):
        return value
    found: dict[str, Any] = getattr(value, "__dict__", _NOTHING)
    more = getattr(value, "__pydantic_extra__", None)
    return {**found, **more} if more else found


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) or hasattr(value, "__dict__")


class _Field(NamedTuple):
    """struct: the type of the struct, or of the structs in a list, that the field holds."""

    name: str
    type: Any
    struct: type[msgspec.Struct] | None
    is_list: bool


@cache
def _fields_of(kind: type[msgspec.Struct]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(_field(name, hints[name]) for name in kind.__struct_fields__)


def _field(name: str, hint: Any) -> _Field:
    for option in get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,):
        inner = get_args(option)[0] if get_origin(option) is list else option
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return _Field(name, hint, inner, inner is not option)
    return _Field(name, hint, None, is_list=False)


def _is_empty(value: Any) -> bool:
    return value in ("", [], {})


def convert(value: Any, kind: type[S]) -> tuple[S, int]:
    """The struct that a dictionary or an object of the SDK is, and how many of its values were lost.

    A number that is written as a text is one; what is empty is no loss, whatever its kind.
    """
    given = fields(value)
    found: dict[str, Any] = {}
    lost = 0 if _is_object(value) else 1
    for field in _fields_of(kind):
        raw = given.get(field.name)
        if raw is None:
            continue
        if field.struct is None:
            try:
                found[field.name] = msgspec.convert(raw, field.type, strict=False)
            except msgspec.ValidationError:
                lost += not _is_empty(raw)
        elif field.is_list and isinstance(raw, list | dict):
            # One that stands in the place of a list with one.
            raw = [raw] if isinstance(raw, dict) and not raw.keys().isdisjoint(field.struct.__struct_fields__) else raw
            objects = [convert(item, field.struct) for item in raw if _is_object(item)]
            found[field.name] = [item for item, _ in objects]
            lost += len(raw) - len(objects) + sum(more for _, more in objects)
        elif not field.is_list and _is_object(raw):
            found[field.name], more = convert(raw, field.struct)
            lost += more
        else:
            lost += not _is_empty(raw)
    return kind(**found), lost


def text(value: Any) -> str:
    """A text; an empty one in the place of anything else."""
    return value if isinstance(value, str) else ""


def items(value: Any) -> list[Any]:
    """A list; an empty one in the place of anything else."""
    return value if isinstance(value, list) else []


def mapping(value: Any) -> dict[str, Any]:
    """A dictionary; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> int | None:
    """A number of tokens; None in the place of anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
