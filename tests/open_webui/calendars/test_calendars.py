"""Calendars over the API, as they are recorded; who may read and change them; and what repeats."""

import asyncio
import datetime as dt
import json
import time
from typing import Any, Final

import pytest
import sqlalchemy as sa

from open_webui.models import calendars as stored
from open_webui.models import tables
from open_webui.services import automations, event_times
from open_webui.services import calendars as service
from open_webui.utils.recurring import SECOND
from tests.open_webui.plugins.test_tools import count, say
from tests.support.live import Actor, Live

CALENDARS: Final = "/api/v1/calendars"
EVENTS: Final = f"{CALENDARS}/events"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
# 2026-11-20 18:40 UTC.
AT: Final = 1_795_200_000 * SECOND
HOUR: Final = 3_600 * SECOND
WHEN: Final = "start=2026-11-01T00:00:00&end=2026-12-31T00:00:00"


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """What SQL says runs on both; the rest is nothing of SQL's."""
    return str(getattr(request, "param", "sqlite"))


async def calendar(actor: Actor, **more: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{CALENDARS}/create", {"name": "Cal", "color": "#ff0000"} | more)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


async def event(actor: Actor, calendar_id: str, **more: Any) -> dict[str, Any]:
    form = {"calendar_id": calendar_id, "title": "Ev", "start_at": AT, "end_at": AT + HOUR, "all_day": False}
    status, made = await say(actor, "POST", f"{EVENTS}/create", form | more)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


async def listed(actor: Actor, when: str = WHEN) -> list[dict[str, Any]]:
    status, found = await say(actor, "GET", f"{EVENTS}?{when}")
    assert status == 200, found
    rows: list[dict[str, Any]] = found
    return rows


def grant(actor: Actor | None, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "user", "principal_id": "*" if actor is None else actor.id, "permission": permission}


@BOTH
async def test_as_recorded(live: Live, admin: Actor) -> None:
    (first,) = (await say(admin, "GET", f"{CALENDARS}/"))[1][:1]
    assert (first["name"], first["color"], first["is_default"], first["is_system"]) == (
        "Personal",
        "#3b82f6",
        True,
        False,
    )
    made = await calendar(admin)
    assert list(made) == [
        "id", "user_id", "name", "color", "is_default", "is_system", "data", "meta", "access_grants", "created_at", "updated_at",
    ]  # fmt: skip
    assert (made["is_default"], made["data"], made["access_grants"]) == (False, None, [])
    assert made["created_at"] == made["updated_at"] > 10**18
    one = await event(admin, made["id"])
    assert list(one) == [
        "id", "calendar_id", "user_id", "title", "description", "start_at", "end_at", "all_day", "rrule", "color", "location",
        "data", "meta", "is_cancelled", "attendees", "created_at", "updated_at",
    ]  # fmt: skip
    assert (one["start_at"], one["end_at"], one["attendees"]) == (AT, AT + HOUR, [])
    user = {"id": admin.id, "name": "Admin One", "role": "admin", "email": admin.email}
    assert await listed(admin) == [one | {"user": user}]
    assert (await say(admin, "GET", f"{EVENTS}/search?query=eV"))[1] == {"items": [one | {"user": user}], "total": 1}
    assert (await say(admin, "GET", f"{EVENTS}/{one['id']}")) == (200, one)
    changed = (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"title": "Ev2"}))[1]
    assert changed == one | {"title": "Ev2", "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > one["updated_at"]
    refused = await say(admin, "POST", f"{EVENTS}/{one['id']}/rsvp", {"status": "accepted"})
    assert refused == (404, {"detail": service.NOT_INVITED})
    assert await say(admin, "DELETE", f"{EVENTS}/{one['id']}/delete") == (200, {"status": True})
    assert (await say(admin, "POST", f"{CALENDARS}/{made['id']}/update", {"name": "Cal2"}))[1]["name"] == "Cal2"
    now = (await say(admin, "POST", f"{CALENDARS}/{made['id']}/default"))[1]
    assert (now["is_default"], now["color"]) == (True, "#ff0000")
    assert [row["is_default"] for row in (await say(admin, "GET", f"{CALENDARS}/"))[1] if not row["is_system"]] == [
        False,
        True,
    ]
    assert await say(admin, "DELETE", f"{CALENDARS}/{made['id']}/delete") == (400, {"detail": service.IS_DEFAULT})
    # The one that everybody begins with can go, and doesn't come again.
    assert await say(admin, "DELETE", f"{CALENDARS}/{first['id']}/delete") == (200, True)
    assert [row["id"] for row in (await say(admin, "GET", f"{CALENDARS}/"))[1] if not row["is_system"]] == [made["id"]]
    assert await count(live, tables.calendar) == 1


@BOTH
async def test_everybody_begins_with_one_however_often_it_is_asked(live: Live, user: Actor) -> None:
    found = await asyncio.gather(*(say(user, "GET", f"{CALENDARS}/") for _ in range(6)))
    assert all(status == 200 and rows == found[0][1] for status, rows in found)
    assert await count(live, tables.calendar) == 1


@BOTH
async def test_sharing(live: Live, admin: Actor, user: Actor) -> None:
    made = await calendar(admin, access_grants=[grant(user)])
    one = await event(admin, made["id"])
    url = f"{CALENDARS}/{made['id']}"
    # Who may read it sees it, and what stands in it; an address is not told.
    assert [row["id"] for row in (await say(user, "GET", f"{CALENDARS}/"))[1] if row["name"] == "Cal"] == [made["id"]]
    (seen,) = await listed(user)
    assert (seen["id"], seen["user"]["email"]) == (one["id"], "")
    assert (await say(user, "GET", f"{EVENTS}/search"))[1]["total"] == 1
    # And changes nothing.
    for method, path, body in (
        ("POST", f"{url}/update", {"name": "x"}), ("POST", f"{url}/access/update", {"access_grants": []}),
        ("DELETE", f"{url}/delete", None), ("POST", f"{EVENTS}/{one['id']}/update", {"title": "x"}),
        ("DELETE", f"{EVENTS}/{one['id']}/delete", None),
        ("POST", f"{EVENTS}/create", {"calendar_id": made["id"], "title": "x", "start_at": 1}),
    ):  # fmt: skip
        assert (await say(user, method, path, body))[0] == 401, path
    # Another's default is not one's own.
    await say(admin, "POST", f"{url}/default")
    assert (await say(user, "GET", url))[1]["is_default"] is False
    assert (await say(user, "POST", f"{url}/default"))[0] == 404
    # Who may write may do all with what stands there.
    given = await say(admin, "POST", f"{url}/access/update", {"access_grants": [grant(user), grant(user, "write")]})
    assert sorted(one["permission"] for one in given[1]["access_grants"]) == ["read", "write"]
    assert (await say(user, "POST", f"{EVENTS}/{one['id']}/update", {"title": "Theirs"}))[1]["title"] == "Theirs"
    theirs = await event(user, made["id"])
    assert (theirs["user_id"], len(await listed(admin))) == (user.id, 2)
    # And an admin has no other people's.
    private = await calendar(user)
    assert (await say(admin, "GET", f"{CALENDARS}/{private['id']}")) == (404, {"detail": service.NO_CALENDAR})
    assert (await say(admin, "GET", f"{EVENTS}/{(await event(user, private['id']))['id']}"))[0] == 404
    assert (
        await say(user, "POST", f"{CALENDARS}/{private['id']}/access/update", {"access_grants": [grant(None)]}) != 200
    )


@BOTH
async def test_invitations(admin: Actor, user: Actor) -> None:
    mine = await calendar(admin)
    people = [{"user_id": user.id, "status": "accepted"}, {"user_id": admin.id, "status": "accepted"}]
    one = await event(admin, mine["id"], attendees=people)
    # Nobody says yes for somebody else.
    assert {a["user_id"]: a["status"] for a in one["attendees"]} == {user.id: "pending", admin.id: "accepted"}
    assert [row["id"] for row in await listed(user)] == [one["id"]]
    assert (await say(user, "GET", f"{EVENTS}/{one['id']}"))[0] == 200
    assert (await say(user, "GET", f"{CALENDARS}/{mine['id']}"))[0] == 404
    said = await say(user, "POST", f"{EVENTS}/{one['id']}/rsvp", {"status": "declined"})
    assert (said[0], said[1]["status"], said[1]["user_id"]) == (200, "declined", user.id)
    assert (await say(user, "POST", f"{EVENTS}/{one['id']}/rsvp", {"status": "perhaps"}))[0] == 422
    assert (await say(user, "POST", f"{EVENTS}/{one['id']}/update", {"title": "x"}))[0] == 401
    # Who stays keeps what they said; who is left out sees it no more.
    kept = (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"attendees": [{"user_id": user.id}]}))[1]
    assert [(a["user_id"], a["status"]) for a in kept["attendees"]] == [(user.id, "declined")]
    assert (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"attendees": []}))[1]["attendees"] == []
    assert await listed(user) == []
    assert (await say(user, "GET", f"{EVENTS}/{one['id']}"))[0] == 404
    for bad in ([{"user_id": "nobody"}], [{"user_id": ""}], [{}], [{"user_id": admin.id}] * 101):
        assert (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"attendees": bad}))[0] in {400, 422}, bad


