"""Plugins: text before and after a model, tools for models, commands for people."""

from llamaforge.plugins.base import (
    BasePlugin,
    CommandPlugin,
    PostprocessingPlugin,
    PreprocessingPlugin,
    ToolPlugin,
)
from llamaforge.plugins.manager import PluginManager

__all__ = ["BasePlugin", "CommandPlugin", "PluginManager", "PostprocessingPlugin", "PreprocessingPlugin", "ToolPlugin"]
