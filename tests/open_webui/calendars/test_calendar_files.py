"""Calendars as files: what goes out comes in again, what others write is taken or named, and nothing is there by half."""

import asyncio
import datetime as dt
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services import calendar_import, calendar_reading
from open_webui.services.calendar_reading import Draft, Found
from open_webui.utils.recurring import SECOND
from tests.open_webui.calendars.test_calendars import AT, CALENDARS, EVENTS, HOUR, calendar, event, grant
from tests.open_webui.calendars.test_ical import OUTLOOK
from tests.open_webui.plugins.test_tools import count, say
from tests.support.live import Actor, Live

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
NOW: Final = AT
DAY: Final = 24 * HOUR
EMPTY: Final = {"taken": 0, "updated": 0, "unchanged": 0, "removed": 0, "skipped": 0, "reasons": []}


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


def file(*events: str, zones: str = "") -> str:
    """A file with these events, each given by its lines."""
    parts = [f"BEGIN:VEVENT\n{one}\nEND:VEVENT" for one in events]
    return "\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", *filter(None, [zones.strip()]), *parts, "END:VCALENDAR", ""])


def read(*events: str, zones: str = "", own: str | None = "Europe/Berlin") -> Found:
    return calendar_reading.read(file(*events, zones=zones).encode(), own, NOW)


def draft(*events: str, zones: str = "", own: str | None = "Europe/Berlin") -> Draft:
    found = read(*events, zones=zones, own=own)
    assert found.reasons == []
    (only,) = found.drafts
    return only


