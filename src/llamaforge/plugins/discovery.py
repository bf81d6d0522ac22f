"""Plugins that other installed packages bring, found through Python's entry points."""

from __future__ import annotations

import logging

from llamaforge.plugins.base import BasePlugin, Kind
from llamaforge.plugins.commands import COMMANDS
from llamaforge.plugins.postprocessing import POSTPROCESSORS
from llamaforge.plugins.preprocessing import PREPROCESSORS
from llamaforge.plugins.registry import Registry
from llamaforge.plugins.tools import TOOLS

GROUP = "llamaforge.plugins"

REGISTRIES: dict[Kind, Registry] = {
    "preprocessing": PREPROCESSORS,
    "postprocessing": POSTPROCESSORS,
    "tools": TOOLS,
    "commands": COMMANDS,
}

_log = logging.getLogger(__name__)


def discover() -> None:
    """Register the plugin classes that installed packages name under the group "llamaforge.plugins".

    A name that is already registered stays as it is. One that can't be loaded is logged and passed over.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms that a run without plugins saves

    for entry in entry_points(group=GROUP):
        if any(entry.name in registry for registry in REGISTRIES.values()):
            continue
        try:
            cls = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever a package of others raises on import
            _log.warning("The plugin '%s' (%s) could not be loaded: %r", entry.name, entry.value, error)
            continue
        kind = getattr(cls, "kind", None)
        if not (isinstance(cls, type) and issubclass(cls, BasePlugin)) or kind not in REGISTRIES:
            _log.warning("The plugin '%s' (%s) is no plugin class of a known kind.", entry.name, entry.value)
            continue
        REGISTRIES[kind][entry.name] = cls
