"""What a LlamaForge offers of its plugins: short names for the calls of its PluginManager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaforge.plugins.base import BasePlugin
from llamaforge.plugins.manager import PluginManager

Json = dict[str, Any]


class PluginMethods:
    """The part of LlamaForge that is about plugins. plugins: the manager that does the work."""

    plugins: PluginManager

    def list_plugins(self) -> list[str]:
        """The names of all plugins."""
        return list(self.plugins.list())

    def list_enabled_plugins(self) -> list[str]:
        """The names of enabled plugins, in the order in which they were enabled."""
        return list(self.plugins.list_enabled())

    def enable_plugin(self, name: str) -> None:
        """Enable a plugin; it stays so after `config.save()`. Raises PluginError."""
        self.plugins.enable(name)

    def disable_plugin(self, name: str) -> None:
        """Disable a plugin. Raises PluginError."""
        self.plugins.disable(name)

    def is_plugin_enabled(self, name: str) -> bool:
        """Whether a plugin is enabled."""
        return self.plugins.is_enabled(name)

    def get_plugin_config(self, name: str) -> Json:
        """The settings that count for a plugin. Raises PluginError."""
        return self.plugins.get_config(name)

    def set_plugin_config(self, name: str, config: Mapping[str, Any]) -> None:
        """Replace the settings of a plugin. Raises PluginError, ParameterError."""
        self.plugins.set_config(name, config)

    def get_all_plugin_configs(self) -> dict[str, Json]:
        """The settings of every plugin."""
        return self.plugins.all_configs()

    def register_plugin(self, plugin: BasePlugin) -> None:
        """Add an instance of one's own and enable it. Raises PluginError."""
        self.plugins.register(plugin)

    def run_command(self, name: str, args: Mapping[str, Any] | None = None) -> Any:
        """What a command plugin returns. Raises PluginError, and what the command raises."""
        return self.plugins.run_command(name, args)

    def use_tool(self, name: str, data: Any) -> Any:
        """What a tool plugin makes of `data`: its arguments by name, or the value of its first one."""
        return self.plugins.use_tool(name, data)
