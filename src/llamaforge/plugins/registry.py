"""The classes of plugins there are, by kind and name: the built-in ones, registered ones, and those of other packages."""

from __future__ import annotations

import logging

from llamaforge.exceptions import ParameterError, PluginError
from llamaforge.parameters import unknown
from llamaforge.plugins.base import BasePlugin, Kind
from llamaforge.plugins.benchmark import Benchmark
from llamaforge.plugins.calculator import Calculator
from llamaforge.plugins.text_cleaner import TextCleaner
from llamaforge.plugins.text_formatter import TextFormatter

GROUP = "llamaforge.plugins"
CLASSES: dict[Kind, dict[str, type[BasePlugin]]] = {
    "preprocessing": {"text_formatter": TextFormatter},
    "postprocessing": {"text_cleaner": TextCleaner},
    "tools": {"calculator": Calculator},
    "commands": {"benchmark": Benchmark},
}
_log = logging.getLogger(__name__)


def register(kind: Kind, name: str, cls: type[BasePlugin]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced. Raises ParameterError."""
    if kind not in CLASSES:
        raise ParameterError(unknown(kind, CLASSES, "kind of plugins"))
    if not isinstance(name, str):
        raise ParameterError("The name of a plugin must be text.")
    if not name.strip():
        raise ParameterError("A plugin needs a name that is not blank.")
    if not isinstance(cls, type):
        raise ParameterError(f"The plugin '{name}' must be a class, not an instance or a function.")
    if not callable(getattr(cls, "process", None)):
        raise ParameterError(f"The plugin '{name}' has no process() method.")
    CLASSES[kind][name] = cls


def get(kind: Kind, name: str) -> type[BasePlugin]:
    """The class registered as `name`. Raises PluginError."""
    if name not in CLASSES[kind]:
        raise PluginError(unknown(name, CLASSES[kind], f"plugin among the {kind} called"))
    return CLASSES[kind][name]


def discover() -> None:
    """Register the plugin classes that installed packages name under the entry points "llamaforge.plugins".

    A name that is already registered stays as it is. One that can't be loaded is logged and passed over.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms that a run without plugins saves

    for entry in entry_points(group=GROUP):
        if any(entry.name in classes for classes in CLASSES.values()):
            continue
        try:
            cls = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever a package of others raises on import
            _log.warning("The plugin '%s' (%s) could not be loaded: %r", entry.name, entry.value, error)
            continue
        kind = getattr(cls, "kind", None)
        if not (isinstance(cls, type) and issubclass(cls, BasePlugin)) or kind not in CLASSES:
            _log.warning("The plugin '%s' (%s) is no plugin class of a known kind.", entry.name, entry.value)
            continue
        CLASSES[kind][entry.name] = cls
