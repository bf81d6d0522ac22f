"""Functions of a terminal as tools: pages hear what was done there."""

from typing import Any

import msgspec

from open_webui.services.message_events import TERMINAL
from open_webui.tools.port import Progress, Tool, ToolResult


class Noticed:
    """A tool after whose call a page looks at the file, or the folder, that it is about."""

    def __init__(self, tool: Tool) -> None:
        self.definition, self.seconds = tool.definition, tool.seconds
        self._tool = tool

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`."""
        result = await self._tool.run(arguments, progress)
        kind = f"terminal:{self.definition['name']}"
        if kind in TERMINAL and not result.failed:
            await progress.emit(kind, _about(arguments, result.text))
        return result


def _about(arguments: dict[str, Any], text: str) -> dict[str, Any]:
    """The whole path that the server answered, or the one that was asked for; and the page of it."""
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        said = None
    path = said.get("path") if isinstance(said, dict) else None
    found = path if isinstance(path, str) else arguments.get("path")
    out: dict[str, Any] = {"path": found[:4_000]} if isinstance(found, str) else {}
    page = arguments.get("page")
    return out | ({"page": page} if isinstance(page, int) and 0 < page < 1_000_000 else {})
