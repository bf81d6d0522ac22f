"""Plugins that models may call."""

from __future__ import annotations

from llamaforge.plugins import registry
from llamaforge.plugins.base import BasePlugin
from llamaforge.plugins.tools.calculator import Calculator

TOOLS: registry.Registry = {"calculator": Calculator}


def register_tool(name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    registry.add(TOOLS, name, cls)


def get_tool(name: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    return registry.get(TOOLS, name, "tool")


def list_tools() -> list[str]:
    """The registered names, in the order of registration."""
    return list(TOOLS)
