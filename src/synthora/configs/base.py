"""BaseConfig: a configuration from a file, a dictionary or YAML text, and mistakes told by their key."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from synthora.configs import yaml_file
from synthora.exceptions import ConfigError


class BaseConfig(BaseModel):
    """Unknown keys are refused, so that a misspelled one is not passed over."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @classmethod
    def load(cls, source: str | PathLike[str] | Mapping[str, Any]) -> Self:
        """From the path of a YAML file, or a dictionary. Errors as of the two below; TypeError for anything else."""
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if isinstance(source, str | PathLike):
            return cls.from_file(source)
        raise TypeError(f"A configuration is loaded from a path or a dictionary, not from {type(source).__name__}.")

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Self:
        """From a YAML file. Raises FileNotFoundError, ConfigError (a ValueError) naming the file and the key."""
        return cls._from(yaml_file.load(Path(path)), f"{path}: ")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a dictionary. Raises ConfigError naming the key."""
        return cls._from(values, "")

    @classmethod
    def _from(cls, values: Any, where: str) -> Self:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}a configuration has keys and values.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = [_told(problem) for problem in error.errors(include_url=False)]
            raise ConfigError(where + "; ".join(problems)) from error


def _told(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    if problem["type"] == "extra_forbidden":
        return f"'{key}' is unknown"
    return f"'{key}': {problem['msg']}"
