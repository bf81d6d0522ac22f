"""What stages and tools may tell and store of the answer that they work for."""

from typing import Any

from open_webui.chat.context.stage import Services
from open_webui.chat.running import RunningAnswer


class AnswerProgress:
    """context.StageContext (and so tools.Progress) of a running answer: its owner is told of each change."""

    def __init__(self, running: RunningAnswer, services: Services) -> None:
        self._running = running
        self.services = services
        self.pictures = running.pictures

    async def add_status(self, status: dict[str, Any]) -> None:
        self._running.append("statusHistory", [status])
        await self._running.tell("status", status)

    async def add_source(self, source: dict[str, Any]) -> None:
        self._running.append("sources", [source])
        await self._running.tell("source", source)

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        earlier = self._running.body.get("statusHistory") or ()
        kept = [s for s in earlier if not (isinstance(s, dict) and s.get("action") == action)]
        self._running.set(statusHistory=kept)
        for status in statuses:
            await self.add_status(status)

    def set_meta(self, name: str, value: Any) -> None:
        self._running.set(meta=(self._running.body.get("meta") or {}) | {name: value})