def at(*parts: int, zone: str = "UTC") -> int:
    return int(dt.datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND  # type: ignore[arg-type, misc]


async def send(actor: Actor, calendar_id: str, text: str | bytes) -> tuple[int, Any]:
    reply = await actor.client.post(
        f"{CALENDARS}/{calendar_id}/import", content=text, headers={"content-type": "text/calendar"}
    )
    return reply.status_code, reply.json()


async def take(actor: Actor, calendar_id: str, text: str) -> dict[str, Any]:
    status, report = await send(actor, calendar_id, text)
    assert status == 200, report
    found: dict[str, Any] = report
    return found


async def exported(actor: Actor, path: str) -> str:
    reply = await actor.client.get(f"{CALENDARS}/{path}/export")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert "attachment" in reply.headers["content-disposition"]
    return reply.text.replace("\r\n ", "")


async def rows(live: Live, calendar_id: str) -> list[Any]:
    c = tables.calendar_event.c
    async with live.app.state.oui.database.read() as connection:
        query = sa.select(tables.calendar_event).where(c.calendar_id == calendar_id).order_by(c.start_at, c.id)
        return list((await connection.execute(query)).all())


async def live_in(live: Live, actor: Actor, zone: str) -> None:
    """The zone that somebody's page told."""
    async with live.app.state.oui.database.write() as unit:
        mine = tables.user.c.id == actor.id
        await unit.connection.execute(tables.user.update().where(mine).values(timezone=zone))


class TestReading:
    """What a file says, without a server."""

    def test_times(self) -> None:
        cases = {
            "DTSTART:20261120T090000Z": at(2026, 11, 20, 9),
            "DTSTART:20261120T090000": at(2026, 11, 20, 9, zone="Europe/Berlin"),
            "DTSTART;TZID=America/New_York:20261120T090000": at(2026, 11, 20, 9, zone="America/New_York"),
            'DTSTART;TZID="/x.org/1/Asia/Tokyo":20261120T090000': at(2026, 11, 20, 9, zone="Asia/Tokyo"),
            "DTSTART;VALUE=DATE:20261120": at(2026, 11, 20, zone="Europe/Berlin"),
            "dtstart:20261120": at(2026, 11, 20, zone="Europe/Berlin"),
        }
        for line, start in cases.items():
            one = draft(f"UID:a\n{line}")
            assert (one.start_at, one.all_day) == (start, "T" not in line.split(":")[1])
            assert one.title == calendar_reading.UNTITLED
        assert draft("UID:a\nDTSTART:20261120T090000", own=None).start_at == at(2026, 11, 20, 9)

    def test_ends(self) -> None:
        start, day = at(2026, 3, 28, 9, zone="Europe/Berlin"), at(2026, 3, 28, zone="Europe/Berlin")
        timed, whole = "DTSTART;TZID=Europe/Berlin:20260328T090000", "DTSTART;VALUE=DATE:20260328"
        for lines, end in {
            timed: None,
            f"{timed}\nDTEND:20260328T090000Z": at(2026, 3, 28, 9),
            f"{timed}\nDURATION:PT1H30M": start + HOUR + HOUR // 2,
            # A day is as long as clocks have it, and that one has 23 hours.
            f"{timed}\nDURATION:P1D": start + 23 * HOUR,
            f"{timed}\nDURATION:P1W": start + 7 * DAY - HOUR,
            whole: day + DAY - 60 * SECOND,
            f"{whole}\nDTEND;VALUE=DATE:20260328": day + DAY - 60 * SECOND,
            f"{whole}\nDTEND;VALUE=DATE:20260330": day + 2 * DAY - HOUR - 60 * SECOND,
            f"{whole}\nDURATION:P1D": day + DAY - 60 * SECOND,
        }.items():
            assert draft(f"UID:a\n{lines}").end_at == end, lines

    def test_zones_that_the_file_describes(self) -> None:
        line = "UID:a\nRRULE:FREQ=WEEKLY\nDTSTART;TZID=W. Europe Standard Time:20260701T090000"
        one = draft(line, zones=OUTLOOK, own="Asia/Tokyo")
        assert (one.zone, one.start_at) == ("Europe/Berlin", at(2026, 7, 1, 7))
        # Of its name nothing is said.
        found = read(line)
        assert found.drafts == []
        assert "nobody knows its time zone 'W. Europe Standard Time'" in found.reasons[0].reason
        # One like no other: once is a moment, and again and again is not.
        odd = OUTLOOK.replace("+0200", "+0217").replace("+0100", "+0117")
        once = draft("UID:a\nDTSTART;TZID=W. Europe Standard Time:20260701T090000", zones=odd)
        assert once.start_at == at(2026, 7, 1, 9) - 137 * 60 * SECOND
        assert "whose clocks go like those of no zone" in read(line, zones=odd).reasons[0].reason
        place = OUTLOOK.replace("TZID:W. Europe", "X-LIC-LOCATION:Europe/Vienna\nTZID:W. Europe")
        assert draft(line, zones=place).zone == "Europe/Vienna"

    def test_what_repeats(self) -> None:
        main = "UID:a\nSUMMARY:Tea\nDTSTART;TZID=Europe/Berlin:20261120T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=9"
        found = read(
            f"{main}\nEXDATE;TZID=Europe/Berlin:20261121T090000,20261122T090000\nEXDATE:20261123T080000Z\n"
            "RDATE:20261124T100000Z,20261121T080000Z",
            "UID:a\nSUMMARY:Late tea\nRECURRENCE-ID:20261125T080000Z\nDTSTART:20261125T100000Z",
            "UID:a\nRECURRENCE-ID;TZID=Europe/Berlin:20261126T090000\nDTSTART:20261126T080000Z\nSTATUS:CANCELLED",
        )
        assert found.reasons == []
        whole, more, moved = found.drafts
        assert (whole.zone, whole.rrule) == ("Europe/Berlin", "FREQ=DAILY;COUNT=9")
        assert whole.exdates == tuple(at(2026, 11, day, 8) for day in (21, 22, 23, 25, 26))
        assert (more.uid, more.start_at, more.end_at, more.rrule) == (
            "a#at-20261124T100000Z", at(2026, 11, 24, 10), at(2026, 11, 24, 11), None,
        )  # fmt: skip
        assert (moved.uid, moved.title, moved.start_at) == ("a#at-20261125T080000Z", "Late tea", at(2026, 11, 25, 10))
        # In UTC it repeats in UTC.
        assert draft("UID:a\nDTSTART:20261120T090000Z\nRRULE:FREQ=DAILY").zone == "UTC"

    def test_reminders(self) -> None:
        for trigger, minutes in {
            "TRIGGER:-PT15M": 15,
            "TRIGGER;RELATED=START:-P1D": 1_440,
            "TRIGGER:PT0S": 0,
            "TRIGGER;VALUE=DATE-TIME:20261120T083000Z": 30,
            "TRIGGER;RELATED=END:-PT5M": None,
            "TRIGGER:PT5M": None,
            "TRIGGER:-P1000D": None,
            "TRIGGER:soon": None,
        }.items():
            alarm = f"BEGIN:VALARM\nACTION:DISPLAY\n{trigger}\nEND:VALARM"
            assert draft(f"UID:a\nDTSTART:20261120T090000Z\n{alarm}").alert_minutes == minutes, trigger

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            ("SUMMARY:x", "no beginning"),
            ("DTSTART:tomorrow", "no time that can be kept"),
            ("DTSTART:20261345T000000Z", "no time that can be kept"),
            ("DTSTART:18501120T090000Z", "no time that can be kept"),
            ("DTSTART:22601120T090000Z", "no time that can be kept"),
            ("DTSTART:99991231T235959Z", "no time that can be kept"),
            ("DTSTART:20261120T090000Z\nDTEND:20261120T080000Z", "ends before it begins"),
            ("DTSTART:20261120T090000Z\nDURATION:P99999D", "too late to be kept"),
            ("DTSTART:20261120T090000Z\nDURATION:-PT1H", "no length of time"),
            ("DTSTART:20261120T090000Z\nDURATION:P", "no length of time"),
            ("DTSTART;TZID=Nowhere/Else:20261120T090000", "nobody knows its time zone"),
            ("DTSTART:20261120T090000Z\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "several rules"),
            ("DTSTART:20261120T090000Z\nRRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY", "several rules"),
            (
                "DTSTART:20261120T090000Z\nRRULE:FREQ=DAILY\nEXDATE:" + ",".join(["20261121T090000Z"] * 9) + ",x",
                "EXDATE",
            ),
            ("DTSTART:20261120T090000Z\nRDATE:never", "RDATE"),
            ("DTSTART:20261120T090000Z\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261120T090000Z", "RANGE"),
        ],
    )
    def test_left_out_with_the_reason(self, lines: str, reason: str) -> None:
        found = read(f"UID:odd\n{lines}", "UID:good\nDTSTART:20261120T090000Z")
        assert [one.uid for one in found.drafts] == ["good"]
        assert (found.skipped, found.reasons[0].uid) == (1, "odd")
        assert reason in found.reasons[0].reason

    def test_others(self) -> None:
        text = file("UID:a\nDTSTART:20261120T090000Z").replace(
            "END:VCALENDAR", "BEGIN:VTODO\nUID:t\nSUMMARY:Do it\nEND:VTODO\nBEGIN:X-ODD\nEND:X-ODD\nEND:VCALENDAR"
        )
        found = calendar_reading.read(text.encode(), None, NOW)
        assert [(one.uid, one.title, one.line, one.reason) for one in found.reasons] == [
            ("t", "Do it", 7, "it is no event (VTODO)"), ("", "", 11, "it is no event (X-ODD)"),
        ]  # fmt: skip

    def test_names(self) -> None:
        start = "DTSTART:20261120T090000Z"
        assert draft(f"{start}\nSUMMARY:x").uid == draft(f"SUMMARY:x\n{start}").uid
        assert draft(f"{start}\nSUMMARY:x").uid != draft(f"{start}\nSUMMARY:y").uid
        long = draft(
            f"UID:{'u' * 5_000}\n{start}\nSUMMARY:{'s' * 5_000}\nDESCRIPTION:{'d' * 50_000}\nLOCATION:{'l' * 5_000}"
        )
        lengths = (len(long.uid), len(long.title), len(long.description or ""), len(long.location or ""))
        assert lengths == (69, 500, 20_000, 1_000)
        # Of two the newer one counts, wherever it stands.
        found = read(f"UID:a\nSEQUENCE:2\nSUMMARY:new\n{start}", f"UID:a\nSEQUENCE:1\nSUMMARY:old\n{start}")
        assert ([one.title for one in found.drafts], found.reasons[0].title) == (["new"], "old")
        assert found.reasons[0].reason == calendar_reading.TWICE

    def test_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start = "DTSTART:20261120T090000Z"
        monkeypatch.setattr(calendar_reading, "MAX_DRAFTS", 2)
        monkeypatch.setattr(calendar_reading, "MAX_REASONS", 3)
        monkeypatch.setattr(calendar_reading, "MAX_RDATES", 1)
        found = read(*(f"UID:{n}\n{start}" for n in range(9)))
        assert (len(found.drafts), found.skipped, len(found.reasons)) == (2, 7, 3)
        found = read(f"UID:a\n{start}\nRRULE:FREQ=DAILY\nRDATE:20261201T100000Z,20261202T100000Z")
        assert (len(found.drafts), found.reasons[0].reason) == (2, calendar_reading.MANY_RDATES)


