"""The finisher that marks those sources which an answer cites."""

import importlib
from typing import Any

from open_webui.chat.context.stage import StageContext
from open_webui.chat.running import RunningAnswer


async def mark_cited(running: RunningAnswer, _context: StageContext) -> None:
    """Marks the passages that a complete answer cites: `cited` in their metadata."""
    stored = running.body.get("sources")
    if not isinstance(stored, list) or not stored:
        return
    sources: Any = importlib.import_module("open_webui.chat.sources")
    numbers = sources.cited(running.answer.text)
    if numbers:
        running.set(sources=sources.marked(stored, numbers))
