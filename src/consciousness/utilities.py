"""Small tools around models: errors as dictionaries, checks of descriptions, descriptions in files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from llamaforge.exceptions import ConfigError

_REQUIRED = ("id", "name", "type")


class AIUtils:
    """Functions under one name, as the documentation has them."""

    @staticmethod
    def format_error_response(
        message: str,
        type: str = "processing_error",  # noqa: A002 -- documented
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """{error: True, error_message, error_type, context}."""
        return {"error": True, "error_message": message, "error_type": type, "context": dict(context or {})}

    @staticmethod
    def validate_model_config(config: object) -> bool:
        """Whether it has an id, a name and a type, each a text that is not blank."""
        return isinstance(config, Mapping) and all(
            isinstance(config.get(name), str) and config[name].strip() for name in _REQUIRED
        )

    @staticmethod
    def save_model_metadata(path: str | PathLike[str], metadata: Mapping[str, Any]) -> None:
        """Write a description as JSON, whole or not at all. Raises ConfigError for what JSON has no form for."""
        try:
            text = json.dumps(dict(metadata), indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The metadata can't be written as JSON: {error}") from error
        target = Path(path)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(target)

    @staticmethod
    def load_model_metadata(path: str | PathLike[str]) -> dict[str, Any]:
        """What `save_model_metadata` wrote. Raises FileNotFoundError, and ConfigError for a file that is no description."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{path} holds no object.")
        return found
