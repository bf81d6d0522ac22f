"""What stages and tools may tell and store of the answer that they work for."""

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from open_webui.chat.context.stage import Services, Stage
from open_webui.chat.running import RunningAnswer
from open_webui.errors import BadRequest
from open_webui.services import message_events, questions
from open_webui.tools.port import calling

if TYPE_CHECKING:
    from open_webui.services.plugin_filters import Filtering


class Parted(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn that is a part of another is run. progress: what it may tell. max_rounds: of calls. without: stages that are
    left out. last: those that come behind all others.
    """

    progress: "AnswerProgress"
    max_rounds: int
    without: tuple[Stage, ...] = ()
    last: tuple[Stage, ...] = ()


class AnswerProgress:
    """context.StageContext (and so tools.Progress) of a running answer: its owner is told of each change."""

    def __init__(self, running: RunningAnswer, services: Services) -> None:
        self._running = running
        self.services = services
        self.pictures = running.pictures
        self.metadata: dict[str, Any] = {}
        self.filtering: Filtering | None = None
        # Runs a turn that is a part of this one.
        self.part: Any = None

    async def add_status(self, status: dict[str, Any]) -> None:
        self._running.append("statusHistory", [status])
        await self._running.tell("status", status)

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        self._running.append("sources", [source])
        await self._running.tell("source", source)
        # Not needed to start.
        sources: Any = importlib.import_module("open_webui.chat.sources")
        numbers: list[int] = sources.numbers_of(self._running.body.get("sources"))
        return numbers

    async def add_sources(self, sources: list[dict[str, Any]]) -> None:
        self._running.append("sources", sources)
        await self._running.tell("chat:completion", {"sources": sources})

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        earlier = self._running.body.get("statusHistory") or ()
        kept = [s for s in earlier if not (isinstance(s, dict) and s.get("action") == action)]
        self._running.set(statusHistory=kept)
        for status in statuses:
            await self.add_status(status)

    def set_meta(self, name: str, value: Any) -> None:
        self._running.set(meta=(self._running.body.get("meta") or {}) | {name: value})

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        if kind not in message_events.KINDS:
            raise BadRequest(f"There are no events of the type '{kind[:100]}' for an answer.")
        message_events.check(kind, data)
        await message_events.apply_to_running(self._running, kind, data)

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        turn, call_id = self._running.turn, calling.get()
        asked = partial(
            questions.ask,
            self.services.emitter,
            (turn.session_id, turn.principal.id),
            (turn.chat_id, turn.message_id),
            (kind, data),
            seconds=seconds,
            event=self._running.tell,
        )
        # What the wire lets people answer later, when the page was loaded anew.
        if call_id is None or turn.is_temporary or not (kind == "request:user_input" or "tool_call" in data):
            return await asked()
        with self._running.asking(call_id, kind) as elsewhere:
            return await asked(elsewhere=elsewhere)