GOOD: Final = file(
    "UID:one\nSUMMARY:One\nDTSTART:20261120T184000Z\nDTEND:20261120T194000Z\nLOCATION:Here\nDESCRIPTION:All of it",
    "UID:two\nSUMMARY:Two\nDTSTART;TZID=Europe/Berlin:20261121T090000\nRRULE:FREQ=DAILY;COUNT=3\n"
    "EXDATE;TZID=Europe/Berlin:20261122T090000",
    "UID:two\nSUMMARY:Two moved\nRECURRENCE-ID;TZID=Europe/Berlin:20261123T090000\nDTSTART:20261123T150000Z",
    "UID:bad\nSUMMARY:Bad\nDTSTART:20261120T184000Z\nRRULE:FREQ=SECONDLY",
)


@BOTH
async def test_again_is_no_copy(live: Live, admin: Actor) -> None:
    mine = (await calendar(admin))["id"]
    report = await take(admin, mine, GOOD)
    assert report | {"reasons": []} == EMPTY | {"taken": 3, "skipped": 1}
    (bad,) = report["reasons"]
    assert (bad["uid"], bad["title"], bad["line"]) == ("bad", "Bad", 24)
    assert "FREQ should be one of" in bad["reason"]
    first = await rows(live, mine)
    assert [(row.title, row.uid, row.zone, row.rrule) for row in first] == [
        ("One", "one", "UTC", None), ("Two", "two", "Europe/Berlin", "FREQ=DAILY;COUNT=3"),
        ("Two moved", "two#at-20261123T080000Z", "UTC", None),
    ]  # fmt: skip
    assert first[1].data == {"exdates": [at(2026, 11, 22, 8), at(2026, 11, 23, 8)]}
    assert {row.meta["alert_minutes"] for row in first} == {-1}
    # Somebody sets a reminder here, and the file says nothing of one.
    await say(admin, "POST", f"{EVENTS}/{first[0].id}/update", {"meta": {"alert_minutes": 5}, "color": "#fff"})
    assert await take(admin, mine, GOOD) == report | {"taken": 0, "unchanged": 3}
    again = await rows(live, mine)
    assert [row.id for row in again] == [row.id for row in first]
    assert (again[0].meta, again[1].updated_at) == ({"alert_minutes": 5}, first[1].updated_at)
    # Another text, and the changed time is no more.
    text = (
        GOOD.replace("SUMMARY:One", "SUMMARY:Uno")
        .replace("RECURRENCE-ID", "X-NOT")
        .replace("UID:two\nSUMMARY:Two moved", "UID:x")
    )
    report = await take(admin, mine, text)
    assert report | {"reasons": []} == EMPTY | {"taken": 1, "updated": 2, "removed": 1, "skipped": 1}
    found = {row.uid: row for row in await rows(live, mine)}
    assert sorted(found) == ["one", "two", "x"]
    assert (found["one"].id, found["one"].title, found["one"].color) == (first[0].id, "Uno", "#fff")
    # In another calendar it is another event.
    other = (await calendar(admin))["id"]
    assert (await take(admin, other, text))["taken"] == 3


