"""All tools of the server, for one answer at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from open_webui.tools.port import Asked, Tool, ToolSource

# Seconds after which a model that took no tools is offered some again: its server may have been changed.
REFUSAL_SECONDS: Final = 3600.0
_MOST_REFUSALS: Final = 1_000
About = Callable[[Asked], Awaitable[str]]


class Toolbox:
    """The sources of tools, in the order in which their names count. built_in: what is offered to models that can call it."""

    def __init__(
        self, sources: Sequence[ToolSource], built_in: ToolSource | None = None, about: About | None = None
    ) -> None:
        """about: what a model is to know of the place where its tools work."""
        self._sources = tuple(sources)
        self._built_in = built_in
        self._about = about
        # When a model refused a request with tools, by its connection and name.
        self._refusals: dict[tuple[str, str], float] = {}

    async def tools(self, asked: Asked) -> dict[str, Tool]:
        """The tools of an answer, by the name that the model calls. Of two with one name the first is taken.

        Raises OuiError where one that was chosen can't be used.
        """
        found: dict[str, Tool] = {}
        for source in self._sources:
            for tool in await source.tools(asked):
                found.setdefault(tool.definition["name"], tool)
        return found

    async def offered(self, asked: Asked) -> dict[str, Tool]:
        """The tools that are there for every model, by the name that it calls."""
        tools = await self._built_in.tools(asked) if self._built_in is not None else ()
        return {tool.definition["name"]: tool for tool in tools}

    async def about(self, asked: Asked) -> str:
        """What the model of an answer is to know of the place where its tools work; empty where there is nothing to say."""
        return await self._about(asked) if self._about is not None else ""

    def note_refusal(self, connection: str, model: str) -> None:
        """Remembers for a while that a model takes no tools."""
        if len(self._refusals) >= _MOST_REFUSALS:
            self._refusals.clear()
        self._refusals[connection, model] = asyncio.get_running_loop().time()

    def refuses(self, connection: str, model: str) -> bool:
        """Whether a model said lately that it takes no tools."""
        at = self._refusals.get((connection, model))
        return at is not None and asyncio.get_running_loop().time() - at < REFUSAL_SECONDS
