"""Reminders of events, told when they come: in the pages of those whom an event concerns, and where else they want to be told.

Each event has the time of its next reminder in its row, with an index. One job for all of them waits for the earliest. A
reminder is told in the unit of work that stores the one after it, so that it is told once over all processes.
"""

import asyncio
import time
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.identify import Identifier
from open_webui.config import Config
from open_webui.events import ChatEvent, Emitter
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Every, Kind, Nothing, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import calendar_alerts, calendars
from open_webui.models.base import new_id
from open_webui.models.calendars import PERMISSION, Event
from open_webui.principal import Principal
from open_webui.services import event_times
from open_webui.services.event_times import MINUTE, Alert, Timing
from open_webui.services.notifications import MAX_TITLE, REMINDER, Message, Notifier
from open_webui.utils.recurring import SECOND

log = get_logger(__name__)
# Events that are looked for at once.
MOST: Final = 200
# What an event of a calendar is about is no chat.
NO_CHAT: Final = ""
NOW: Final = "Starts now"
SOON: Final = "Starts in one minute"
IN_MINUTES: Final = "Starts in {:,} minutes"


class Deps(Protocol):
    """What it needs of the state."""

    database: Database
    config: Config
    identifier: Identifier
    emitter: Emitter
    notifier: Notifier


class Reminders:
    """One for a process."""

    def __init__(self, deps: Deps, queue: Queue) -> None:
        self._deps = deps
        self._queue = queue
        self.kind = Kind(
            name="remind of events",
            payload=Nothing,
            handler=self._remind,
            retry=Retry(attempts=20, first=2.0, longest=300.0),
            # Besides: nothing that was missed for any reason is missed for longer.
            every=Every(3_600, phase=1_500, after_start=15.0),
        )

    # In a unit of work that stores an event

    async def now(self, connection: AsyncConnection) -> int:
        """The database's time, in nanoseconds."""
        return await self._queue.clock(connection) * 1_000_000

    async def wait_for(self, unit: UnitOfWork, at: int | None) -> None:
        """Has the job come no later than this reminder. To be called when the event is stored."""
        if at is not None:
            await self._queue.bring_forward(unit, self.kind, at / SECOND)

    # What the job does

    async def _remind(self, run: Run, _nothing: Nothing) -> None:
        while True:
            async with self._deps.database.read() as connection:
                now = await self.now(connection)
                ids = await calendar_alerts.due(connection, now, MOST)
            for event_id in ids:
                await self._look_at(event_id, now)
            if len(ids) < MOST:
                break
        async with self._deps.database.write() as unit:
            await run.hold(unit)
            following = await calendar_alerts.first(unit.connection)
            await run.commit(unit)
            await self.wait_for(unit, following)

    async def _look_at(self, event_id: str, now: int) -> None:
        """One event whose reminder may have come."""
        async with self._deps.database.read() as connection:
            seen = await calendars.events.get(connection, event_id)
            owner = None if seen is None else await calendar_alerts.owner_of(connection, seen.calendar_id)
        if seen is None or seen.alert_at is None or seen.alert_at > now:
            return
        try:
            alert = await asyncio.to_thread(event_times.alert, event_times.timing_of(seen), seen.alert_at, now)
            people = [] if alert.start is None else await self._concerned(seen, owner)
        except (SQLAlchemyError, OSError):
            raise
        except Exception:
            # Whatever one event holds, the others' reminders are told.
            log.exception("the reminders of an event can't be told", calendar_event=event_id)
            alert, people = Alert(None, None), []
        async with self._deps.database.write() as unit:
            row = await calendars.events.get(unit.connection, event_id, lock=True)
            if row is None or row.alert_at != seen.alert_at or row.updated_at != seen.updated_at:
                # Changed meanwhile, or told by another process: looked at anew if it is due still.
                return
            await calendars.events.change(unit.connection, event_id, {"alert_at": alert.following}, touch=False)
            if alert.start is not None:
                await self._tell(unit, row, alert.start, now, people)

    async def _concerned(self, event: Event, owner: str | None) -> list[Principal]:
        """Who is reminded: whose calendar it is, who made it and may still see it, and attendees; not who has declined."""
        if not self._deps.config["calendar.enable"]:
            return []
        declined = {one.user_id for one in event.attendees if one.status == "declined"}
        sure = {one.user_id for one in event.attendees} | ({owner} if owner is not None else set())
        found = []
        for user_id in sorted((sure | {event.user_id}) - declined):
            principal = await self._deps.identifier.account(user_id)
            if principal is None or not principal.is_active or not principal.may(PERMISSION):
                continue
            if user_id not in sure and not await self._sees(principal, event):
                continue
            found.append(principal)
        return found

    async def _sees(self, principal: Principal, event: Event) -> bool:
        async with self._deps.database.read() as connection:
            return await calendars.events.get_for(connection, principal, event.id) is not None

    async def _tell(self, unit: UnitOfWork, event: Event, start: int, now: int, people: list[Principal]) -> None:
        told = wire(event, start, now)
        minutes = told["minutes_until"]
        text = NOW if minutes == 0 else SOON if minutes == 1 else IN_MINUTES.format(minutes)
        message = Message(
            id=new_id(),
            event=REMINDER,
            title=event.title[:MAX_TITLE],
            text=text if not event.location else f"{text}\n{event.location}",
            path="/calendar",
            at=int(time.time()),
            subject={"type": "calendar_event", "id": event.id},
        )
        await self._deps.notifier.put_in(unit, people, message)

        async def emit() -> None:
            for principal in people:
                await self._deps.emitter.chat(principal.id, ChatEvent(NO_CHAT, None, "calendar:alert", told))

        unit.after_commit(emit)


def wire(event: Event, start: int, now: int) -> dict[str, Any]:
    """What a page is told: one time of an event without what is long, and in how many minutes it begins."""
    told: dict[str, Any] = {
        "id": event.id,
        "calendar_id": event.calendar_id,
        "title": event.title,
        "start_at": start,
        "end_at": None if event.end_at is None else start + event.end_at - event.start_at,
        "all_day": event.all_day,
        "location": event.location,
        "minutes_until": max(round((start - now) / MINUTE), 0),
    }
    return told | ({"instance_id": f"{event.id}_{start}"} if event.rrule else {})


async def alert_of(timing: Timing, now: int) -> int | None:
    """When the first reminder of an event comes, once it is stored so."""
    return await asyncio.to_thread(event_times.first_alert, timing, now)
