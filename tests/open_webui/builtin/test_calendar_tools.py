"""The tools of models for calendars: they find, make, move and remove events with the person's rights, in the person's time."""

import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.services.builtin import calendars as tools
from open_webui.utils.recurring import SECOND
from tests.open_webui.automations.test_automations import create as automation
from tests.open_webui.builtin.test_builtin import CALLED, called, offered
from tests.open_webui.calendars.test_calendars import CALENDARS, EVENTS, calendar, event, grant
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_in_chats import results
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
TOOLS = {"search_calendar_events", "create_calendar_event", "update_calendar_event", "delete_calendar_event"}
VIENNA = ZoneInfo("Europe/Vienna")
FIND, MAKE, CHANGE, REMOVE = (f"{verb}_calendar_event{'s' * (verb == 'search')}" for verb in
                              ("search", "create", "update", "delete"))  # fmt: skip


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def lives_in(actor: Actor, zone: str = "Europe/Vienna") -> None:
    status, _ = await say(actor, "POST", "/api/v1/auths/update/timezone", {"timezone": zone})
    assert status == 200


async def stored(actor: Actor, event_id: str) -> dict[str, Any]:
    status, row = await say(actor, "GET", f"{EVENTS}/{event_id}")
    assert status == 200, row
    found: dict[str, Any] = row
    return found


def at(text: str, zone: dt.tzinfo = VIENNA) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


async def test_events_are_made_found_moved_and_removed(live: Live, user: Actor) -> None:
    await lives_in(user)
    made = await called(
        live, user, MAKE, title="Dentist", start="2026-04-01T09:00", description="Upper left", location="Main Street 5",
        reminder_minutes=30,
    )  # fmt: skip
    assert made == {
        "id": made["id"], "title": "Dentist", "start": "2026-04-01T09:00:00+02:00", "end": "2026-04-01T10:00:00+02:00",
        "all_day": False, "calendar_id": made["calendar_id"], "calendar": "Personal", "description": "Upper left",
        "location": "Main Street 5", "reminder_minutes": 30, "time_zone": "Europe/Vienna",
    }  # fmt: skip
    row = await stored(user, made["id"])
    assert (row["start_at"], row["end_at"]) == (at("2026-04-01T09:00"), at("2026-04-01T10:00"))
    assert (row["user_id"], row["meta"]) == (user.id, {"alert_minutes": 30})
    found = await called(live, user, FIND, start="2026-04-01", end="2026-04-01")
    assert found["events"] == [{name: made[name] for name in made if name != "time_zone"}]
    assert (found["time_zone"], found["more"]) == ("Europe/Vienna", False)
    assert found["calendars"] == [{"id": made["calendar_id"], "name": "Personal", "is_default": True}]
    for words, count in (("DENT", 1), ("street", 1), ("upper", 1), ("hairdresser", 0)):
        assert len((await called(live, user, FIND, query=words, start="2026-03-20"))["events"]) == count, words
        # It is found by its words whenever it was.
        assert len((await called(live, user, FIND, query=words))["events"]) == count, words
    assert (await called(live, user, FIND, start="2026-04-02", end="2026-04-30"))["events"] == []
    # With another start it takes as long as before, and what is said of it stays.
    moved = await called(live, user, CHANGE, event_id=made["id"], start="2026-04-02T14:30:00Z", reminder_minutes=5)
    assert (moved["start"], moved["end"]) == ("2026-04-02T16:30:00+02:00", "2026-04-02T17:30:00+02:00")
    assert (moved["description"], moved["reminder_minutes"]) == ("Upper left", 5)
    longer = await called(live, user, CHANGE, event_id=made["id"], end="2026-04-02T19:00", title="Doctor", location="")
    assert (longer["title"], longer["start"], longer["end"]) == ("Doctor", moved["start"], "2026-04-02T19:00:00+02:00")
    assert "location" not in longer
    off = await called(live, user, CHANGE, event_id=made["id"], is_cancelled=True)
    assert off["is_cancelled"] is True
    assert (await called(live, user, FIND, query="Doctor"))["events"] == []
    assert await called(live, user, REMOVE, event_id=made["id"]) == {"deleted": made["id"], "title": "Doctor"}
    assert (await say(user, "GET", f"{EVENTS}/{made['id']}"))[0] == 404


