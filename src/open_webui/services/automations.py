"""Automations: made, changed, switched, run and removed by their owners, with every rule on who may and how often."""

import asyncio
import itertools
import time
from typing import Any, Final, Literal, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, Conflict, Forbidden, NotFound
from open_webui.models import automations, calendars, folders, users
from open_webui.models.automations import PER_PAGE, Automation, Run, repository
from open_webui.models.base import new_id
from open_webui.models.calendars import Calendar
from open_webui.models.repository import Owner
from open_webui.principal import Principal
from open_webui.schemas.automations import AutomationForm
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.services.schedule import PERMISSION, Schedule, anchor_of, next_times
from open_webui.utils import recurring
from open_webui.utils.recurring import LAST, SECOND

Wire = dict[str, Any]
# Whatever the settings say, and whoever it is.
MOST: Final = 100
LEAST_SECONDS: Final = 60
SHOWN_TIMES: Final = 5
# Times that are looked at to find out how often a rule is due.
LOOKED_AT: Final = 60
# Of each automation in a calendar, and of all with their runs.
TIMES: Final = 100
LISTED: Final = 1_000
# Seconds for the times to come of all of them.
SECONDS: Final = 2.0
CALENDAR_ID: Final = "__scheduled_tasks__"
CALENDAR_NAME: Final = "Scheduled Tasks"
COLOR: Final = "#8b5cf6"
TOO_MANY: Final = "You have {} automations already. Remove one first."
TOO_OFTEN: Final = "This rule is due too often: there should be {} seconds at least between two times."
NEVER_DUE: Final = "This rule is not due any more. Choose a time that is to come."
RUNNING: Final = "This automation is being run already."
KEPT_TO_MODELS: Final = "An API key that is kept to some models may not use automations, which ask models later."
NO_CHANNELS: Final = "Automations answer in chats here, not in channels."
CHANGED: Final = "Somebody else changed this automation at the same time. Reload and try again."
_INSIDE: Final = ("anchor_at", "zone")


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    @property
    def schedule(self) -> Schedule: ...


class Wanted(msgspec.Struct, frozen=True):
    """Which ones of a list. status: active, or any other word for those that are off; None for all."""

    text: str | None = None
    status: str | None = None
    folder_id: str | None = None

    @property
    def active(self) -> bool | None:
        return None if not self.status or self.status == "all" else self.status == "active"


def may(deps: ServiceDeps, principal: Principal) -> bool:
    """Whether somebody may have automations."""
    return bool(deps.config["automations.enable"]) and principal.may(PERMISSION)


def check(deps: ServiceDeps, principal: Principal) -> None:
    """Raises Forbidden where automations are off, for all or for this person. They ask models in the account's name, so a key
    that is kept to some models has none.
    """
    if not may(deps, principal):
        raise Forbidden(constants.UNAUTHORIZED, status=403)
    if principal.key is not None and principal.key.models is not None:
        raise Forbidden(KEPT_TO_MODELS, status=403)


def _limit(text: Any) -> int:
    """A setting that pages send as a text; 0 for none."""
    text = str(text).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def wire(row: Automation, last: Run | None, times: list[int] | None) -> Wire:
    """An automation as the wire has it."""
    told = msgspec.structs.asdict(row)
    for name in _INSIDE:
        del told[name]
    return told | {"last_run": last, "next_runs": times}


async def _shown(deps: Deps, row: Automation) -> Wire:
    """One with its last run and its next times."""
    async with deps.database.read() as connection:
        last = await automations.last_run(connection, row.id)
        now = await deps.schedule.now(connection)
    return wire(row, last, await _times(row, now, SHOWN_TIMES))


async def _times(row: Automation, after: int, most: int) -> list[int]:
    """The next times; none of a rule that can't be used, as an import may bring it."""
    try:
        return await asyncio.to_thread(next_times, row, after, most)
    except BadRequest:
        return []


# Reading


