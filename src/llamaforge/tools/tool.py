"""Tool: a function that a model may call, with the JSON schema of its arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec

from llamaforge.exceptions import ParameterError, ToolError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Json = dict[str, Any]
# What OpenAI's API takes as the name of a function.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# "city: which one", "city (str): which one", ":param city: which one" or ":param str city: which one".
_ARGUMENT: Final = re.compile(r"(?::param\s+(?:\S+\s+)?(\w+)\s*:|(\w+)\s*(?:\([^)]*\))?\s*:)\s*(.*)")
_SECTION: Final = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?)\s*:\s*")
_SHOWN_DEFAULTS: Final = (str, int, float, bool, type(None))
_ARGUMENT_SECTIONS: Final = ("Args", "Arguments", "Parameters")


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call.

    parameters: a JSON schema of an object, the call's arguments. call: takes them by name and returns a value or an
    awaitable of one. seconds: how long one call may take, None for as long as it needs.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[..., Any]
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Raises ParameterError for a name that APIs refuse."""
        if not _NAME.fullmatch(self.name):
            raise ParameterError(f"The name of a tool must be 1 to 64 letters, digits, '_' or '-', not {self.name!r}.")

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | Tool,
        *,
        name: str | None = None,
        description: str | None = None,
        seconds: float | None = None,
    ) -> Tool:
        """A tool from a Python function, plain or asynchronous; a Tool is returned as it is.

        The schema comes from the signature's annotations; the description and those of the arguments come from the
        docstring (its "Args:" section, or ":param name:" lines). Arguments of a call are checked and converted by it.
        Raises ParameterError for a signature that can't be called by name, or an annotation without a schema.
        """
        if isinstance(function, Tool):
            return function
        if not callable(function):
            raise ParameterError(f"A tool is made from a function, not from {type(function).__name__}.")
        text, of_arguments = _documentation(inspect.getdoc(function) or "")
        model, names, takes_more = _model_of(function, of_arguments)

        def call(**arguments: Any) -> Any:
            return function(**_checked(model, names, arguments, takes_more=takes_more))

        found = str(name or getattr(function, "__name__", type(function).__name__))
        return cls(found, text if description is None else description, _schema_of(model, found), call, seconds)

    @property
    def definition(self) -> Json:
        """The tool in the form of OpenAI's requests."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


def as_text(value: Any) -> str:
    """A tool's value as the model reads it: text as it is, other values as JSON where they have any."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic's
    return dump(mode="json") if callable(dump) else str(value)


def _model_of(
    function: Callable[..., Any], descriptions: Mapping[str, str]
) -> tuple[type[BaseModel], dict[str, str], bool]:
    """A pydantic class of the arguments, its fields' names with those of the arguments, and whether it takes others.

    The fields have names of their own, since pydantic keeps some for itself.
    """
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415 -- a tenth of a second

    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    takes_more = False
    for number, parameter in enumerate(_parameters(function)):
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
            raise ParameterError(f"A tool is called by name, which the argument '{parameter.name}' does not allow.")
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        about: Json = {"alias": parameter.name, "description": descriptions.get(parameter.name)}
        if isinstance(parameter.default, _SHOWN_DEFAULTS):
            about["default"] = parameter.default
        elif parameter.default is not parameter.empty:
            # Not shown to the model; the call leaves it to the function.
            about["default_factory"] = lambda: None
        field = Field(**about)
        fields[f"argument_{number}"] = (kind, field)
        names[f"argument_{number}"] = parameter.name
    config = ConfigDict(extra="allow" if takes_more else "forbid", arbitrary_types_allowed=False)
    try:
        return create_model("Arguments", __config__=config, **fields), names, takes_more
    except Exception as error:
        # Pydantic has a dozen ways to say that a type has no schema.
        raise ParameterError(f"The arguments of a tool need annotations that have a JSON schema: {error}") from error


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function with annotations that are types, also where they were written as text."""
    try:
        signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True) if inspect.isroutine(function) else {}
    except (TypeError, ValueError, NameError) as error:
        raise ParameterError(f"The signature of a tool can't be read: {error}") from error
    return [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]


def _schema_of(model: type[BaseModel], name: str) -> Json:
    try:
        schema = model.model_json_schema()
    except Exception as error:
        raise ParameterError(f"The arguments of the tool '{name}' have no JSON schema: {error}") from error
    schema.pop("title", None)
    for part in schema.setdefault("properties", {}).values():
        part.pop("title", None)
    return schema


def _checked(model: type[BaseModel], names: Mapping[str, str], arguments: Json, *, takes_more: bool) -> Json:
    """The arguments of a call as the function takes them; those left out keep the function's defaults."""
    from pydantic import ValidationError  # noqa: PLC0415 -- loaded with the class

    try:
        made = model.model_validate(arguments)
    except ValidationError as error:
        raise ToolError(f"The arguments don't fit. {_problems(error)}") from None
    found = {name: getattr(made, field) for field, name in names.items() if field in made.model_fields_set}
    return {**found, **(made.model_extra or {})} if takes_more else found


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(map(str, p['loc'])) or 'arguments'}: {p['msg']}" for p in problems[:5]]
    return "; ".join(told) + "."


def _documentation(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each argument."""
    about: list[str] = []
    arguments: dict[str, str] = {}
    section, latest = "", ""
    for line in text.splitlines():
        stripped = line.strip()
        if heading := _SECTION.fullmatch(stripped):
            section, latest = heading[1], ""
            continue
        if section and stripped and not line.startswith((" ", "\t")):
            section = ""
        found = _ARGUMENT.match(stripped) if section in _ARGUMENT_SECTIONS or stripped.startswith(":param") else None
        if found:
            latest = found[1] or found[2]
            arguments[latest] = found[3]
        elif section in _ARGUMENT_SECTIONS:
            if latest and stripped:
                arguments[latest] += f" {stripped}"
        elif not section and not stripped.startswith(":"):
            about.append(line)
    return "\n".join(about).strip(), arguments
