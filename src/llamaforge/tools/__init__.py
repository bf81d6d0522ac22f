"""Tools: functions that a model may call, and the loop that runs what it calls."""

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
