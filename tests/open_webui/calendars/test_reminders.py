"""Reminders of events: told once, to those whom they concern, at their time or a little after it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.services import event_times, notifications
from open_webui.services.event_times import LATE, Alert, Timing
from open_webui.utils.recurring import SECOND
from tests.open_webui.calendars.test_calendars import EVENTS, calendar, event, grant
from tests.open_webui.chat.page import open_page
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
# In the year 2126: no job of the server's own comes between.
AT: Final = 4_950_787_200 * SECOND
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


class Clock:
    """The database's, moved by hand. at: nanoseconds."""

    def __init__(self, live: Live) -> None:
        # The job comes at 25 minutes past each hour by itself, and reminders of ten minutes before at half past six.
        self.at = AT - 13 * MINUTE
        self._state = live.app.state.oui

    async def __call__(self, _connection: AsyncConnection) -> int:
        return self.at // 1_000_000

    async def move(self, at: int) -> None:
        """It is later, and the runner looks."""
        self.at = at
        async with self._state.database.write() as unit:
            unit.after_commit(lambda: self._state.jobs._announce(None))


@pytest.fixture
async def clock(live: Live) -> AsyncIterator[Clock]:
    made = Clock(live)
    jobs = live.app.state.oui.jobs
    before, jobs.clock = jobs.clock, made
    # What the server's own clock had come next comes now.
    await made.move(made.at)

    async def has_been() -> bool:
        return await due_at(live) == AT + 45 * MINUTE

    await until(has_been)
    yield made
    jobs.clock = before


async def until(look: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(30):
        while not await look():  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.02)


async def alert_at(live: Live, event_id: str) -> int | None:
    async with live.app.state.oui.database.read() as connection:
        c = tables.calendar_event.c
        found: int | None = await connection.scalar(sa.select(c.alert_at).where(c.id == event_id))
        return found


async def due_at(live: Live) -> int:
    """When the job comes, in nanoseconds; waits until it doesn't run."""
    c, found = tables.job.c, []

    async def waits() -> bool:
        async with live.app.state.oui.database.read() as connection:
            query = sa.select(c.due_at).where(c.kind == "remind of events", c.state == "waiting")
            found[:] = list(await connection.scalars(query))
        return bool(found)

    await until(waits)
    return int(found[0]) * 1_000_000


async def reminded(live: Live, clock: Clock, at: int, row: dict[str, Any], following: int | None) -> None:
    """Lets it be a time, and waits until the reminders of an event have been looked at."""
    await clock.move(at)

    async def looked() -> bool:
        return await alert_at(live, row["id"]) == following

    await until(looked)
    await due_at(live)


@BOTH
async def test_told_once(live: Live, clock: Clock, admin: Actor, user: Actor, other: Actor) -> None:
    mine = (await calendar(admin))["id"]
    people = [{"user_id": user.id}, {"user_id": other.id}]
    row = await event(admin, mine, title="Tea", start_at=AT, end_at=AT + HOUR, location="Here", attendees=people)
    await say(other, "POST", f"{EVENTS}/{row['id']}/rsvp", {"status": "declined"})
    assert (await alert_at(live, row["id"]), await due_at(live)) == (AT - 10 * MINUTE, AT - 10 * MINUTE)
    async with (
        open_page(admin.client, admin.token) as one,
        open_page(user.client, user.token) as two,
        open_page(other.client, other.token) as three,
    ):
        await reminded(live, clock, AT - 10 * MINUTE, row, None)
        for page in (one, two):
            await page.until(lambda seen: bool(seen.data("calendar:alert")))
            assert page.data("calendar:alert") == [
                {
                    "id": row["id"], "calendar_id": mine, "title": "Tea", "start_at": AT, "end_at": AT + HOUR,
                    "all_day": False, "location": "Here", "minutes_until": 10,
                }
            ]  # fmt: skip
        # Another title is no other time. What comes later comes behind anything that would have been sent before.
        await say(admin, "POST", f"{EVENTS}/{row['id']}/update", {"title": "Tea!", "meta": {"alert_minutes": 10}})
        assert await alert_at(live, row["id"]) is None
        moved = {"start_at": AT + 20 * MINUTE, "end_at": None}
        await say(admin, "POST", f"{EVENTS}/{row['id']}/update", moved)
        assert await due_at(live) == AT + 10 * MINUTE
        await say(other, "POST", f"{EVENTS}/{row['id']}/rsvp", {"status": "accepted"})
        await reminded(live, clock, AT + 11 * MINUTE, row, None)
        for page in (one, two, three):
            await page.until(lambda seen: any(told["title"] == "Tea!" for told in seen.data("calendar:alert")))
        counts = [len(page.data("calendar:alert")) for page in (one, two, three)]
        assert counts == [2, 2, 1]
        assert three.data("calendar:alert")[0]["minutes_until"] == 9


