"""What a plugin returns, as JSON: models, dataclasses, responses and whatever else a person may give back."""

import base64
import dataclasses
import datetime as dt
import enum
import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

# What marks a value that JSON has no form for.
BYTES: Final = "$bytes"
RESPONSE: Final = "$response"
UPLOAD: Final = "$upload"
# A text about a value that has no other form.
_LONGEST: Final = 10_000


def plain(value: Any) -> Any:
    """The value, made of JSON's types alone. Raises ValueError for one that contains itself."""
    return json.loads(text(value))


def text(value: Any) -> str:
    """The value as JSON. Raises ValueError for one that contains itself, or is nested too deeply."""
    try:
        return json.dumps(value, default=_form, skipkeys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError as error:
        raise ValueError("What it returned is nested too deeply.") from error


def _form(value: Any) -> Any:
    """A value of a type that JSON does not have, in types that it has."""
    if isinstance(value, type):
        return str(value)
    if (dump := getattr(value, "model_dump", None)) is not None:
        return dump()
    if hasattr(value, "status_code") and hasattr(value, "body") and hasattr(value, "headers"):
        return {RESPONSE: _response(value)}
    if hasattr(value, "filename") and hasattr(value, "file") and hasattr(value.file, "read"):
        return {UPLOAD: _upload(value)}
    return next(form(value) for kind, form in _FORMS if isinstance(value, kind))


def _response(value: Any) -> dict[str, Any]:
    return {
        "status": int(value.status_code),
        "headers": {str(k).lower(): str(v) for k, v in dict(value.headers).items()},
        "body": bytes(value.body).decode("utf-8", "replace"),
    }


def _upload(value: Any) -> dict[str, Any]:
    """A file as forms of the web have it, read from where it stands."""
    kind = getattr(value, "content_type", None)
    return {"filename": str(value.filename), "content_type": None if kind is None else str(kind), "data": value.file}


def _fields(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return str(value)[:_LONGEST]
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


_FORMS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (bytes | bytearray | memoryview, lambda value: {BYTES: base64.b64encode(bytes(value)).decode()}),
    (io.IOBase, lambda value: value.read()),
    (dt.date | dt.time, lambda value: value.isoformat()),
    (enum.Enum, lambda value: value.value),
    (Mapping, dict),
    (Iterable, list),
    (object, _fields),
)
