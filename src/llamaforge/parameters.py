"""The names of parameters: one meaning under many spellings, and an unknown one refused with the nearest known."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llamaforge.exceptions import ParameterError

Kind = Literal["int", "float", "bool", "text", "texts", "object", "list", "any"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name here, other spellings of it, what it takes and its bounds (both included)."""

    name: str
    kind: Kind = "any"
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


# What generations of every kind take. Names are those of the llama.cpp backend's documentation; the aliases are those of
# Transformers, OpenAI's API and Ollama's options.
SAMPLING: tuple[Parameter, ...] = (
    Parameter("temperature", "float", low=0.0, high=100.0),
    Parameter("top_p", "float", low=0.0, high=1.0),
    Parameter("top_k", "int", low=-1),
    Parameter("min_p", "float", low=0.0, high=1.0),
    Parameter("typical_p", "float", low=0.0, high=1.0),
    Parameter("max_tokens", "int", ("max_new_tokens", "max_completion_tokens", "num_predict", "n_predict"), low=-1),
    Parameter("stop", "texts", ("stop_strings", "stop_sequences")),
    Parameter("seed", "int"),
    Parameter("repeat_penalty", "float", ("repetition_penalty",), low=0.0),
    Parameter("repeat_last_n", "int", low=-1),
    Parameter("presence_penalty", "float"),
    Parameter("frequency_penalty", "float"),
)
# What shapes an answer rather than its words.
SHAPE: tuple[Parameter, ...] = (
    Parameter("json_schema", "object"),
    Parameter("grammar", "text"),
    Parameter("response_format", "object"),
    Parameter("tools", "list"),
    Parameter("tool_choice", "any"),
    Parameter("parallel_tool_calls", "bool"),
)


def resolve(given: Mapping[str, Any] | None, known: Iterable[Parameter], what: str = "parameter") -> dict[str, Any]:
    """`given` under the names of `known`, values checked; those that are None are left out.

    Raises ParameterError for an unknown name (with the nearest known), for two spellings of one parameter, and for a
    value of a wrong type or out of bounds.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ParameterError(f"The {what}s must be a mapping of names to values.")
    names = spellings(known)
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for name, value in given.items():
        parameter = names.get(name)
        if parameter is None:
            raise ParameterError(unknown(name, names, what))
        if parameter.name in spelled:
            raise ParameterError(f"'{spelled[parameter.name]}' and '{name}' are the same {what}; give one of them.")
        spelled[parameter.name] = name
        if value is not None:
            found[parameter.name] = checked(parameter, name, value)
    return found


def spellings(known: Iterable[Parameter]) -> dict[str, Parameter]:
    """Every accepted spelling with its parameter."""
    return {spelling: parameter for parameter in known for spelling in (parameter.name, *parameter.aliases)}


def unknown(name: object, names: Iterable[str], what: str = "parameter") -> str:
    """The sentence about a name that nobody knows."""
    choices = list(names)
    near = difflib.get_close_matches(str(name).lower(), choices, n=1, cutoff=0.6)
    known = f" Known: {', '.join(sorted(choices))}." if choices else " There are none yet."
    hint = f" Did you mean '{near[0]}'?" if near else known
    return f"There is no {what} '{name}'.{hint}"


def checked(parameter: Parameter, name: str, value: Any) -> Any:
    """`value` as the parameter takes it: a whole float becomes an int, a single text a list. Raises ParameterError."""
    kind = parameter.kind
    if kind in {"int", "float"}:
        return _number(parameter, name, value)
    if kind == "bool" and not isinstance(value, bool):
        raise ParameterError(f"'{name}' must be true or false.")
    if kind == "text" and not isinstance(value, str):
        raise ParameterError(f"'{name}' must be text.")
    if kind == "texts":
        return _texts(name, value)
    if kind == "object" and not isinstance(value, Mapping):
        raise ParameterError(f"'{name}' must be an object.")
    if kind == "list" and not (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
        raise ParameterError(f"'{name}' must be a list.")
    return value


def _number(parameter: Parameter, name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise ParameterError(f"'{name}' must be a number.")
    if parameter.kind == "int" and value != int(value):
        raise ParameterError(f"'{name}' must be a whole number.")
    low, high = parameter.low, parameter.high
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"between {low or 0:g} and {high:g}"
        raise ParameterError(f"'{name}' must be {bounds}.")
    if parameter.name == "max_tokens" and value == 0:  # engines write one, or none, or as many as fit
        raise ParameterError(f"'{name}' must be at least 1, or -1 for as many as fit.")
    return int(value) if parameter.kind == "int" else float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _texts(name: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ParameterError(f"'{name}' must be text or a list of texts.")
    return [text for text in texts if text]