@BOTH
async def test_what_repeats(live: Live, clock: Clock, admin: Actor) -> None:
    mine = (await calendar(admin))["id"]
    clock.at = AT - DAY
    meta, data = {"alert_minutes": 30}, {"exdates": [AT + DAY]}
    row = await event(admin, mine, start_at=AT, end_at=None, rrule="FREQ=DAILY", meta=meta, data=data)
    async with open_page(admin.client, admin.token) as page:
        # The second day is left out.
        await reminded(live, clock, AT - 30 * MINUTE, row, AT + 2 * DAY - 30 * MINUTE)
        # A server that was away for days tells what has not begun long ago, once.
        await reminded(live, clock, AT + 9 * DAY - MINUTE, row, AT + 10 * DAY - 30 * MINUTE)
        await page.until(lambda seen: len(seen.data("calendar:alert")) == 2)
        told = page.data("calendar:alert")
        assert [(one["start_at"], one["minutes_until"]) for one in told] == [(AT, 30), (AT + 9 * DAY, 1)]
        assert told[1]["instance_id"] == f"{row['id']}_{AT + 9 * DAY}"
    url = f"{EVENTS}/{row['id']}/update"
    clock.at += HOUR
    for change, at in (
        ({"is_cancelled": True}, AT + 10 * DAY - 30 * MINUTE), ({"is_cancelled": False}, AT + 10 * DAY - 30 * MINUTE),
        ({"meta": {"alert_minutes": -1}}, None), ({"meta": {"alert_minutes": 60}}, AT + 10 * DAY - HOUR),
        ({"start_at": AT + 20 * DAY}, AT + 20 * DAY - HOUR), ({"rrule": "FREQ=DAILY;UNTIL=20260101"}, None),
        ({"rrule": None}, None),
    ):  # fmt: skip
        status, found = await say(admin, "POST", url, change)
        assert status == 200, found
        if change != {"rrule": None}:
            assert await alert_at(live, row["id"]) == at, change
    assert await alert_at(live, row["id"]) == AT + 20 * DAY - HOUR
    assert (await say(admin, "DELETE", f"{EVENTS}/{row['id']}/delete"))[0] == 200
    await clock.move(AT + 21 * DAY)

    async def has_been() -> bool:
        return await due_at(live) > AT + 21 * DAY

    await until(has_been)


async def test_called_off_and_back(live: Live, clock: Clock, admin: Actor) -> None:
    """Of what takes place after all nobody is reminded twice; of what nobody was reminded of, they are."""
    mine = (await calendar(admin))["id"]
    clock.at = AT - DAY
    rows = [await event(admin, mine, start_at=AT, end_at=None, meta={"alert_minutes": 30}) for _ in range(2)]
    told, untold = ((f"{EVENTS}/{row['id']}/update", row["id"]) for row in rows)
    assert (await say(admin, "POST", untold[0], {"is_cancelled": True}))[0] == 200
    async with open_page(admin.client, admin.token) as page:
        await reminded(live, clock, AT - 30 * MINUTE, rows[0], None)

        async def looked_at() -> bool:
            return await alert_at(live, untold[1]) == AT

        await until(looked_at)
        for url, row_id in (told, untold):
            for change in ({"is_cancelled": True}, {"is_cancelled": False}):
                assert (await say(admin, "POST", url, change))[0] == 200
            if row_id == told[1]:
                assert await alert_at(live, row_id) is None
        await page.until(lambda seen: len(seen.data("calendar:alert")) == 2)
        assert {one["id"] for one in page.data("calendar:alert")} == {told[1], untold[1]}


@BOTH
async def test_missed(live: Live, clock: Clock, admin: Actor) -> None:
    """Told up to ten minutes after the beginning, and no later."""
    clock.at = AT - DAY
    mine = (await calendar(admin))["id"]
    late = await event(admin, mine, title="late", start_at=AT - 10 * MINUTE, end_at=None)
    too_late = await event(admin, mine, title="too late", start_at=AT - 11 * MINUTE, end_at=None)
    ahead = await event(admin, mine, title="ahead", start_at=AT + 7 * MINUTE, end_at=None)
    async with open_page(admin.client, admin.token) as page:
        await clock.move(AT)
        for row in (late, too_late, ahead):
            await reminded(live, clock, AT, row, None)
        await page.until(lambda seen: len(seen.data("calendar:alert")) == 2)
        assert [(one["title"], one["minutes_until"]) for one in page.data("calendar:alert")] == [
            ("late", 0),
            ("ahead", 7),
        ]


