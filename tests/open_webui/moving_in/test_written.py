"""Moving in: notes, channels, calendars and automations, seen through HTTP afterwards; damaged ones lose themselves alone."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import IntegrityError

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.models import channel_messages, tables, versions
from open_webui.moving_in import automations, calendars, channels, notes, runner
from open_webui.moving_in.outcome import Report
from tests.support import live as live_module
from tests.support.foreign_database import AT, NS, PASSWORD, Broken, Foreign, Sample, sample
from tests.support.live import Live

ADA, UWE, ZOE = "ada@example.com", "uwe@example.com", "zoe@example.com"
NOW = AT * NS
RULE = "DTSTART:20261120T160000\nRRULE:FREQ=DAILY"


def silent(_doing: str) -> None:
    """Says nothing."""


def written(settings: Settings, foreign: Foreign) -> Path:
    path = settings.data_dir.parent / "their.db"
    path.unlink(missing_ok=True)
    return foreign.sqlite(path)


async def move(settings: Settings, source: Foreign | Path, **options: Any) -> Report:
    path = written(settings, source) if isinstance(source, Foreign) else source
    return await runner.move_in(settings, str(path), silent, **options)


async def rows(settings: Settings, name: str) -> list[Any]:
    database = open_database(settings)
    try:
        async with database.read() as connection:
            return list((await connection.execute(tables.config.metadata.tables[name].select())).all())
    finally:
        await database.close()


async def sign_in(live: Live, email: str) -> httpx.AsyncClient:
    async with live.client() as client:
        reply = await client.post("/api/v1/auths/signin", json={"email": email, "password": PASSWORD})
        assert reply.status_code == 200, reply.text
    return live.client(reply.json()["token"])


async def got(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await client.get(path, params=query)
    assert reply.status_code == 200, (path, reply.text)
    return reply.json()


def left(report: Report, table: str) -> dict[str, int]:
    return {why: reason.count for why, reason in report.of(table).left.items()}


def mended(report: Report, table: str) -> dict[str, int]:
    return {why: reason.count for why, reason in report.of(table).mended.items()}


@pytest.fixture
def theirs(tmp_path: Path) -> Sample:
    made = sample(tmp_path / "theirs")
    made.foreign.add("config", key="channels.enable", value=True)
    # What other people may do with these.
    made.foreign.rows["group"][1]["permissions"] = {
        "features": {"notes": True, "channels": True, "calendar": True, "automations": True},
    }
    return made


@pytest.fixture
def f() -> Foreign:
    return Foreign()


@pytest.fixture
def ada(f: Foreign) -> str:
    return f.person("Ada", "admin")


async def taken(settings: Settings, theirs: Sample) -> Report:
    path = theirs.uploads.parent / "webui.db"
    return await move(settings, path if path.exists() else theirs.foreign.sqlite(path))


async def test_notes(settings: Settings, theirs: Sample, make_live: Any) -> None:
    await taken(settings, theirs)
    live = await make_live()
    async with await sign_in(live, UWE) as client:
        note = await got(client, "/api/v1/notes/note-1")
        assert (note["title"], note["data"]["content"]["md"], note["meta"]) == (
            "Tea", "# Green\n\nhot", {"color": "green"},
        )  # fmt: skip
        assert (note["created_at"], note["is_pinned"], note["data"]["files"]) == (NOW + 7, True, [])
        assert [g["permission"] for g in note["access_grants"]] == ["write"]
        assert [one["id"] for one in await got(client, "/api/v1/notes/pinned")] == ["note-1"]
        changed = await client.post("/api/v1/notes/note-1/update", json={"data": {"content": {"md": "black"}}})
        assert changed.status_code == 200, changed.text
        # What was changed here since is not changed back.
        await taken(settings, theirs)
        assert (await got(client, "/api/v1/notes/note-1"))["data"]["content"]["md"] == "black"
    async with await sign_in(live, ADA) as client:
        assert (await client.get("/api/v1/notes/note-1")).status_code == 404


async def test_of_thousands_of_versions_the_newest_come(settings: Settings, f: Foreign, monkeypatch: Any) -> None:
    """Wherever they lie in their table."""
    monkeypatch.setattr(versions, "KEPT", 3)
    ada = f.person("Ada", "admin")
    f.add("model", id="tea", user_id=ada, base_model_id="m", name="Tea", params={}, meta={}, is_active=True)
    for n in range(40):
        f.add("model_history", id=f"v{n}", model_id="tea", snapshot={"name": f"Tea {n}"}, user_id=ada,
              commit_message="c", created_at=AT + (n if n >= 3 else 100 + n))  # fmt: skip
    await move(settings, f)
    kept = {row.id for row in await rows(settings, "version")}
    assert {"v0", "v1", "v2"} <= kept
    assert not {f"v{n}" for n in range(3, 40)} & kept


async def test_messages_are_stored_some_together_and_a_bad_one_goes_alone(
    settings: Settings, f: Foreign, monkeypatch: Any
) -> None:
    ada = f.person("Ada", "admin")
    f.add("channel", id="c", user_id=ada, name="Talk")
    for n in range(120):
        f.add(
            "message",
            id=f"m{n}",
            user_id=ada,
            channel_id="c",
            content=f"said {n}",
            created_at=NOW + n,
            updated_at=NOW + n,
        )
        f.add("message", id=f"a{n}", user_id=ada, channel_id="c", parent_id=f"m{n}", content="so", created_at=NOW + n)
    store, batches = channels.store_messages, []

    async def counted(move: Any, made: list[channels.Message]) -> list[bool]:
        batches.append(len(made))
        if any(one.values["id"] == "m7" for one in made):
            raise IntegrityError("insert", {}, Exception("no"))
        return await store(move, made)

    for part in (channels.MESSAGES, channels.ANSWERS):
        monkeypatch.setattr(part.__class__, "__setattr__", object.__setattr__)
        monkeypatch.setattr(part, "together", counted)
    monkeypatch.setattr(channels, "store_messages", counted)
    report = await move(settings, f)
    assert (report.tables["message"].taken, left(report, "message")) == (239, {"the database refuses it": 1})
    # One by one where something can't be stored, some fifty together elsewhere.
    assert sum(count > 1 for count in batches) <= 8
    found = {row.id: row for row in await rows(settings, "channel_message")}
    assert len(found) == 239
    assert (found["m0"].reply_count, found["a7"].parent_id) == (1, None)
    # Again: all of them are there.
    assert (await move(settings, f)).tables["message"].there == 239


async def test_channels(settings: Settings, theirs: Sample, make_live: Any) -> None:
    await taken(settings, theirs)
    live = await make_live()
    async with await sign_in(live, UWE) as client:
        found = {one["id"]: one for one in await got(client, "/api/v1/channels/")}
        assert found.keys() == {"general", "talk", "team"}
        assert found["general"]["is_channel_muted"]
        # Of the three messages that are in no thread or in one: what was read last lies before the answer.
        assert (found["general"]["last_message_at"], found["talk"]["unread_count"]) == (NOW + 3, 0)
        assert set(found["talk"]["user_ids"]) == {theirs.admin, theirs.user}
        said = await got(client, "/api/v1/channels/general/messages")
        assert [(m["id"], m["content"], m["user"]["name"]) for m in said] == [
            ("m2", "It boils", "Kettle"), ("m1", "Which tea?", "Uwe"),
        ]  # fmt: skip
        assert said[0]["reply_to_message"]["id"] == "m1"
        assert (said[1]["reply_count"], said[1]["latest_reply_at"], said[1]["is_pinned"]) == (1, NOW + 3, True)
        assert [(r["name"], r["count"]) for r in said[1]["reactions"]] == [("tea", 2)]
        thread = await got(client, "/api/v1/channels/general/messages/m1/thread")
        assert [m["content"] for m in thread] == ["Assam", "Which tea?"]
        # The same people have this conversation, and no second one.
        again = await client.post(
            "/api/v1/channels/create", json={"type": "dm", "name": "", "user_ids": [theirs.admin]}
        )
        assert again.json()["id"] == "talk", again.text
    async with await sign_in(live, ZOE) as client:
        # Whoever may read the channel may read what is attached there.
        assert (await client.get(f"/api/v1/files/{theirs.file}/content")).text.startswith("The kettle")
        assert (await client.get("/api/v1/channels/talk")).status_code == 404
    async with await sign_in(live, ADA) as client:
        (hook,) = await got(client, "/api/v1/channels/general/webhooks")
        assert (hook["id"], hook["token"]) == ("hook-1", "whistles-when-it-boils")
    async with live.client() as client:
        # Whoever had its address writes by it.
        path = "/api/v1/channels/webhooks/hook-1/{}"
        sent = await client.post(path.format("whistles-when-it-boils"), json={"content": "again"})
        assert sent.status_code == 200, sent.text
        assert (await client.post(path.format("guessed"), json={"content": "again"})).status_code == 401


async def test_calendars(settings: Settings, theirs: Sample, make_live: Any) -> None:
    await taken(settings, theirs)
    live = await make_live()
    async with await sign_in(live, UWE) as client:
        own = [one for one in await got(client, "/api/v1/calendars/") if not one["is_system"]]
        assert [(one["id"], one["name"], one["is_default"]) for one in own] == [("days", "Days", True)]
        event = await got(client, "/api/v1/calendars/events/four")
        assert (event["title"], event["rrule"], event["location"]) == ("Tea time", "FREQ=DAILY", "Kitchen")
        assert [(one["user_id"], one["status"], one["meta"]) for one in event["attendees"]] == [
            (theirs.admin, "accepted", {"note": "gladly"})
        ]
        days = await got(client, "/api/v1/calendars/events", start="2025-10-20T00:00:00", end="2025-10-23T00:00:00")
        assert [one["id"] for one in days if one["calendar_id"] == "days"] == ["four"] * 3
    async with await sign_in(live, ADA) as client:
        assert (await client.post("/api/v1/calendars/days/update", json={"name": "Mine"})).status_code in {
            401,
            403,
            404,
        }
        assert (await got(client, "/api/v1/calendars/days"))["is_default"] is False


async def test_automations_come_switched_off(settings: Settings, theirs: Sample, make_live: Any) -> None:
    report = await taken(settings, theirs)
    live = await make_live()
    assert mended(report, "automation") == {automations.OFF: 1}
    async with await sign_in(live, UWE) as client:
        one = await got(client, "/api/v1/automations/ask")
        assert (one["name"], one["is_active"], one["next_run_at"]) == ("Ask", False, None)
        assert (one["data"]["prompt"], one["folder_id"], one["last_run_at"]) == ("Tea?", theirs.inner, NOW + 8)
        runs = await got(client, "/api/v1/automations/ask/runs")
        assert [(run["id"], run["status"], run["chat_id"]) for run in runs] == [
            ("run-1", "success", theirs.chat), ("run-2", "error", None),
        ]  # fmt: skip
        on = await client.post("/api/v1/automations/ask/toggle")
        assert (on.status_code, on.json()["is_active"]) == (200, True), on.text
        await taken(settings, theirs)
        assert (await got(client, "/api/v1/automations/ask"))["is_active"] is True


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestWhoHasAnAccountHere:
    async def test_things_are_their_own(self, settings: Settings, live: Live, theirs: Sample) -> None:
        admin = await live_module.sign_up(live, "Own Admin")
        uwe = await live_module.sign_up(live, "Uwe", role="user", admin=admin)
        await admin.client.post(f"/api/v1/users/{uwe.id}/update", json={"email": UWE})
        default = (await got(uwe.client, "/api/v1/calendars/"))[0]["id"]
        await taken(settings, theirs)
        assert {row.user_id for name in ("note", "automation") for row in await rows(settings, name)} == {uwe.id}
        calendar = {row.id: (row.user_id, row.is_default) for row in await rows(settings, "calendar")}
        assert calendar == {default: (uwe.id, True), "days": (uwe.id, False)}
        people = {(row.channel_id, row.user_id) for row in await rows(settings, "channel_member")}
        assert ("talk", uwe.id) in people
        (pin,) = await rows(settings, "pinned_note")
        assert pin.user_id == uwe.id
        for client in (admin.client, uwe.client):
            await client.aclose()

    async def test_nothing_that_is_here_is_reached(self, settings: Settings, f: Foreign, ada: str) -> None:
        """The same ids as things here: nobody writes into them, and nobody is let in."""
        own = Foreign()
        owner = own.person("Owner", "admin")
        own.add("channel", id="c", user_id=owner, name="Own")
        own.add("message", id="m", user_id=owner, channel_id="c", content="own")
        own.add("note", id="n", user_id=owner, title="Own", data={"content": {"md": "own"}})
        own.add("calendar", id="k", user_id=owner, name="Own")
        own.add("automation", id="a", user_id=owner, name="Own", data={"prompt": "p", "model_id": "m", "rrule": RULE})
        await move(settings, own)
        for kind, one in {"channel": "c", "note": "n", "calendar": "k"}.items():
            f.add(
                "access_grant",
                resource_type=kind,
                resource_id=one,
                principal_type="user",
                principal_id="*",
                permission="write",
            )
        f.add("channel", id="c", user_id=ada, name="Taken")
        f.add("channel_member", channel_id="c", user_id=ada)
        f.add("channel_webhook", user_id=ada, channel_id="c", name="Hook", token="a-token-that-is-long")
        f.add("message", id="m", user_id=ada, channel_id="c", content="taken")
        f.add("message", id="n1", user_id=ada, channel_id="c", content="written into it")
        f.add("message_reaction", user_id=ada, message_id="m", name="x")
        f.add("note", id="n", user_id=ada, title="Taken", data={"content": {"md": "taken"}})
        f.add("pinned_note", user_id=ada, note_id="n")
        f.add("calendar", id="k", user_id=ada, name="Taken")
        f.add("calendar_event", calendar_id="k", user_id=ada, title="In it", start_at=NOW)
        f.add("automation_run", automation_id="a", status="success")
        report = await move(settings, f)
        assert [(row.user_id, row.name) for row in await rows(settings, "channel")] == [(owner, "Own")]
        assert [row.content for row in await rows(settings, "channel_message")] == ["own"]
        for name in (
            "access_grant", "channel_member", "channel_webhook", "channel_reaction", "pinned_note", "calendar_event",
            "automation_run",
        ):  # fmt: skip
            assert await rows(settings, name) == [], name
        assert left(report, "message") == {"its channel did not come along": 1}
        assert left(report, "message_reaction") == {"its message did not come along": 1}
        assert left(report, "calendar_event") == {"its calendar did not come along": 1}

    async def test_people_who_talk_here_already(self, settings: Settings, f: Foreign, ada: str) -> None:
        bob = f.person("Bob")
        for channel_id in ("one", "two"):
            f.add("channel", id=channel_id, user_id=ada, name="", type="dm")
            for who in (ada, bob):
                f.add("channel_member", channel_id=channel_id, user_id=who)
            f.add("message", user_id=bob, channel_id=channel_id, content=f"in {channel_id}")
        report = await move(settings, f)
        assert report.tables["channel"].taken == 2
        assert mended(report, "channel") == {channels.KNOWN: 1}
        assert {row.content for row in await rows(settings, "channel_message")} == {"in one", "in two"}
        assert sorted(row.people is None for row in await rows(settings, "channel")) == [False, True]


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
async def test_damaged_notes(settings: Settings, f: Foreign, ada: str) -> None:
    f.add("note", id="broken", user_id=ada, title="x", data=Broken('{"content": {"md"'))
    f.add("note", id="list", user_id=ada, title="x", data=["no object"])
    f.add("note", id="nobody", user_id="gone", title="x", data={})
    f.add("note", id="long", user_id=ada, title="x", data={"content": {"md": "x" * 1_000_001}})
    f.add("note", id="empty", user_id=ada, title=None, data=None, created_at=Broken("yesterday"))
    f.add(
        "note",
        id="odd",
        user_id=ada,
        title="t" * 3_000,
        data={"content": {"md": 7, "json": {"type": "doc"}, "html": []}},
    )
    f.add("note", id="nul", user_id=ada, title="a\x00b", data={"content": {"md": "c\x00d"}}, meta=Broken("{"))
    f.add("note", id="text", user_id=ada, title="x", data={"content": "only a text", "versions": ["v" * 600_000]})
    f.add("pinned_note", user_id="gone", note_id="text")
    report = await move(settings, f)
    found = {row.id: row for row in await rows(settings, "note")}
    assert found.keys() == {"empty", "odd", "nul", "text"}
    assert left(report, "note") == {
        notes.NO_TEXT: 2, "its owner did not come along": 1, "A note may have 1,000,000 characters at most.": 1,
    }  # fmt: skip
    assert (found["nul"].title, found["nul"].md, found["nul"].meta) == ("ab", "cd", None)
    assert (found["text"].md, found["text"].data, len(found["odd"].title)) == ("only a text", {}, 2_000)
    assert notes.BESIDES in mended(report, "note")


async def test_damaged_channels(settings: Settings, f: Foreign, ada: str) -> None:
    f.add("channel", id="deleted", user_id=ada, name="x", deleted_at=NOW)
    f.add("channel", id="nameless", user_id=ada, name=" ")
    f.add("channel", id="odd", user_id=ada, name="x", type="hall")
    f.add("channel", id="alone", user_id=ada, name="x", type="group")
    f.add("channel", id="orphan", user_id="gone", name="Open")
    f.add(
        "channel", id="heirs", user_id="gone", name="Group", type="group", meta=Broken("["), is_private=Broken("maybe")
    )
    for who in ("gone", ada, ada):
        f.add("channel_member", channel_id="heirs", user_id=who, joined_at=Broken("early"))
    f.add(
        "channel_webhook",
        channel_id="orphan",
        user_id=ada,
        name="",
        token="short",
        profile_image_url="javascript:alert(1)",
    )
    f.add("message", id="top", channel_id="orphan", user_id="gone", content="of somebody", parent_id="missing")
    f.add("message", id="self", channel_id="orphan", user_id=ada, content=None, parent_id="self", data=Broken("{"))
    f.add("message", id="a", channel_id="orphan", user_id=ada, content="a", parent_id="b")
    f.add("message", id="b", channel_id="orphan", user_id=ada, content="b", parent_id="a")
    f.add("message", id="first", channel_id="orphan", user_id=ada, content="first")
    f.add("message", id="deep", channel_id="orphan", user_id=ada, content="deep", parent_id="answer")
    f.add("message", id="answer", channel_id="orphan", user_id=ada, content="answer", parent_id="first")
    f.add("message", id="other", channel_id="heirs", user_id=ada, content="elsewhere", parent_id="first")
    f.add("message", channel_id="orphan", user_id=ada, content="x" * 200_001)
    f.add("message", channel_id="deleted", user_id=ada, content="gone")
    f.add("message", channel_id=None, user_id=ada, content="nowhere")
    for name in ("tea", "tea", "", "n" * 101):
        f.add("message_reaction", user_id=ada, message_id="first", name=name)
    f.add("message_reaction", user_id="gone", message_id="first", name="tea")
    report = await move(settings, f)
    assert {row.id: row.user_id for row in await rows(settings, "channel")} == {"orphan": ada, "heirs": ada}
    assert [row.user_id for row in await rows(settings, "channel_member")] == [ada]
    (hook,) = await rows(settings, "channel_webhook")
    assert (hook.name, hook.profile_image_url) == ("Webhook", None)
    assert channels.NEW_ADDRESSES in mended(report, "channel")
    said = {row.id: row for row in await rows(settings, "channel_message")}
    assert {key: row.parent_id for key, row in said.items()} == {
        "top": None, "self": None, "a": None, "b": None, "first": None, "deep": "first", "answer": "first", "other": None,
    }  # fmt: skip
    assert (said["top"].user_id, said["first"].reply_count, said["self"].data) == (None, 2, None)
    assert mended(report, "message")[channels.NO_THREAD] == 5
    assert sum(left(report, "message").values()) == 3
    assert [row.name for row in await rows(settings, "channel_reaction")] == ["tea"]
    assert sum(left(report, "message_reaction").values()) == 3
    again = await move(settings, f)
    assert {name: of.taken for name, of in again.tables.items() if of.taken} == {}
    assert again.tables["message"].there == 8


async def test_damaged_calendars_and_automations(settings: Settings, f: Foreign, ada: str) -> None:
    f.add("calendar", id="k", user_id=ada, name="K", is_default=True, data=Broken("{"))
    f.add("calendar", id="second", user_id=ada, name="S", is_default=True)
    f.add("calendar", id="nobody", user_id="gone", name="N")
    f.add("calendar", id="nameless", user_id=ada, name="")
    for key, more in {
        "rule": {"rrule": "FREQ=SOMETIMES"}, "before": {"end_at": NOW - 1}, "never": {"start_at": Broken("soon")},
        "far": {"start_at": 2**62 * 2 - 1}, "made": {"user_id": "gone"}, "lost": {"calendar_id": "nobody"},
        "blank": {"title": " "}, "long": {"title": "t" * 600}, "slow": {"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31"},
    }.items():  # fmt: skip
        f.add("calendar_event", **{"id": key, "calendar_id": "k", "user_id": ada, "title": "T", "start_at": NOW} | more)
    for who in (ada, ada, "gone"):
        f.add("calendar_event_attendee", event_id="rule", user_id=who, status="perhaps", meta={"x": "y" * 600})
    good = {"prompt": "p", "model_id": "m", "rrule": RULE}
    for key, more in {
        "good": {"target": {"type": "channel", "channel_id": "c"}}, "rule": {"rrule": "nonsense"}, "none": {"prompt": ""},
    }.items():  # fmt: skip
        f.add("automation", id=key, user_id=ada, name=key, data=good | more, is_active=key != "rule", folder_id="gone")
    f.add("automation", id="broken", user_id=ada, name="x", data=Broken("{"))
    for key, status in {"on": "running", "odd": "dancing", "ok": "success"}.items():
        f.add("automation_run", id=key, automation_id="good", status=status, chat_id="no such chat")
    report = await move(settings, f)
    assert {row.id: row.is_default for row in await rows(settings, "calendar")} == {"k": True, "second": False}
    events = {row.id: row for row in await rows(settings, "calendar_event")}
    assert events.keys() == {"rule", "before", "made", "long", "blank", "slow"}
    assert (events["rule"].rrule, events["rule"].until_at, events["before"].end_at) == ("FREQ=SOMETIMES", NOW, None)
    assert (events["made"].user_id, len(events["long"].title), events["blank"].title) == (ada, 500, calendars.NO_TITLE)
    assert mended(report, "calendar_event")[calendars.BAD_RULE] >= 1
    assert [(row.user_id, row.status, row.meta) for row in await rows(settings, "calendar_event_attendee")] == [
        (ada, "pending", None)
    ]
    found = {row.id: row for row in await rows(settings, "automation")}
    assert found.keys() == {"good", "rule"}
    assert not any(row.is_active or row.next_run_at or row.folder_id for row in found.values())
    assert found["good"].data["target"] is None
    runs = {row.id: (row.status, row.chat_id) for row in await rows(settings, "automation_run")}
    assert runs == {"on": ("error", None), "ok": ("success", None)}
    assert mended(report, "automation")[automations.OFF] == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("part", ["bring", "bring_reaction"])
async def test_stopped_in_the_middle_it_goes_on(
    settings: Settings, theirs: Sample, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    real, calls = getattr(channel_messages, part), []

    async def once(*given: Any) -> bool:
        calls.append(given)
        if len(calls) == 2:
            raise OSError("no room")
        done: bool = await real(*given)
        return done

    monkeypatch.setattr(channel_messages, part, once)
    with pytest.raises(StartupError, match="Run the same command again"):
        await taken(settings, theirs)
    report = await taken(settings, theirs)
    assert report.finished
    assert left(report, "message") == left(report, "message_reaction") == {}
    said = {row.id: (row.parent_id, row.reply_count) for row in await rows(settings, "channel_message")}
    assert said == {"m1": (None, 1), "m2": (None, 0), "m3": ("m1", 0), "m4": (None, 0)}
    assert len(await rows(settings, "channel_reaction")) == 2
    assert len(await rows(settings, "automation_run")) == 2