async def test_what_repeats_is_found_with_each_time(live: Live, user: Actor) -> None:
    await lives_in(user)
    (mine,) = (await called(live, user, FIND))["calendars"]
    # Nine o'clock in Vienna, before and after the clocks change on the 29th.
    row = await event(
        user, mine["id"], title="Yoga", start_at=at("2026-03-16T09:00"), end_at=None, rrule="FREQ=WEEKLY;COUNT=4"
    )
    found = await called(live, user, FIND, start="2026-03-20", end="2026-04-30", query="yoga")
    assert [(one["start"], one["first_start"]) for one in found["events"]] == [
        (f"2026-{day}", "2026-03-16T09:00:00+01:00")
        for day in ("03-23T09:00:00+01:00", "03-30T09:00:00+02:00", "04-06T09:00:00+02:00")
    ]
    assert {(one["repeats"], one["id"]) for one in found["events"]} == {("FREQ=WEEKLY;COUNT=4", row["id"])}
    # All of it is moved by its first time.
    await called(live, user, CHANGE, event_id=row["id"], start="2026-03-16T10:15")
    found = await called(live, user, FIND, start="2026-03-01", end="2026-04-30", count=2)
    assert [one["start"][11:16] for one in found["events"]] == ["10:15", "10:15"]
    assert found["more"] is True


ALL_DAY: list[tuple[dict[str, Any], str, str]] = [
    ({"start": "2026-04-01"}, "2026-04-01", "2026-04-01"),
    ({"start": "2026-04-01", "end": "2026-04-03"}, "2026-04-01", "2026-04-03"),
    ({"start": "2026-04-01T10:00", "all_day": True}, "2026-04-01", "2026-04-01"),
    ({"start": "2026-04-01T10:00", "end": "2026-04-01", "all_day": True}, "2026-04-01", "2026-04-01"),
    # Midnight is the end of the day before.
    ({"start": "2026-04-01", "end": "2026-04-03T00:00"}, "2026-04-01", "2026-04-02"),
    ({"start": "2026-04-01", "end": "2026-04-01T00:00"}, "2026-04-01", "2026-04-01"),
]


@SQLITE
@pytest.mark.parametrize(("given", "first", "last"), ALL_DAY)
async def test_what_goes_on_all_day(live: Live, user: Actor, given: dict[str, Any], first: str, last: str) -> None:
    await lives_in(user)
    made = await called(live, user, MAKE, title="Holiday", **given)
    assert (made["all_day"], made["start"], made["end"]) == (True, first, last)
    row = await stored(user, made["id"])
    assert (row["start_at"], row["end_at"]) == (at(f"{first}T00:00"), at(f"{last}T23:59"))


@SQLITE
async def test_days_stay_days_when_they_are_moved(live: Live, user: Actor) -> None:
    await lives_in(user)
    made = await called(live, user, MAKE, title="Holiday", start="2026-03-02", end="2026-03-03")
    # The 29th has 23 hours, the 25th of October 25.
    for start, end in (("2026-03-28", "2026-03-29"), ("2026-10-24", "2026-10-25"), ("2026-12-31", "2027-01-01")):
        moved = await called(live, user, CHANGE, event_id=made["id"], start=start)
        assert (moved["start"], moved["end"]) == (start, end)
    timed = await called(live, user, CHANGE, event_id=made["id"], start="2026-05-01T08:00", all_day=False)
    assert (timed["start"], timed["end"]) == ("2026-05-01T08:00:00+02:00", "2026-05-01T09:00:00+02:00")
    whole = await called(live, user, CHANGE, event_id=made["id"], all_day=True)
    assert (whole["start"], whole["end"]) == ("2026-05-01", "2026-05-01")