@BOTH
async def test_two_processes(live: Live, clock: Clock, admin: Actor) -> None:
    """Whoever comes second finds that it was told; and one that is new comes no later for a job that waits for another."""
    reminders = live.app.state.oui.reminders
    mine = (await calendar(admin))["id"]
    first = await event(admin, mine, start_at=AT + HOUR, end_at=None)
    sooner = await event(admin, mine, start_at=AT, end_at=None)
    assert await due_at(live) == AT - 10 * MINUTE
    async with open_page(admin.client, admin.token) as page:
        now = AT - 5 * MINUTE
        await asyncio.gather(*(reminders._look_at(sooner["id"], now) for _ in range(5)))
        await reminded(live, clock, AT + HOUR, first, None)
        await page.until(lambda seen: any(told["id"] == first["id"] for told in seen.data("calendar:alert")))
        assert [told["id"] for told in page.data("calendar:alert")] == [sooner["id"], first["id"]]
    # Events whose time nobody has found out yet, as an import leaves them: only what is to come is told.
    async with live.app.state.oui.database.write() as unit:
        new = tables.calendar_event.update().values(alert_at=0)
        await unit.connection.execute(new)
        await reminders.wait_for(unit, clock.at)
    await reminded(live, clock, AT + HOUR, first, None)


