"""Plugins that change a prompt before the model sees it."""

from __future__ import annotations

from llamaforge.plugins import registry
from llamaforge.plugins.base import BasePlugin
from llamaforge.plugins.preprocessing.text_formatter import TextFormatter

PREPROCESSORS: registry.Registry = {"text_formatter": TextFormatter}


def register_preprocessor(name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    registry.add(PREPROCESSORS, name, cls)


def get_preprocessor(name: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    return registry.get(PREPROCESSORS, name, "preprocessor")


def list_preprocessors() -> list[str]:
    """The registered names, in the order of registration."""
    return list(PREPROCESSORS)