@SQLITE
async def test_without_a_zone_times_are_of_utc_and_what_comes_next_is_found(live: Live, user: Actor) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    for name, days in (("Past", -3), ("Next", 3), ("Late", 300), ("Far", 900)):
        await called(live, user, MAKE, title=name, start=(now + dt.timedelta(days=days)).isoformat())
    found = await called(live, user, FIND)
    assert ([one["title"] for one in found["events"]], found["time_zone"]) == (["Next", "Late"], "UTC")
    assert dt.datetime.fromisoformat(found["now"]) >= now
    past = await called(live, user, FIND, end=(now - dt.timedelta(days=1)).isoformat())
    assert [one["title"] for one in past["events"]] == ["Past"]
    # What comes first stands first, and what was or is far away is found by its words.
    assert [one["title"] for one in (await called(live, user, FIND, query="a"))["events"]] == ["Late", "Far", "Past"]
    assert (await called(live, user, FIND, count=1))["more"] is True


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (FIND, {"start": "next Monday"}, "'start': Dates"), (FIND, {"end": 5}, "'end' should be a text"),
    (FIND, {"start": "2026-04-02", "end": "2026-04-01"}, "after 'start'"),
    (FIND, {"start": "2020-01-01", "end": "2026-04-01"}, "400 days"), (FIND, {"query": ["a"]}, "should be a text"),
    (MAKE, {"title": "x"}, "'start' should be"), (MAKE, {"start": "2026-04-01"}, "'title'"),
    (MAKE, {"title": " ", "start": "2026-04-01"}, "'title'"), (MAKE, {"title": "x" * 501, "start": "2026-04-01"}, "'title'"),
    (MAKE, {"title": "x", "start": "2026-13-01"}, "'start'"), (MAKE, {"title": "x", "start": "0001-01-01"}, "'start'"),
    (MAKE, {"title": "x", "start": "9999-12-31"}, "'start'"),
    (MAKE, {"title": "x", "start": "2026-04-01", "all_day": False}, "time of day"),
    (MAKE, {"title": "x", "start": "2026-04-01T10:00", "end": "2026-04-01T09:00"}, "after 'start'"),
    (MAKE, {"title": "x", "start": "2026-04-01", "calendar_id": "nowhere"}, "no such calendar"),
    (MAKE, {"title": "x", "start": "2026-04-01", "calendar_id": "__scheduled_tasks__"}, "no such calendar"),
    (MAKE, {"title": "x", "start": "2026-04-01", "description": "x" * 20_001}, "'description'"),
    (MAKE, {"title": "x", "start": "2026-04-01", "location": 5}, "'location'"),
    (CHANGE, {"event_id": "$"}, "what is to change"), (CHANGE, {"event_id": "$", "start": "tomorrow"}, "'start'"),
    (CHANGE, {"event_id": "$", "start": "2026-04-05"}, "time of day"), (CHANGE, {"event_id": "$", "title": ""}, "'title'"),
    (CHANGE, {"event_id": "$", "end": "2020-04-05T00:00"}, "after 'start'"),
    (CHANGE, {"event_id": "$", "is_cancelled": "no way"}, "is_cancelled"),
    (CHANGE, {}, "'event_id'"), (REMOVE, {"event_id": 7}, "'event_id'"),
    *((name, {"event_id": wrong, "title": "x"}, "no such event")
      for name in (CHANGE, REMOVE) for wrong in ("nothing", "x\x00y", "automation_1", "' OR 1=1")),
]  # fmt: skip


@SQLITE
async def test_wrong_arguments_are_a_sentence_and_change_nothing(live: Live, user: Actor) -> None:
    made = await called(live, user, MAKE, title="Stays", start="2026-04-01T09:00")
    before = await stored(user, made["id"])
    for name, arguments, sentence in WRONG:
        given = {key: made["id"] if value == "$" else value for key, value in arguments.items()}
        with pytest.raises((BadRequest, NotFound), match=sentence):
            await called(live, user, name, **given)
    assert await stored(user, made["id"]) == before
    assert (await say(user, "GET", f"{EVENTS}/search?query="))[1]["total"] == 1


async def test_odd_ids_are_no_events_on_either_database(live: Live, user: Actor) -> None:
    for wrong in ("x\x00y", "ä" * 400, "'"):
        with pytest.raises(NotFound, match="no such event"):
            await called(live, user, REMOVE, event_id=wrong)
    assert (await called(live, user, FIND, query="x\x00y"))["events"] == []


async def test_other_peoples_events_are_theirs(live: Live, user: Actor, other: Actor) -> None:
    hidden = await called(live, user, MAKE, title="Secret", start="2026-04-01T09:00")
    assert (await called(live, other, FIND, query="Secret"))["events"] == []
    assert (await called(live, other, FIND, start="2026-03-01", end="2026-05-01"))["events"] == []
    for name in (CHANGE, REMOVE):
        with pytest.raises(NotFound, match="no such event"):
            await called(live, other, name, event_id=hidden["id"], title="Taken")
    with pytest.raises(BadRequest, match="no such calendar"):
        await called(live, other, MAKE, title="x", start="2026-04-01", calendar_id=hidden["calendar_id"])
    read, write = await calendar(user, name="Read"), await calendar(user, name="Write")
    for one, permission in ((read, "read"), (write, "write")):
        body = {"access_grants": [grant(other, permission)]}
        assert (await say(user, "POST", f"{CALENDARS}/{one['id']}/access/update", body))[0] == 200
    shown = await event(user, read["id"], title="Shown")
    found = await called(live, other, FIND, query="Shown")
    assert [(one["id"], one["calendar"]) for one in found["events"]] == [(shown["id"], "Read")]
    assert [one["name"] for one in found["calendars"]] == ["Personal", "Write"]
    for name in (CHANGE, REMOVE):
        with pytest.raises(BadRequest, match="may not change"):
            await called(live, other, name, event_id=shown["id"], title="Taken")
    with pytest.raises(BadRequest, match="may not write"):
        await called(live, other, MAKE, title="x", start="2026-04-01", calendar_id=read["id"])
    both = await called(live, other, MAKE, title="Ours", start="2026-04-01", calendar_id=write["id"])
    await called(live, other, CHANGE, event_id=both["id"], title="Ours, changed")
    titles = [(await stored(user, one["id"]))["title"] for one in (hidden, shown, both)]
    assert titles == ["Secret", "Shown", "Ours, changed"]