async def listed(deps: Deps, principal: Principal, wanted: Wanted, page: int, size: int = PER_PAGE) -> Wire:
    """A page of somebody's automations."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await automations.repository.listed(
            connection, principal, text=wanted.text, active=wanted.active, folder_id=wanted.folder_id,
            skip=(page - 1) * size, limit=size,
        )  # fmt: skip
    return {"items": [wire(row, found.last.get(row.id), None) for row in found.items], "total": found.total}


async def _require(
    connection: AsyncConnection, principal: Principal, automation_id: str, *, lock: bool = False
) -> Automation:
    row = await repository.get_for(connection, principal, automation_id, "write", lock=lock)
    if row is None:
        raise NotFound
    return row


async def get(deps: Deps, principal: Principal, automation_id: str) -> Wire:
    """One automation."""
    check(deps, principal)
    async with deps.database.read() as connection:
        row = await _require(connection, principal, automation_id)
    return await _shown(deps, row)


async def runs_of(deps: Deps, principal: Principal, automation_id: str, skip: int, limit: int) -> list[Run]:
    """The runs of one."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await _require(connection, principal, automation_id)
        return await automations.runs_of(connection, automation_id, skip, limit)


# Writing


def _first(deps: Deps, principal: Principal, row: Automation, now: int) -> int:
    """The first time of a rule after now. Raises BadRequest where there is none, or it is due too often. In a thread."""
    times = next_times(row, now, LOOKED_AT)
    if not times:
        raise BadRequest(NEVER_DUE)
    least = LEAST_SECONDS if principal.is_admin else max(_limit(deps.config["automations.min_interval"]), LEAST_SECONDS)
    if any(later - earlier < least * SECOND for earlier, later in itertools.pairwise(times)):
        raise BadRequest(TOO_OFTEN.format(least))
    return times[0]


def _draft(form: AutomationForm, now: int, zone: str | None, stands: Automation | None = None) -> Automation:
    """The row that a form asks for. What counts from the time at which a rule was given goes on where it stays the same."""
    if form.data.target is not None and form.data.target.type == "channel":
        raise BadRequest(NO_CHANNELS)
    data = form.data.model_dump()
    same = stands is not None and stands.rule == form.data.rrule
    is_active = form.is_active if form.is_active is not None else (stands is None or stands.is_active)
    return Automation(
        id=new_id() if stands is None else stands.id,
        user_id="" if stands is None else stands.user_id,
        folder_id=form.folder_id,
        name=form.name,
        data=data,
        meta=form.meta,
        is_active=is_active,
        last_run_at=None if stands is None else stands.last_run_at,
        next_run_at=None,
        created_at=now if stands is None else stands.created_at,
        updated_at=now,
        anchor_at=stands.anchor_at if stands is not None and same else now,
        zone=stands.zone if stands is not None and same else zone,
    )


_COLUMNS: Final = ("folder_id", "name", "data", "meta", "is_active", "next_run_at", "anchor_at", "zone")


def _columns(row: Automation) -> Wire:
    return {name: getattr(row, name) for name in _COLUMNS}


async def create(deps: Deps, principal: Principal, form: AutomationForm) -> Wire:
    """A new automation, which waits for its first time."""
    check(deps, principal)
    async with deps.database.read() as connection:
        now = await deps.schedule.now(connection)
        zone = await calendars.zone_of(connection, principal.id)
    row = _draft(form, now, zone)
    first = await asyncio.to_thread(_first, deps, principal, row, now)
    row = msgspec.structs.replace(row, next_run_at=first if row.is_active else None)
    async with deps.database.write() as unit:
        connection = unit.connection
        await users.lock(connection, [principal.id])
        allowed = _limit(deps.config["automations.max_count"])
        most = min(allowed, MOST) if allowed and not principal.is_admin else MOST
        if await automations.count(connection, principal.id) >= most:
            raise BadRequest(TOO_MANY.format(most))
        if row.folder_id is not None and not await folders.hold(connection, principal, row.folder_id):
            raise NotFound
        made = await repository.create(connection, principal.id, _columns(row), row_id=row.id)
        assert made is not None  # a new id
        await deps.schedule.wait_for(unit, msgspec.structs.replace(made, next_run_at=None), made.next_run_at)
    return await _shown(deps, made)


async def update(deps: Deps, principal: Principal, automation_id: str, form: AutomationForm) -> Wire:
    """Changes an automation, which waits for its next time anew."""
    check(deps, principal)
    async with deps.database.read() as connection:
        seen = await _require(connection, principal, automation_id)
        now = await deps.schedule.now(connection)
        zone = await calendars.zone_of(connection, principal.id)
    row = _draft(form, now, zone, seen)
    first = await asyncio.to_thread(_first, deps, principal, row, now)
    return await _change(
        deps, principal, seen, msgspec.structs.replace(row, next_run_at=first if row.is_active else None)
    )