@BOTH
async def test_out_and_in_again(live: Live, admin: Actor, user: Actor) -> None:
    await live_in(live, admin, "Europe/Berlin")
    mine = (await calendar(admin, name="Ours; and, more"))["id"]
    berlin = at(2026, 3, 20, 9, zone="Europe/Berlin")
    skipped = at(2026, 4, 3, 9, zone="Europe/Berlin")
    weekly = await event(
        admin, mine, title="Weekly, with; signs\\", start_at=berlin, end_at=berlin + HOUR, rrule="RRULE:FREQ=WEEKLY;COUNT=9",
        description="ä" * 200 + "\nnext", data={"exdates": [skipped], "x": 1}, meta={"alert_minutes": 15},
        attendees=[{"user_id": user.id}, {"user_id": admin.id, "status": "accepted"}],
    )  # fmt: skip
    day = at(2026, 5, 1, zone="Europe/Berlin")
    await event(
        admin, mine, title="Days", start_at=day, end_at=day + 2 * DAY - 60 * SECOND, all_day=True, location="Home"
    )
    gone = await event(admin, mine, title="Off", rrule="FREQ=DAILY;UNTIL=20261231")
    await say(admin, "POST", f"{EVENTS}/{gone['id']}/update", {"is_cancelled": True})
    text = await exported(admin, mine)
    for line in (
        "X-WR-CALNAME:Ours\\; and\\, more", f"UID:{weekly['id']}", "SUMMARY:Weekly\\, with\\; signs\\\\", "TZID:Europe/Berlin",
        "DTSTART;TZID=Europe/Berlin:20260320T090000", "DTEND;TZID=Europe/Berlin:20260320T100000", "RRULE:FREQ=WEEKLY;COUNT=9",
        "EXDATE;TZID=Europe/Berlin:20260403T090000", "TRIGGER:-PT15M", "DTSTART;VALUE=DATE:20260501",
        "DTEND;VALUE=DATE:20260503", "STATUS:CANCELLED", "RRULE:FREQ=DAILY;UNTIL=20261231T225959Z",
        f'ATTENDEE;CN="Admin One";PARTSTAT=ACCEPTED:mailto:{admin.email}',
    ):  # fmt: skip
        assert f"{line}\r\n" in text, line
    assert text.index("BEGIN:VTIMEZONE") < text.index("BEGIN:VEVENT")
    assert text.count("BEGIN:VTIMEZONE") == 1
    assert await take(admin, mine, text) == EMPTY | {"unchanged": 3}
    one = await exported(admin, f"events/{weekly['id']}")
    assert one.count("BEGIN:VEVENT") == 1
    # Somewhere else it is the same.
    other = (await calendar(admin))["id"]
    assert await take(admin, other, text) == EMPTY | {"taken": 3}
    same = [[(row.title, row.start_at, row.end_at, row.until_at, row.location) for row in await rows(live, one)]
            for one in (mine, other)]  # fmt: skip
    assert same[0] == same[1]
    assert (await exported(admin, other)).count("SUMMARY:Weekly\\, with\\; signs") == 1