@BOTH
async def test_what_repeats(live: Live, admin: Actor) -> None:
    mine = await calendar(admin)
    await say(admin, "POST", "/api/v1/auths/update/timezone", {"timezone": "Europe/Berlin"})
    one = await event(admin, mine["id"], rrule="RRULE:FREQ=WEEKLY", start_at=AT - 40 * 24 * HOUR, end_at=None)
    found = await listed(admin)
    assert [row["instance_id"] for row in found] == [f"{one['id']}_{row['start_at']}" for row in found]
    assert (len(found), {row["id"] for row in found}) == (9, {one["id"]})
    # At the same hour in Berlin, though clocks were put back in October.
    before = await listed(admin, "start=2026-10-01T00:00:00Z&end=2026-10-20T00:00:00Z")
    assert {row["start_at"] % (24 * HOUR) for row in found} != {row["start_at"] % (24 * HOUR) for row in before}
    last = await event(admin, mine["id"], rrule="FREQ=DAILY;COUNT=3", title="Three")
    times = [(row["start_at"], row["end_at"]) for row in await listed(admin) if row["id"] == last["id"]]
    assert times == [(AT + day * 24 * HOUR, AT + day * 24 * HOUR + HOUR) for day in range(3)]
    # One that has begun before, and goes on.
    part = await listed(admin, "start=2026-11-21T19:00:00Z&end=2026-11-21T19:01:00Z")
    assert [row["start_at"] for row in part] == [AT + 24 * HOUR]
    async with live.app.state.oui.database.read() as connection:
        until = await connection.scalar(
            sa.select(tables.calendar_event.c.until_at).where(tables.calendar_event.c.id == last["id"])
        )
    assert AT + 2 * 24 * HOUR < until < AT + 5 * 24 * HOUR
    # Times that are left out.
    await say(admin, "POST", f"{EVENTS}/{last['id']}/update", {"data": {"exdates": [AT + 24 * HOUR, "x", None]}})
    assert len([row for row in await listed(admin) if row["id"] == last["id"]]) == 2
    # No rule any more: it is once.
    await say(admin, "POST", f"{EVENTS}/{last['id']}/update", {"rrule": None})
    (once,) = [row for row in await listed(admin) if row["id"] == last["id"]]
    assert "instance_id" not in once