async def _change(deps: Deps, principal: Principal, seen: Automation, row: Automation) -> Wire:
    """Stores an automation, if it still is as it was seen but for its runs."""
    async with deps.database.write() as unit:
        connection = unit.connection
        stands = await _require(connection, principal, row.id, lock=True)
        if stands.updated_at != seen.updated_at:
            raise Conflict(CHANGED)
        if row.folder_id not in {None, stands.folder_id} and not await folders.hold(
            connection, principal, str(row.folder_id)
        ):
            raise NotFound
        await deps.schedule.wait_for(unit, stands, row.next_run_at)
        await repository.change(connection, row.id, _columns(row))
        stored = await _require(connection, principal, row.id)
    return await _shown(deps, stored)


async def toggle(deps: Deps, principal: Principal, automation_id: str) -> Wire:
    """Switches an automation off, or on: then it waits for the next time that is to come."""
    check(deps, principal)
    async with deps.database.read() as connection:
        seen = await _require(connection, principal, automation_id)
        now = await deps.schedule.now(connection)
    times = [] if seen.is_active else await asyncio.to_thread(next_times, seen, now, 1)
    row = msgspec.structs.replace(seen, is_active=not seen.is_active, next_run_at=times[0] if times else None)
    return await _change(deps, principal, seen, row)


async def run_now(deps: Deps, principal: Principal, automation_id: str) -> Wire:
    """Has an automation asked now, beside its times."""
    check(deps, principal)
    async with deps.database.write() as unit:
        connection = unit.connection
        row = await _require(connection, principal, automation_id, lock=True)
        if await automations.running(connection, automation_id):
            raise Conflict(RUNNING)
        await deps.schedule.begin(unit, row)
        now = await deps.schedule.now(connection)
        await repository.change(connection, automation_id, {"last_run_at": now}, touch=False)
        row = msgspec.structs.replace(row, last_run_at=now)
    return await _shown(deps, row)


async def delete(deps: Deps, principal: Principal, automation_id: str) -> bool:
    """Removes an automation. A run that goes on ends in its chat, and is noted nowhere."""
    check(deps, principal)
    async with deps.database.write() as unit:
        row = await _require(unit.connection, principal, automation_id, lock=True)
        await deps.schedule.wait_for(unit, row, None)
        await repository.delete(unit.connection, [automation_id])
    return True


# In the calendar


def calendar(principal: Principal, now: int) -> Calendar:
    """The calendar that shows them; nothing of it is stored."""
    return Calendar(
        id=CALENDAR_ID, user_id=principal.id, name=CALENDAR_NAME, color=COLOR, is_default=False, is_system=True, data=None,
        meta=None, created_at=now, updated_at=now,
    )  # fmt: skip


def shown_events(found: list[automations.Due], principal: Principal, start: int, end: int, now: int) -> list[Wire]:
    """Events for the runs of automations and for the times to come, of which some are left out where they take too long. In a
    thread.
    """
    until = time.monotonic() + SECONDS
    out, seen = [], set()
    for due in found:
        row = due.automation
        if due.run is not None:
            out.append(_event(row, principal, due.run.created_at, due.run))
        if row.id in seen or not row.is_active or row.next_run_at is None or time.monotonic() > until:
            continue
        seen.add(row.id)
        after = max(start, now, row.next_run_at) - 1
        try:
            times = recurring.bounded(
                lambda row=row, after=after: recurring.between(  # type: ignore[misc]
                    recurring.parse(row.rule), anchor_of(row), row.zone, after + 1, min(end, LAST), TIMES
                ),
                steps=20_000,
            )
        except BadRequest:
            continue
        out += [_event(row, principal, at, None) for at in times]
    return out


def _event(row: Automation, principal: Principal, at: int, run: Run | None) -> Wire:
    about: Wire = {"automation_id": row.id}
    if run is not None:
        about |= {"run_id": run.id, "status": run.status, "chat_id": run.chat_id}
    kind: Literal["run", "due"] = "due" if run is None else "run"
    return {
        "id": f"automation_{row.id}",
        "calendar_id": CALENDAR_ID,
        "user_id": row.user_id,
        "title": row.name,
        "description": str(row.data.get("prompt") or "")[:500] or None,
        "start_at": at,
        "end_at": None,
        "all_day": False,
        "rrule": None,
        "color": COLOR,
        "location": None,
        "data": None,
        "meta": about,
        "is_cancelled": False,
        "attendees": [],
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "user": Owner(principal.id, principal.name, principal.role, principal.email),
        "instance_id": f"automation_{row.id}_{kind}_{at}",
    }
