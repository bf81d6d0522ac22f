"""Event functions: told what happens on the server, one event after another, behind what caused it."""

import asyncio
import time
from collections import deque
from typing import Any, Final

from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.models import functions
from open_webui.models.base import new_id
from open_webui.models.functions import KIND, Function
from open_webui.principal import Principal
from open_webui.services import plugin_calls
from open_webui.services.event_names import Happened
from open_webui.services.plugin_calls import Deps

log = get_logger(__name__)
# Events that wait at once, seconds that a function has for one, and failures that admins see.
MOST_WAITING: Final = 1_000
SECONDS: Final = 60.0
MOST_FAILURES: Final = 50
_LONGEST: Final = 1_000
# Seconds for what is told when the server stops.
END_SECONDS: Final = 5.0


class EventFunctions:
    """Of one process: what happens there is told there, once, and a function that fails is not asked again for it."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._waiting: deque[tuple[Principal | None, dict[str, Any]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failures: deque[dict[str, Any]] = deque(maxlen=MOST_FAILURES)
        self._dropped = 0

    def note(self, happened: Happened, actor: Principal | None = None) -> None:
        """Has the functions told of it, soon. One that comes while too many wait is not told."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("event functions are too slow: events are not told", most=MOST_WAITING)
            return
        event = {
            "id": new_id(),
            "event": happened.name,
            "timestamp": int(time.time()),
            "actor": None if actor is None else plugin_calls.user_of(actor),
            "subject": happened.subject,
            "data": happened.data,
        }
        self._waiting.append((actor, event))
        if self._task is None or self._task.done():
            self._task = supervise("event functions", self._work)

    def shown(self) -> dict[str, Any]:
        """How it goes, for admins: the newest failures first."""
        return {"waiting": len(self._waiting), "dropped": self._dropped, "failures": list(self._failures)}

    async def close(self) -> None:
        """Waits shortly for those that are being told."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=END_SECONDS)
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            actor, event = self._waiting.popleft()
            if actor is None and event["event"].startswith("auth."):
                # Who signs in is known once it is done.
                actor = await self._deps.identifier.account(str(event["subject"]["id"]))
                event["actor"] = None if actor is None else plugin_calls.user_of(actor)
            async with self._deps.database.read() as connection:
                rows: list[Function] = await functions.repository.all(connection, functions.t.c.is_active)
            async with asyncio.TaskGroup() as group:
                for row in rows:
                    if row.type == "event":
                        group.create_task(self._tell(row, actor, event))

    async def _tell(self, row: Function, actor: Principal | None, event: dict[str, Any]) -> None:
        deps = self._deps
        try:
            # What nobody caused is done in the name of the admin who made the function.
            principal = actor or await self._author(row)
            context = {
                "event": event,
                "event_id": event["id"],
                "event_name": event["event"],
                "id": row.id,
                "app": True,
                "user": None if principal is None else plugin_calls.user_of(principal),
                "request": {"headers": {}, "base_url": "", "url": "", "method": "POST", "query": {}},
            }
            answer = None if principal is None else plugin_calls.answering(deps, principal, None)
            source = plugin_calls.source_of(deps, KIND, row)
            await deps.plugins.call(source, "event", {"event": event}, context=context, seconds=SECONDS, answer=answer)
        except OuiError as error:
            log.warning("an event function failed", function=row.id, event_name=event["event"], reason=error.detail)
            failed = {"function": row.id, "event": event["event"], "at": event["timestamp"]}
            self._failures.appendleft(failed | {"detail": error.detail[:_LONGEST]})

    async def _author(self, row: Function) -> Principal | None:
        found = await self._deps.identifier.account(row.user_id) if row.user_id else None
        return found if found is not None and found.is_admin else None
