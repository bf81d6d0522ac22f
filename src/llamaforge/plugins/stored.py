"""What the configuration says about plugins, in the two shapes that it may have."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class _Config(Protocol):
    def get(self, key: str, default: Any = None) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class StoredPlugins:
    """The section "plugins": {"enabled": [names], "config": {name: settings}}.

    The older shape, a list of {name, config}, each of them enabled, is read and becomes the other with the first change.
    """

    def __init__(self, config: _Config) -> None:
        self._config = config

    def enabled(self) -> Sequence[str]:
        """The names to enable, in their order."""
        return [name for name in self._section()["enabled"] if isinstance(name, str)]

    def settings(self, name: str) -> dict[str, Any]:
        """The settings of one plugin."""
        found = self._section()["config"].get(name)
        return dict(found) if isinstance(found, Mapping) else {}

    def set_enabled(self, names: Sequence[str]) -> None:
        """Write which are enabled."""
        self._config.set("plugins", {**self._section(), "enabled": list(names)})

    def set_settings(self, name: str, settings: dict[str, Any]) -> None:
        """Write the settings of one plugin."""
        section = self._section()
        self._config.set("plugins", {**section, "config": {**section["config"], name: settings}})

    def _section(self) -> dict[str, Any]:
        section = self._config.get("plugins") or {}
        if isinstance(section, list):
            for entry in section:
                if isinstance(entry, Mapping) and entry.get("path"):
                    _log.warning("'path' of the plugin '%s' is not read; install it as a package.", entry.get("name"))
            entries = [entry for entry in section if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)]
            return {
                "enabled": [entry["name"] for entry in entries],
                "config": {entry["name"]: entry["config"] for entry in entries if entry.get("config")},
            }
        enabled, config = section.get("enabled"), section.get("config")
        return {
            **section,
            "enabled": enabled if isinstance(enabled, list) else [],
            "config": config if isinstance(config, dict) else {},
        }