async def test_rules_that_can_not_be_used(live: Live, admin: Actor) -> None:
    mine = await calendar(admin)
    form = {"calendar_id": mine["id"], "title": "Ev", "start_at": AT}
    for rule in ("nonsense", "FREQ=SECONDLY", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "x" * 3_000):
        status, told = await say(admin, "POST", f"{EVENTS}/create", form | {"rrule": rule})
        assert status in {400, 422}, told
    assert await count(live, tables.calendar_event) == 0
    # One that an import brought is shown once, and takes nothing away from the others.
    one = await event(admin, mine["id"])
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.calendar_event.update().values(rrule="FREQ=DAILY;BYMONTH=13"))
    assert [row["id"] for row in await listed(admin)] == [one["id"]]
    assert await listed(admin, "start=2027-01-01T00:00:00&end=2027-02-01T00:00:00") == []


async def test_bad_forms(live: Live, admin: Actor, user: Actor) -> None:
    mine = await calendar(admin)
    good = {"calendar_id": mine["id"], "title": "Ev", "start_at": AT}
    for bad in (
        {"title": ""}, {"title": "x" * 501}, {"title": None}, {"start_at": "soon"}, {"start_at": 10**30}, {"end_at": -(10**19)},
        {"end_at": AT - 1}, {"description": "x" * 20_001}, {"meta": {"a": "x" * 20_001}}, {"data": []},
        {"location": "x" * 1_001}, {"rrule": 7}, {"all_day": "perhaps"}, {"calendar_id": ""},
    ):  # fmt: skip
        status, told = await say(admin, "POST", f"{EVENTS}/create", good | bad)
        assert status in {400, 422}, (bad, told)
    assert (await say(admin, "POST", f"{EVENTS}/create", {"calendar_id": "nope", "title": "Ev", "start_at": 1, "end_at": 2})) == (
        404, {"detail": service.NO_CALENDAR},
    )  # fmt: skip
    other = await calendar(user)
    one = await event(admin, mine["id"])
    assert (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"calendar_id": other["id"]}))[0] == 404
    assert (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"end_at": AT - HOUR}))[0] == 400
    assert (await say(admin, "GET", f"{EVENTS}/{one['id']}"))[1] == one
    for when in (
        "start=1795000000&end=1796000000",
        "start=x&end=y",
        "start=2026-11-01&end=2028-11-01",
        "start=2026-13-01&end=2026-14-01",
    ):
        assert (await say(admin, "GET", f"{EVENTS}?{when}"))[0] == 400, when
    assert (await say(admin, "GET", EVENTS))[0] == 422
    for form in ({}, {"name": ""}, {"name": "x" * 201}, {"name": "n", "data": 7}, {"name": "n", "color": "x" * 51}):
        assert (await say(admin, "POST", f"{CALENDARS}/create", form))[0] == 422, form
    assert await count(live, tables.calendar_event) == 1