@SQLITE
async def test_an_invitation_is_found_and_is_not_the_guests_to_change(live: Live, user: Actor, other: Actor) -> None:
    cal = await calendar(user)
    party = await event(user, cal["id"], title="Party", attendees=[{"user_id": other.id}])
    (found,) = (await called(live, other, FIND, query="Party"))["events"]
    assert (found["id"], found["attendees"], "calendar" in found) == (party["id"], 1, False)
    with pytest.raises(BadRequest, match="may not change"):
        await called(live, other, CHANGE, event_id=party["id"], title="Mine")


@SQLITE
async def test_automations_are_no_events_of_these_tools(live: Live, user: Actor) -> None:
    await allow(live, "features.automations")
    await automation(user, name="Daily news")
    found = await called(live, user, FIND)
    assert (found["events"], [one["name"] for one in found["calendars"]]) == ([], ["Personal"])


@SQLITE
async def test_who_may_have_no_calendar_gets_none(live: Live, user: Actor, admin: Actor) -> None:
    made = await called(live, user, MAKE, title="Stays", start="2026-04-01T09:00")
    calls: list[tuple[str, dict[str, Any]]] = [
        (FIND, {}), (MAKE, {"title": "x", "start": "2026-04-01"}), (CHANGE, {"event_id": made["id"], "title": "x"}),
        (REMOVE, {"event_id": made["id"]}),
    ]  # fmt: skip
    tree = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    tree["features"]["calendar"] = False
    await say(admin, "POST", "/api/v1/users/default/permissions", tree)
    for name, arguments in calls:
        with pytest.raises(Forbidden):
            await called(live, user, name, **arguments)
    await live.app.state.oui.save_config({"calendar.enable": False})
    for name, arguments in calls:
        with pytest.raises(Forbidden):
            await called(live, admin, name, **arguments)


async def answered(page: Page, model: str = "rounds", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "What is on tomorrow?", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return await page.message(chat_id, body["id"])


async def test_a_model_keeps_the_persons_calendar(page: Page, user: Actor, upstream: Upstream) -> None:
    await lives_in(user)
    upstream.rounds = [
        [ToolCall(MAKE, ('{"title": "Dentist", "start": "2026-04-01T09:00", "reminder_minutes": "15"}',), "c1"), CALLED],
        [ToolCall(FIND, ('{"start": "2026-04-01", "end": "2026-04-01"}',), "c2"),
         ToolCall(REMOVE, ('{"event_id": "wrong"}',), "c3"), CALLED],
        [Text("At nine."), Finish("stop")],
    ]  # fmt: skip
    message = await answered(page)
    made, found, refused = results(message)
    assert message["content"] == "At nine."
    assert json.loads(made)["reminder_minutes"] == 15
    assert [one["id"] for one in json.loads(found)["events"]] == [json.loads(made)["id"]]
    assert tools.UNKNOWN in refused
    assert set(offered(upstream)) >= TOOLS
    assert (await say(user, "GET", f"{EVENTS}/search?query=Dentist"))[1]["total"] == 1


@SQLITE
async def test_where_they_are_offered(live: Live, page: Page, admin: Actor, upstream: Upstream) -> None:
    state = live.app.state.oui
    temporary = page.ask("fixed", "Hi", chat_id=f"temporary:{page.sid}")
    await page.post(temporary | {"messages": [{"role": "user", "content": "Hi"}]})
    await page.idle(temporary["chat_id"])
    assert set(offered(upstream)) >= TOOLS
    body = {
        "id": "plain",
        "base_model_id": "fixed",
        "name": "Plain",
        "meta": {"builtinTools": {"calendar": False}},
        "params": {},
    }
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    await answered(page, "plain")
    assert not TOOLS & set(offered(upstream))
    await state.save_config({"calendar.enable": False})
    await answered(page, "fixed")
    assert not TOOLS & set(offered(upstream))
    await state.save_config({"calendar.enable": True})
    tree = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    tree["features"]["calendar"] = False
    await say(admin, "POST", "/api/v1/users/default/permissions", tree)
    await answered(page, "fixed")
    assert not TOOLS & set(offered(upstream))
