"""Plugins that a person runs by name."""

from __future__ import annotations

from llamaforge.plugins import registry
from llamaforge.plugins.base import BasePlugin
from llamaforge.plugins.commands.benchmark import Benchmark

COMMANDS: registry.Registry = {"benchmark": Benchmark}


def register_command(name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    registry.add(COMMANDS, name, cls)


def get_command(name: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    return registry.get(COMMANDS, name, "command")


def list_commands() -> list[str]:
    """The registered names, in the order of registration."""
    return list(COMMANDS)
