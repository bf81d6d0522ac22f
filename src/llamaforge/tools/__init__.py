"""Tools: functions that a model may call, and the loop that runs what it calls."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llamaforge.tools.library import arun_tools, plugin_tools, run_tools
    from llamaforge.tools.loop import Answer, MessageFormat, Request, Result, ToolLoop, arun, run
    from llamaforge.tools.step import BoundCall, Call, bind, shorten
    from llamaforge.tools.tool import Tool

__all__ = [
    "Answer",
    "BoundCall",
    "Call",
    "MessageFormat",
    "Request",
    "Result",
    "Tool",
    "ToolLoop",
    "arun",
    "arun_tools",
    "bind",
    "plugin_tools",
    "run",
    "run_tools",
    "shorten",
]

# Where each name is: who needs one step only, as a server does, loads no more.
_HOMES: Final = {
    "library": ("arun_tools", "plugin_tools", "run_tools"),
    "loop": ("Answer", "MessageFormat", "Request", "Result", "ToolLoop", "arun", "run"),
    "step": ("BoundCall", "Call", "bind", "shorten"),
    "tool": ("Tool",),
}


def __getattr__(name: str) -> Any:
    """A name's module is imported when the name is first asked for."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'llamaforge.tools' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(f"llamaforge.tools.{home}"), name)
    return found
