"""What the registries of the four kinds share."""

from __future__ import annotations

from llamaforge.exceptions import ParameterError, PluginError
from llamaforge.parameters import unknown
from llamaforge.plugins.base import BasePlugin

Registry = dict[str, type[BasePlugin]]


def add(registry: Registry, name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    if not isinstance(name, str):
        raise ParameterError("The name of a plugin must be text.")
    if not name.strip():
        raise ParameterError("A plugin needs a name that is not blank.")
    if not isinstance(cls, type):
        raise ParameterError(f"The plugin '{name}' must be a class, not an instance or a function.")
    if not callable(getattr(cls, "process", None)):
        raise ParameterError(f"The plugin '{name}' has no process() method.")
    registry[name] = cls


def get(registry: Registry, name: str, what: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    if name not in registry:
        raise PluginError(unknown(name, registry, what))
    return registry[name]