@BOTH
async def test_what_others_see(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    """Who may read may export, and sees no addresses; who may write may import; nobody else."""
    mine = (await calendar(admin, access_grants=[grant(user)]))["id"]
    one = await event(admin, mine, attendees=[{"user_id": other.id}])
    text = await exported(user, mine)
    assert "@" not in text
    assert f"urn:uuid:{other.id}" in text
    assert f"mailto:{other.email}" in await exported(other, f"events/{one['id']}")
    for actor, path, status in ((other, mine, 404), (other, "nope", 404), (user, "nope", 404)):
        assert (await actor.client.get(f"{CALENDARS}/{path}/export")).status_code == status
    assert (await user.client.get(f"{EVENTS}/{one['id']}/export")).status_code == 200
    assert (await user.client.get(f"{EVENTS}/nope/export")).status_code == 404
    assert (await send(user, mine, GOOD))[0] in {401, 403}
    assert (await send(other, mine, GOOD))[0] == 404
    assert (await send(admin, "__scheduled_tasks__", GOOD))[0] == 404
    assert await count(live, tables.calendar_event) == 1
    async with live.client() as nobody:
        assert (await nobody.get(f"{CALENDARS}/{mine}/export")).status_code == 401
        assert (await nobody.post(f"{CALENDARS}/{mine}/import", content=GOOD)).status_code == 401
    await live.app.state.oui.save_config({"calendar.enable": False})
    assert (await admin.client.get(f"{CALENDARS}/{mine}/export")).status_code == 403
    assert (await send(admin, mine, GOOD))[0] == 403


@BOTH
async def test_nothing_by_half(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = (await calendar(admin))["id"]
    cut = GOOD[: GOOD.index("UID:bad")]
    for text in (cut, "", "<html>", b"\x00\xff\x00", "BEGIN:VCALENDAR\nEND:VEVENT\nEND:VCALENDAR"):
        assert (await send(admin, mine, text))[0] == 400, text
    assert await count(live, tables.calendar_event) == 0
    monkeypatch.setattr(calendar_import, "MAX_FILE", 1_000)
    assert (await send(admin, mine, GOOD + "\n" * 1_000))[0] == 413
    reply = await admin.client.post(f"{CALENDARS}/{mine}/import", files={"other": ("a.ics", GOOD)})
    assert (reply.status_code, reply.json()) == (400, {"detail": calendar_import.NO_FILE})
    monkeypatch.undo()
    reply = await admin.client.post(f"{CALENDARS}/{mine}/import", files={"file": ("a.ics", GOOD, "text/calendar")})
    assert (reply.status_code, reply.json()["taken"]) == (200, 3)


async def test_a_full_calendar_and_too_long_rules(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = (await calendar(admin))["id"]
    await event(admin, mine)
    monkeypatch.setattr(calendar_import, "MAX_EVENTS", 2)
    report = await take(admin, mine, GOOD)
    assert (report["taken"], report["skipped"], await count(live, tables.calendar_event)) == (1, 3, 2)
    assert calendar_import.FULL in {one["reason"] for one in report["reasons"]}
    monkeypatch.undo()
    other = (await calendar(admin))["id"]
    monkeypatch.setattr(calendar_import, "SECONDS", -1.0)
    report = await take(admin, other, GOOD)
    assert (report["taken"], {one["reason"] for one in report["reasons"]}) == (2, {calendar_import.NO_TIME})
    # It goes on where it was.
    monkeypatch.undo()
    assert (await take(admin, other, GOOD))["taken"] == 1
    monkeypatch.setattr(calendar_import, "SECONDS", -1.0)
    assert (await take(admin, other, GOOD))["unchanged"] == 3


@BOTH
async def test_two_at_once(live: Live, admin: Actor) -> None:
    """One takes it, and the other changes nothing or is told to try again; never is there a copy."""
    mine = (await calendar(admin))["id"]
    replies = await asyncio.gather(*(send(admin, mine, GOOD) for _ in range(3)))
    assert {status for status, _ in replies} <= {200, 409}
    assert sum(report.get("taken", 0) for _, report in replies) == 3
    assert await count(live, tables.calendar_event) == 3
