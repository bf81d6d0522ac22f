"""Plugins that change an answer before the caller sees it."""

from __future__ import annotations

from llamaforge.plugins import registry
from llamaforge.plugins.base import BasePlugin
from llamaforge.plugins.postprocessing.text_cleaner import TextCleaner

POSTPROCESSORS: registry.Registry = {"text_cleaner": TextCleaner}


def register_postprocessor(name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    registry.add(POSTPROCESSORS, name, cls)


def get_postprocessor(name: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    return registry.get(POSTPROCESSORS, name, "postprocessor")


def list_postprocessors() -> list[str]:
    """The registered names, in the order of registration."""
    return list(POSTPROCESSORS)
