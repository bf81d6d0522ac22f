"""Plugins as text, and a host for them that is closed after the test."""

import asyncio
from collections.abc import Awaitable, Callable
from textwrap import dedent
from typing import Any

from open_webui.env import Settings
from open_webui.plugins.host import PluginHost, PluginSource


def make_host(**settings: Any) -> PluginHost:
    return PluginHost(Settings(env="test", **settings))


def tool(body: str, name: str = "t", head: str = "", **more: Any) -> PluginSource:
    """A tool with these methods. head: what stands above the class."""
    text = "import asyncio, os, sys, time\n" + dedent(head) + "\nclass Tools:\n" + _indented(body)
    return PluginSource(id=name, kind="tool", content=text, **more)


def function(content: str, name: str = "f", **more: Any) -> PluginSource:
    return PluginSource(id=name, kind="function", content=dedent(content), **more)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Returns once something holds: what a process does is seen by looking at it."""
    pause = 0.01
    for _ in range(200):
        if await holds():
            return
        await asyncio.sleep(pause)
        pause = min(0.2, pause * 2)
    raise AssertionError("it never came to hold")


def _indented(body: str) -> str:
    return "\n".join("    " + line for line in dedent(body).splitlines()) + "\n"
