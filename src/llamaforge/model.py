"""A model as the configuration knows it: a name, where it lies, which backend runs it and with what."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, MutableMapping
from os import PathLike, fspath
from pathlib import Path, PureWindowsPath
from typing import Any

from llamaforge.exceptions import ConfigError, ParameterError

DEFAULT_BACKEND = "llama.cpp"

_WEIGHTS = (".gguf", ".ggml", ".bin", ".safetensors")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Model:
    """One entry of the configuration. May be subclassed for what a backend wants to add.

    config: the entry itself, {path, backend, parameters, metadata}, kept and not copied: what is changed here is
    changed there.
    """

    def __init__(
        self, name: str, path: str | PathLike[str] | None = None, config: MutableMapping[str, Any] | None = None
    ) -> None:
        """path: wins over the one in `config`. Raises ParameterError for a name that is no text or blank."""
        self.name = checked_name(name, "model")
        self.config: MutableMapping[str, Any] = {} if config is None else config
        if path is not None:
            self.config["path"] = fspath(path)

    @property
    def path(self) -> str | None:
        """A file, a folder, a name on a hub or of a provider."""
        path = self.config.get("path")
        return None if path is None else fspath(path)

    @property
    def backend(self) -> str:
        """The name of the backend that runs it."""
        return str(self.config.get("backend") or DEFAULT_BACKEND)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is stored of the load and of generations, live."""
        return self._section("parameters")

    @property
    def metadata(self) -> dict[str, Any]:
        """Whatever else was noted about the model, live."""
        return self._section("metadata")

    def get_param(self, key: str, default: Any = None) -> Any:
        """The value of `config` at a dotted key such as "parameters.n_ctx", or `default`."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    def get_parameters(self, key: str | None = None, default: Any = None) -> Any:
        """All stored parameters (the live dictionary), or the one called `key`."""
        return self.parameters if key is None else self.parameters.get(key, default)

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """One note about the model, or `default`."""
        return self.metadata.get(key, default)

    def is_local(self) -> bool:
        """Whether `path` names something on this machine, there or not: no URL, no name on a hub or of a provider."""
        return self.path is not None and is_local_path(self.path)

    def update_config(self, changes: Mapping[str, Any]) -> None:
        """Merge `changes` into `config`; a dictionary in both is merged, anything else replaced."""
        if not isinstance(changes, Mapping):
            raise ParameterError("The changes to a model must be an object.")
        merge(self.config, changes)

    def to_dict(self) -> dict[str, Any]:
        """A copy of all that is known: the whole entry with name, path, backend, parameters and metadata."""
        known = {
            "name": self.name,
            "path": self.path,
            "backend": self.backend,
            "parameters": self.parameters,
            "metadata": self.metadata,
        }
        return copy.deepcopy({**self.config, **known})

    def __repr__(self) -> str:
        """The name and the backend."""
        return f"{type(self).__name__}({self.name!r}, backend={self.backend!r})"

    def _section(self, key: str) -> dict[str, Any]:
        section = self.config.get(key)
        if section is None:
            section = self.config[key] = {}
        if not isinstance(section, dict):
            raise ConfigError(f"'{key}' of the model '{self.name}' must be an object.")
        return section


def checked_name(name: object, what: str) -> str:
    """`name` if it can be the name of a `what`. Raises ParameterError."""
    if isinstance(name, str) and name.strip():
        return name
    raise ParameterError(f"The name of a {what} must be text that is not blank.")


def expanded(path: str | PathLike[str]) -> Path:
    """`path` with the home folder in the place of `~`, or as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_local_path(path: str) -> bool:
    """Whether `path` reads as one of this machine: there, absolute, opening with a dot or `~`, or a file of weights."""
    if PureWindowsPath(path).drive and PureWindowsPath(path).is_absolute():
        return True
    if not path or _SCHEME.match(path):
        return False
    if path.lower().endswith(_WEIGHTS) or path.startswith(("/", "~", "./", "../", "\\", ".\\", "..\\")):
        return True
    try:
        return Path(path).exists()
    except OSError:  # such as a name too long for a file
        return False


def is_relative_file(path: str, backend: str) -> bool:
    """Whether `path` names a file or folder from the working directory. openai and eliza take names, not files."""
    if backend in {"openai", "eliza"} or path.startswith("~") or Path(path).is_absolute():
        return False
    return is_local_path(path) and not PureWindowsPath(path).is_absolute()


def is_hub_name(path: str) -> bool:
    """Whether `path` has the form "owner/name" of a model on a hub."""
    return _HUB_NAME.fullmatch(path) is not None and not path.lower().endswith(_WEIGHTS)


def merge(target: MutableMapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Lay `changes` over `target` in place, dictionary by dictionary; what is put in is copied."""
    for key, value in changes.items():
        present = target.get(key)
        if isinstance(present, MutableMapping) and isinstance(value, Mapping):
            merge(present, value)
        else:
            target[key] = copy.deepcopy(value)
