"""What a plugin is: its kind, its members, the tools that it offers to models, and the forms of its settings."""

import inspect
import re
import typing
import warnings
from collections.abc import Callable
from typing import Any, Final

from oui_sandbox.annotations import is_usual, schema_of

KINDS: Final = {"Tools": "tool", "Pipe": "pipe", "Filter": "filter", "Action": "action", "Event": "event"}
_MEMBERS: Final = ("inlet", "outlet", "stream", "pipe", "pipes", "action", "event")
_PARAM: Final = re.compile(r":param\s+(?:\w[\w\[\], .]*\s+)?(\w+)\s*:\s*(.*)")
_FIELD: Final = re.compile(r"\s*:(?:param|return|returns|raises|type|rtype)\b")
# What goes into the answer of `load` from an instance's own attributes.
_OWN: Final = ("name", "type", "icon", "toggle", "citation", "file_handler", "description", "id", "actions")


class NoPlugin(Exception):
    """Why a text is no plugin, as a sentence."""


def entry_class(module: Any) -> tuple[str, type]:
    """The kind and the class of a plugin. Raises NoPlugin."""
    for name, kind in KINDS.items():
        if isinstance(found := getattr(module, name, None), type):
            return kind, found
    raise NoPlugin(f"There is no class named {', '.join(list(KINDS)[:-1])} or Event in it.")


def describe(kind: str, instance: Any, module: Any) -> dict[str, Any]:
    """What `load` answers. Raises whatever the plugin's own code raises."""
    offered = _tools(instance) if kind == "tool" else {}
    members = offered or {m: f for m in _MEMBERS if callable(f := getattr(instance, m, None))}
    own = {name: value for name in _OWN if (value := getattr(instance, name, None)) is not None and not callable(value)}
    own.setdefault("file_handler", bool(getattr(module, "file_handler", False)))
    return {
        "kind": kind,
        "members": {name: _member(function) for name, function in members.items()},
        "specs": [_spec(name, function) for name, function in offered.items()],
        "attributes": own,
        "has_pipes": hasattr(instance, "pipes"),
        # A list of models that is no function.
        "pipes": pipes if isinstance(pipes := getattr(instance, "pipes", None), list) else None,
        "valves": _schema(instance, "Valves"),
        "user_valves": _schema(instance, "UserValves"),
    }


def wanted(function: Callable[..., Any]) -> frozenset[str]:
    """The names in double underscores that a function takes."""
    return frozenset(n for n in inspect.signature(function).parameters if n.startswith("__") and n.endswith("__"))


def _tools(instance: Any) -> dict[str, Callable[..., Any]]:
    found = {}
    for name in vars(type(instance)) | _inherited(type(instance)):
        value = getattr(instance, name, None)
        if not name.startswith("_") and callable(value) and not isinstance(value, type):
            found[name] = value
    found.pop("on_valves_updated", None)
    return found


def _inherited(kind: type) -> dict[str, Any]:
    return {name: value for base in kind.__mro__[1:-1] for name, value in vars(base).items()}


def _member(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {
        "wants": sorted(wanted(function)),
        "parameters": [n for n in parameters if not n.startswith("__")],
        "takes_any": any(p.kind is p.VAR_KEYWORD for p in parameters.values()),
        "is_async": inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
    }


def _spec(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """A tool as a model is told of it: OpenAI's function object."""
    text = inspect.getdoc(function) or ""
    lines = text.splitlines()
    told = {m[1]: m[2].strip() for line in lines if (m := _PARAM.match(line.strip()))}
    description = "\n".join(line for line in lines[: _first_field(lines)]).strip()
    return {"name": name, "description": description or name, "parameters": _parameters(function, told)}


def _first_field(lines: list[str]) -> int:
    return next((i for i, line in enumerate(lines) if _FIELD.match(line)), len(lines))


def _parameters(function: Callable[..., Any], told: dict[str, str]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    return _usual(function, told, hints) or _by_pydantic(function, told, hints)


def _usual(function: Callable[..., Any], told: dict[str, str], hints: dict[str, Any]) -> dict[str, Any] | None:
    """The same as Pydantic would say, where all of a function's parameters are usual."""
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in _offered(function):
        entry = schema_of(hints[name]) if name in hints else None
        if entry is None:
            return None
        if parameter.default is parameter.empty:
            required.append(name)
        elif not is_usual(parameter.default):
            return None
        else:
            entry["default"] = parameter.default
        properties[name] = entry | ({"description": told[name]} if name in told else {})
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _offered(function: Callable[..., Any]) -> list[tuple[str, inspect.Parameter]]:
    """The parameters that a model gives."""
    return [
        (name, parameter)
        for name, parameter in inspect.signature(function).parameters.items()
        if not name.startswith("_") and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    ]


def _by_pydantic(function: Callable[..., Any], told: dict[str, str], hints: dict[str, Any]) -> dict[str, Any]:
    from pydantic import Field  # noqa: PLC0415 - a plugin without tools needs none
    from pydantic.errors import PydanticUserError  # noqa: PLC0415
    from pydantic.fields import FieldInfo  # noqa: PLC0415

    fields: dict[str, Any] = {}
    for name, parameter in _offered(function):
        default = ... if parameter.default is parameter.empty else parameter.default
        if not isinstance(default, FieldInfo):
            default = Field(default, description=told.get(name))
        elif default.description is None:
            default.description = told.get(name)
        fields[name] = (hints.get(name, Any), default)
    try:
        schema = _schema_of(fields)
    except PydanticUserError:
        schema = _schema_of({name: (Any, default) for name, (_, default) in fields.items()})
    for entry in schema["properties"].values():
        entry.pop("title", None)
    return schema


def _schema_of(fields: dict[str, Any]) -> dict[str, Any]:
    from pydantic import create_model  # noqa: PLC0415

    with warnings.catch_warnings():
        # Parameters may have the names of a model's own members.
        warnings.simplefilter("ignore")
        schema: dict[str, Any] = create_model("Arguments", **fields).model_json_schema()
    schema.pop("title", None)
    return {"type": "object", "properties": {}} | schema


def _schema(instance: Any, name: str) -> dict[str, Any] | None:
    model = getattr(instance, name, None)
    make = getattr(model, "model_json_schema", None)
    return None if make is None else make()