async def test_null_takes_away_what_need_not_be(admin: Actor) -> None:
    mine = await calendar(admin)
    one = await event(admin, mine["id"], description="d", location="l", meta={"alert_minutes": 5})
    changed = (
        await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"description": None, "end_at": None, "title": None})
    )[1]
    assert (changed["description"], changed["end_at"], changed["title"]) == (None, None, "Ev")
    assert (changed["location"], changed["meta"]) == ("l", {"alert_minutes": 5})
    # What is called off is not shown any more.
    assert (await say(admin, "POST", f"{EVENTS}/{one['id']}/update", {"is_cancelled": True}))[1]["is_cancelled"] is True
    assert (await listed(admin), (await say(admin, "GET", f"{EVENTS}/search"))[1]["total"]) == ([], 0)


async def test_bounds(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_CALENDARS", 2)
    monkeypatch.setattr(service, "MAX_EVENTS", 1)
    first, second = await calendar(admin), await calendar(admin)
    assert (await say(admin, "POST", f"{CALENDARS}/create", {"name": "n"}))[0] == 400
    await event(admin, first["id"])
    other = await event(admin, second["id"])
    assert (await say(admin, "POST", f"{EVENTS}/create", {"calendar_id": first["id"], "title": "n", "start_at": 1}))[
        0
    ] == 400
    assert (await say(admin, "POST", f"{EVENTS}/{other['id']}/update", {"calendar_id": first["id"]}))[0] == 400


class TestMuchAtOnce:
    """One answer has a bound, whatever stands in calendars."""

    async def test_bytes(self, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = await calendar(admin)
        one = await event(admin, mine["id"], rrule="FREQ=MINUTELY", description="x" * 1_000)
        assert len(await listed(admin)) == event_times.MAX_TIMES
        monkeypatch.setattr(service, "MAX_BYTES", 10_000)
        found = await listed(admin)
        assert [row["start_at"] for row in found] == [AT + n * 60 * SECOND for n in range(len(found))]
        assert 5 < len(found) < 10_000 / len(json.dumps(one, separators=(",", ":")))
        await event(admin, mine["id"], description="x" * 1_000)
        # One that is larger than that by itself is there alone.
        monkeypatch.setattr(service, "MAX_BYTES", 10)
        told = (await say(admin, "GET", f"{EVENTS}/search"))[1]
        assert (len(told["items"]), told["total"], len(await listed(admin))) == (1, 2, 1)

    async def test_a_note_about_an_attendee(self, admin: Actor) -> None:
        form = {"calendar_id": (await calendar(admin))["id"], "title": "Ev", "start_at": AT}
        people = [{"user_id": admin.id, "meta": {"a": "x" * 500}}]
        assert (await say(admin, "POST", f"{EVENTS}/create", form | {"attendees": people}))[0] == 422

    @BOTH
    async def test_invitations_push_nothing_out(
        self, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs, mine = await calendar(admin), await calendar(user)
        many = [
            await event(admin, theirs["id"], attendees=[{"user_id": user.id}], rrule="FREQ=MINUTELY", start_at=AT - n)
            for n in range(3)
        ]
        own = await event(user, mine["id"], start_at=AT + 100 * HOUR, end_at=None)
        monkeypatch.setattr(service, "MAX_LISTED", 2)
        assert [row["id"] for row in await listed(user)][-1] == own["id"]
        for one in many:
            await say(user, "POST", f"{EVENTS}/{one['id']}/rsvp", {"status": "declined"})
        assert [row["id"] for row in await listed(user)] == [own["id"]]

    async def test_automations_push_nothing_out(self, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        """However often they run, and however early: what people have put in is there."""
        mine, day = await calendar(admin), time.time_ns() // (24 * HOUR) * 24 * HOUR + 48 * HOUR
        last = await event(admin, mine["id"], start_at=day + 40 * HOUR, end_at=None)
        for _ in range(3):
            form = {"name": "Often", "data": {"prompt": "x", "model_id": "echo", "rrule": "RRULE:FREQ=MINUTELY"}}
            assert (await say(admin, "POST", "/api/v1/automations/create", form))[0] == 200
        when = [dt.datetime.fromtimestamp((day + hours * HOUR) // SECOND, dt.UTC) for hours in (0, 48)]
        asked = "start={:%Y-%m-%dT%H:%M:%S}&end={:%Y-%m-%dT%H:%M:%S}".format(*when)
        monkeypatch.setattr(service, "MAX_LISTED", 50)
        found = await listed(admin, asked)
        assert [row["calendar_id"] for row in found] == [automations.CALENDAR_ID] * 50 + [mine["id"]]
        assert found[-1]["id"] == last["id"]
        # Of what is too much in bytes, events are there first, too.
        monkeypatch.setattr(service, "MAX_BYTES", 10)
        assert [row["id"] for row in await listed(admin, asked)] == [last["id"]]

    async def test_without_time_what_repeats_is_left_out(self, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = await calendar(admin)
        await event(admin, mine["id"], rrule="FREQ=DAILY")
        once = await event(admin, mine["id"])
        monkeypatch.setattr(service, "SECONDS", -1.0)
        assert [row["id"] for row in await listed(admin)] == [once["id"]]


async def test_off(live: Live, admin: Actor, user: Actor) -> None:
    config = (await say(user, "GET", "/api/config"))[1]
    assert config["features"]["enable_calendar"] is True
    await live.app.state.oui.save_config({"calendar.enable": False})
    for method, path in (("GET", f"{CALENDARS}/"), ("GET", f"{EVENTS}?{WHEN}"), ("GET", f"{EVENTS}/search")):
        assert await say(admin, method, path) == (403, {"detail": "401 Unauthorized"})
    assert (await say(user, "GET", "/api/config"))[1]["features"]["enable_calendar"] is False


async def test_nobody(live: Live) -> None:
    async with live.client() as anonymous:
        for path in (f"{CALENDARS}/", EVENTS, f"{EVENTS}/search", f"{EVENTS}/x", f"{CALENDARS}/x"):
            assert (await anonymous.get(path)).status_code == 401


@BOTH
async def test_an_account_takes_its_calendars_along(live: Live, admin: Actor, user: Actor) -> None:
    mine = await calendar(user, access_grants=[grant(admin)])
    await event(user, mine["id"], attendees=[{"user_id": admin.id}])
    assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
    for table in (tables.calendar, tables.calendar_event, tables.calendar_event_attendee):
        assert await count(live, table) == 0
    async with live.app.state.oui.database.read() as connection:
        left = await connection.scalar(
            sa.select(sa.func.count()).where(tables.access_grant.c.resource_type == stored.KIND)
        )
    assert left == 0
