"""What the configuration says about plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Config(Protocol):
    """What is needed of a configuration."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a dotted key."""

    def set(self, key: str, value: Any) -> None:
        """Set the value at a dotted key."""


class StoredPlugins:
    """The section "plugins": {"enabled": [names], "config": {name: settings}}."""

    def __init__(self, config: Config) -> None:
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
        section = self._config.get("plugins")
        section = section if isinstance(section, Mapping) else {}
        enabled, config = section.get("enabled"), section.get("config")
        return {
            **section,
            "enabled": enabled if isinstance(enabled, list) else [],
            "config": config if isinstance(config, dict) else {},
        }
