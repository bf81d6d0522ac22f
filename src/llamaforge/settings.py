"""The settings that the configuration knows: what each takes, read from JSON and from the words of a command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llamaforge.exceptions import BackendNotFoundError, ConfigError, ParameterError
from llamaforge.parameters import Parameter, checked, spellings, unknown

SETTINGS: tuple[Parameter, ...] = (
    Parameter("default_model", "text"),
    Parameter("server.host", "text"),
    Parameter("server.port", "int", low=0, high=65535),
    Parameter("server.enable_cors", "bool"),
    Parameter("server.request_timeout", "float", low=0.001),
    Parameter("logging.level", "text"),
    Parameter("logging.file", "text"),
    Parameter("logging.format", "text"),
    Parameter("plugins.enabled", "texts"),
    Parameter("plugins.config", "object"),
    Parameter("models_dir", "text"),
    Parameter("cache_dir", "text"),
    Parameter("temp_dir", "text"),
    Parameter("memory_budget"),
    Parameter("log_conversations", "bool"),
    Parameter("active_profile", "text"),
)
_KNOWN = {setting.name: setting for setting in SETTINGS}
_PLACES = ("api_keys.BACKEND", "backends.BACKEND.default_parameters.NAME", "models.MODEL.parameters.NAME")
# Of these a file may say nothing by null.
_OPTIONAL = {"default_model", "logging.file", "logging.format", "memory_budget", "active_profile"}
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_SCALARS = frozenset({"bool", "int", "float", "text"})
# Names of backends and models may have dots: what follows them tells where they end.
_KEYS = (
    re.compile(r"(api_keys)\.(.+)"),
    re.compile(r"(backends)\.(.+?)\.(default_parameters)(?:\.(.+))?"),
    re.compile(r"(models)\.(.+?)\.(path|backend|parameters|metadata)(?:\.(.+))?"),
)


def split(key: str) -> tuple[str, ...] | None:
    """The parts of a key with the name of a backend or model in it, or None for another."""
    match = next((found for pattern in _KEYS if (found := pattern.fullmatch(key))), None)
    return None if match is None else tuple(part for part in match.groups() if part is not None)


def setting(parts: tuple[str, ...], models: Mapping[str, Mapping[str, Any]]) -> Parameter:
    """What the setting at this key takes. models: the noted ones. Raises ConfigError, with the nearest key, for none."""
    key = ".".join(parts)
    match parts:
        case ("api_keys", _):
            return Parameter(key, "text")
        case ("models", name, *_) if name not in models:
            raise ConfigError(unknown(name, models, "model"))
        case ("models", _, "path" | "backend"):
            return Parameter(key, "text")
        case ("models", _, "parameters" | "metadata") | ("backends", _, "default_parameters"):
            return Parameter(key, "object")
        case ("models", _, "metadata", _):
            return Parameter(key)
        case ("models", model, "parameters", name):
            return _of_backend(str(models[model].get("backend")), name, key)
        case ("backends", backend, "default_parameters", name):
            return _of_backend(backend, name, key)
    if key not in _KNOWN:
        raise ConfigError(unknown(key, (*_KNOWN, *_PLACES), "setting"))
    return _KNOWN[key]


def _of_backend(backend: str, name: str, key: str) -> Parameter:
    """The parameter `name` of a backend. A backend that declares none, or that a program registers, may have any."""
    from llamaforge.backends import get_backend  # noqa: PLC0415 - the one key that needs a backend

    try:
        cls = get_backend(backend)
    except BackendNotFoundError:
        return Parameter(key)
    known = spellings((*(cls.load_parameters or ()), *(cls.generation_parameters or ())))
    if known and name not in known:
        raise ConfigError(unknown(name, known, f"parameter of the backend '{backend}' called"))
    return replace(known[name], name=key) if known else Parameter(key)


def value_of(text: str) -> Any:
    """A value as JSON; what is no JSON is text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def from_words(known: Parameter, words: str) -> Any:
    """The value that `words` of a command line mean for a setting. Raises ParameterError with what it takes."""
    value = value_of(words)
    if value is None and (known.name in _OPTIONAL or known.kind == "any"):
        return None
    if known.name == "memory_budget":
        from llamaforge.memory.devices import parse_budget  # noqa: PLC0415 - as above

        parse_budget(value)
    if known.name == "logging.level" and words not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ParameterError("'logging.level' must be DEBUG, INFO, WARNING or ERROR.")
    if known.kind == "text":
        return value if isinstance(value, str) else words
    if known.kind == "texts" and isinstance(value, str):
        value = [word.strip() for word in words.split(",")]
    return _checked(known, value)


def typed(content: Mapping[str, Any], source: str) -> None:
    """Give the settings in `content` their types, in place: "False" becomes false, "8000" a number.

    A null of one that has to be something goes, so that its default counts.

    Raises ConfigError for a value that can't be one of the setting.
    """
    for known in SETTINGS:
        *sections, name = known.name.split(".")
        place: Any = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or known.kind not in _SCALARS:
            continue
        if place.get(name) is None:
            if known.name not in _OPTIONAL:
                place.pop(name, None)
            continue
        try:
            place[name] = _checked(known, place[name])
        except ParameterError as error:
            raise ConfigError(f"{source}: {error}") from error


def _checked(known: Parameter, value: Any) -> Any:
    """`value`, or what it says where it is the text of a truth or number. Raises ParameterError."""
    if known.kind == "bool" and str(value).lower() in _TRUE | _FALSE:
        value = str(value).lower() in _TRUE
    elif known.kind in {"int", "float"} and isinstance(value, str):
        value = value_of(value)
    found = checked(known, known.name, value)
    return value if known.kind == "float" else found  # 300 stays 300