@BOTH
async def test_stored_while_the_job_runs(
    live: Live, clock: Clock, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a unit of work stores beside the job's last look at what comes next is not left lying."""
    state = live.app.state.oui
    mine = (await calendar(admin))["id"]
    await event(admin, mine, start_at=AT + HOUR, end_at=None)
    later = await event(admin, mine, start_at=AT + 3 * HOUR, end_at=None)
    begun, go, usual = threading.Event(), threading.Event(), event_times.alert

    def slow(timing: Timing, due: int, now: int) -> Alert:
        begun.set()
        go.wait(30)
        return usual(timing, due, now)

    monkeypatch.setattr(event_times, "alert", slow)
    await clock.move(AT + 50 * MINUTE)
    assert await asyncio.to_thread(begun.wait, 30)
    sooner = AT + 55 * MINUTE
    async with state.database.write() as unit:
        this = tables.calendar_event.c.id == later["id"]
        await unit.connection.execute(tables.calendar_event.update().where(this).values(alert_at=sooner))
        await state.reminders.wait_for(unit, sooner)
        go.set()
        # Whether it has come to its last look by then or not, it goes well.
        await asyncio.sleep(0.2)

    async def has_been() -> bool:
        return await due_at(live) == sooner

    await until(has_been)


@BOTH
async def test_whom(live: Live, clock: Clock, admin: Actor, user: Actor) -> None:
    """Who made it in a calendar of another, as long as they may see it; nobody where calendars are off."""
    theirs = (await calendar(admin, access_grants=[grant(user, "write")]))["id"]
    rows = [await event(user, theirs, title=str(n), start_at=AT + n * DAY, end_at=None) for n in range(4)]
    url = f"/api/v1/calendars/{theirs}/access/update"
    async with open_page(admin.client, admin.token) as one, open_page(user.client, user.token) as two:
        await reminded(live, clock, AT - MINUTE, rows[0], None)
        await say(admin, "POST", url, {"access_grants": []})
        await reminded(live, clock, AT + DAY - MINUTE, rows[1], None)
        await live.app.state.oui.save_config({"calendar.enable": False})
        await reminded(live, clock, AT + 2 * DAY - MINUTE, rows[2], None)
        await live.app.state.oui.save_config({"calendar.enable": True})
        await say(admin, "POST", url, {"access_grants": [grant(user)]})
        await reminded(live, clock, AT + 3 * DAY - MINUTE, rows[3], None)
        for page, titles in ((one, ["0", "1", "3"]), (two, ["0", "3"])):
            await page.until(lambda seen: any(told["title"] == "3" for told in seen.data("calendar:alert")))
            assert [told["title"] for told in page.data("calendar:alert")] == titles


@BOTH
async def test_elsewhere(live: Live, clock: Clock, admin: Actor, user: Actor) -> None:
    """A job for each target that asks for it, stored with the reminder."""
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    tree = tree | {"features": tree["features"] | {"webhooks": True}}
    await state.save_config({notifications.SETTING: True, "user.permissions": tree})
    form = {"type": "page", "config": {}, "events": ["calendar.reminder"], "delivery": "always"}
    other = form | {"id": "other", "events": ["chat.finished"]}
    for target in (form, other):
        assert (await say(user, "POST", "/api/v1/notifications/targets", target))[0] == 200
    mine = (await calendar(admin))["id"]
    row = await event(admin, mine, title="Tea", start_at=AT, end_at=None, attendees=[{"user_id": user.id}])
    async with open_page(user.client, user.token) as page:
        await reminded(live, clock, AT - 10 * MINUTE, row, None)
        await page.until(lambda seen: bool(seen.data("notification")))
        assert page.data("notification") == [{"type": "success", "content": "Tea\nStarts in 10 minutes"}]


async def test_one_that_fails_holds_up_no_other(
    live: Live, clock: Clock, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = (await calendar(admin))["id"]
    rows = [await event(admin, mine, title=str(n), start_at=AT + n, end_at=None) for n in range(2)]
    usual = event_times.alert

    def broken(timing: Timing, due: int, now: int) -> Alert:
        if timing.start_at == AT:
            raise ZeroDivisionError
        return usual(timing, due, now)

    monkeypatch.setattr(event_times, "alert", broken)
    async with open_page(admin.client, admin.token) as page:
        await reminded(live, clock, AT, rows[1], None)
        await page.until(lambda seen: bool(seen.data("calendar:alert")))
        assert [told["title"] for told in page.data("calendar:alert")] == ["1"]
        assert await alert_at(live, rows[0]["id"]) is None


def timing(**more: Any) -> Timing:
    usual = {"start_at": AT, "rrule": None, "zone": "UTC", "data": None, "meta": None, "is_cancelled": False}
    return Timing(**(usual | more))


@pytest.mark.parametrize(
    ("meta", "minutes"),
    [
        (None, 10), ({}, 10), ({"alert_minutes": 0}, 0), ({"alert_minutes": 2.5}, 2.5), ({"alert_minutes": -1}, None),
        ({"alert_minutes": None}, None), ({"alert_minutes": True}, None), ({"alert_minutes": "5"}, None),
        ({"alert_minutes": 40_321}, None), ({"alert_minutes": float("nan")}, None), ({"alert_minutes": float("inf")}, None),
    ],
)  # fmt: skip
def test_how_long_before(meta: dict[str, Any] | None, minutes: float | None) -> None:
    assert timing(meta=meta).lead == (None if minutes is None else minutes * MINUTE)


def test_what_is_told() -> None:
    daily, lead = timing(rrule="FREQ=DAILY"), 10 * MINUTE
    told = event_times.alert
    assert told(daily, AT - lead, AT - lead) == Alert(AT, AT + DAY - lead)
    assert told(daily, AT - lead, AT - lead - 1) == Alert(None, AT - lead)
    assert told(daily, AT - lead, AT + LATE) == Alert(AT, AT + DAY - lead)
    assert told(daily, AT - lead, AT + LATE + 1) == Alert(None, AT + DAY - lead)
    # Nobody has looked yet: what has begun is not told.
    assert told(daily, 0, AT) == Alert(None, AT + DAY - lead)
    assert told(daily, 0, AT - 1) == Alert(AT, AT + DAY - lead)
    # More often than the time between: each has one, and of those that were missed there is one.
    often = timing(rrule="FREQ=MINUTELY;INTERVAL=5")
    assert told(often, AT - lead, AT - lead) == Alert(AT, AT + 5 * MINUTE - lead)
    assert told(often, AT - lead, AT + HOUR) == Alert(AT + HOUR - LATE, AT + HOUR + 5 * MINUTE)
    for odd in ("FREQ=SOMETIMES", "FREQ=DAILY;BYMONTH=13"):
        assert told(timing(rrule=odd), AT - lead, AT - lead) == Alert(AT, None)
    off, off_daily = timing(is_cancelled=True), timing(rrule="FREQ=DAILY", is_cancelled=True)
    assert told(off, AT - lead, AT) == Alert(None, None)
    # What is called off is looked at again at its beginning: till then nobody was reminded of it.
    assert told(off, AT - lead, AT - lead) == Alert(None, AT)
    assert told(off_daily, AT, AT) == Alert(None, AT + DAY - lead)
    back = event_times.restored
    assert [back(timing(), at, AT - lead) for at in (AT, None, 0)] == [AT - lead, None, 0]
    assert back(daily, AT + DAY - lead, AT - lead) == AT + DAY - lead
    assert event_times.first_alert(daily, AT) == AT + DAY - lead
    assert event_times.first_alert(timing(), AT) is None
