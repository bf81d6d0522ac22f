"""Out again: what is exported comes back the same, on both databases, and what is damaged is named."""

import json
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.models import exported, tables
from open_webui.moving_in import archive, automations, channels, runner
from open_webui.moving_in.outcome import Report
from open_webui.moving_out import export
from open_webui.services.exporting.rows import Export
from open_webui.utils.addresses import ids_in
from tests.support.foreign_database import PASSWORD, Sample, sample
from tests.support.live import Live
from tests.support.pictures import picture

ADA, UWE = "ada@example.com", "uwe@example.com"
TOOL = '''"""
title: Counter
"""
from pydantic import BaseModel


class Tools:
    class UserValves(BaseModel):
        limit: int = 5

    def count(self, __user__: dict) -> int:
        """Counts."""
        return 1
'''


def silent(_doing: str) -> None:
    """Says nothing."""


async def move(settings: Settings, source: Path, **options: Any) -> Report:
    return await runner.move_in(settings, str(source), silent, **options)


async def write(settings: Settings, path: Path, **options: Any) -> Export:
    _, done = await export(settings, path, silent, **options)
    return done


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of an archive by table, in one order."""
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        return {
            name[5:-6]: sorted((json.loads(line) for line in opened.read(name).splitlines()), key=repr)
            for name in opened.namelist()
            if name.startswith("rows/")
        }


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist() if name.startswith("files/")}


@pytest.fixture
def first(tmp_path: Path, sqlite_template: Path) -> Settings:
    """The settings of an empty server on SQLite."""
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "webui.db")
    return Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'webui.db'}", _env_file=None)


@pytest.fixture
def theirs(tmp_path: Path) -> Sample:
    made = sample(tmp_path / "theirs")
    f = made.foreign
    f.add("tool", id="counter", user_id=made.user, name="Counter", content=TOOL, specs=[], meta={})
    user = next(row for row in f.rows["user"] if row["id"] == made.user)
    user["settings"] = {"ui": {"theme": "dark", "directConnections": {"OPENAI_API_KEYS": ["sk-1"]}}}
    user["settings"]["tools"] = {"valves": {"counter": {"limit": 9}, "gone": {"a": 1}}}
    pictured = {"a": {"id": "a", "parentId": None, "childrenIds": [], "role": "user", "content": "Look",
                      "files": [{"type": "image", "url": picture()}], "timestamp": 1_760_000_000}}  # fmt: skip
    f.chat(made.user, "With a picture", messages=pictured, rows=False)
    f.add("config", key="openai.api_keys", value=["sk-2"])
    return made


async def filled(settings: Settings, theirs: Sample) -> Settings:
    path = theirs.uploads.parent / "webui.db"
    await move(settings, path if path.exists() else theirs.foreign.sqlite(path))
    return settings


async def test_there_and_back(first: Settings, settings: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    with sqlite3.connect(first.data_dir / "webui.db") as opened:
        old = json.dumps({"title": "Tea", "content": {"json": None, "html": "", "md": "as it was"}})
        opened.execute(
            "INSERT INTO version (id, kind, resource_id, snapshot, user_id, created_at) VALUES ('v1', 'note', 'note-1', ?, ?, 7)",
            (old, theirs.user),
        )
    opened.close()
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    done = await write(first, one, with_secrets=True)
    assert (done.damaged, done.counts["chat"], done.counts["file"]) == ([], 4, 2)
    report = await move(settings, one)
    assert not any(of.left for of in report.tables.values()), report.lines()
    assert not any(of.mended for of in report.tables.values()), report.lines()
    again = await move(settings, one)
    assert {name: of.taken for name, of in again.tables.items() if of.taken} == {}
    await write(settings, two, with_secrets=True)
    here, there = rows(one), rows(two)
    assert here.keys() == there.keys()
    for table in here:
        assert there[table] == here[table], table
    written = {
        "note": 1, "note_history": 1, "pinned_note": 1, "channel": 3, "channel_member": 6, "channel_webhook": 1, "message": 4,
        "message_reaction": 2, "channel_file": 1, "calendar": 1, "calendar_event": 1, "calendar_event_attendee": 1,
        "automation": 1, "automation_run": 2,
    }  # fmt: skip
    assert {name: len(here[name]) for name in written} == written
    assert contents(one) == contents(two)
    assert len(contents(one)) == 2


async def test_it_can_be_read_and_has_no_secrets(first: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    path = tmp_path / "all.zip"
    await write(first, path)
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as opened:
        manifest = json.loads(opened.read("manifest.json"))
        assert (manifest["format"], manifest["of"], manifest["with_secrets"]) == (
            "oui-backend export",
            "everything",
            False,
        )
        assert b"oui-backend import archive" in opened.read("README.txt")
        whole = b"".join(opened.read(name) for name in opened.namelist())
    for secret in (b"$argon2", b"$2b$", b"sk-1", b"sk-2", b'"limit":9', b'"limit":7'):
        assert secret not in whole
    chats = {one["title"]: one for one in rows(path)["chat"]}
    messages = chats["Kettles"]["chat"]["history"]["messages"]
    assert [m["content"] for m in messages.values()] == [
        "Question of Kettles", "The first answer", "The second answer", "And then?",
    ]  # fmt: skip
    assert contents(path)[f"files/{theirs.file}_tea.txt"] == b"The kettle sings at four o'clock."


async def test_people_sign_in_where_it_came_to(
    first: Settings, settings: Settings, live: Live, theirs: Sample, tmp_path: Path
) -> None:
    await filled(first, theirs)
    await write(first, tmp_path / "all.zip", with_secrets=True)
    await move(settings, tmp_path / "all.zip")
    async with live.client() as client:
        reply = await client.post("/api/v1/auths/signin", json={"email": UWE, "password": PASSWORD})
        assert reply.status_code == 200, reply.text
        client.headers["Authorization"] = f"Bearer {reply.json()['token']}"
        reply = await client.get("/api/v1/tools/id/counter/valves/user")
        assert reply.json() == {"limit": 9}
        chats = (await client.get("/api/v1/chats/search", params={"text": "Look"})).json()
        chat = (await client.get(f"/api/v1/chats/{chats[0]['id']}")).json()
        (message,) = chat["chat"]["history"]["messages"].values()
        file_id = ids_in(json.dumps(message).encode()) | {message["files"][0].get("id")}
        shown = await client.get(f"/api/v1/files/{max(filter(None, file_id))}/content")
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
        settings_of = (await client.get("/api/v1/users/user/settings")).json()
        assert settings_of["ui"]["theme"] == "dark"
        assert "tools" not in settings_of


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_channels_without_secrets(first: Settings, settings: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    with sqlite3.connect(first.data_dir / "webui.db") as opened:
        opened.execute("UPDATE channel SET deleted_at = 1 WHERE id = 'talk'")
        opened.execute("UPDATE automation SET is_active = 1")
    opened.close()
    path = tmp_path / "all.zip"
    await write(first, path)
    found = rows(path)
    assert [one["token"] for one in found["channel_webhook"]] == [None]
    assert {one["id"] for one in found["channel"]} == {"general", "team"}
    assert "talk" not in {one["channel_id"] for name in ("channel_member", "message") for one in found[name]}
    with zipfile.ZipFile(path) as opened_archive:
        whole = b"".join(opened_archive.read(name) for name in opened_archive.namelist())
    assert b"whistles" not in whole
    report = await move(settings, path)
    assert channels.NEW_ADDRESSES in report.tables["channel"].mended
    assert automations.OFF in report.tables["automation"].mended
    assert not any(of.left for of in report.tables.values()), report.lines()


async def test_one_persons(first: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    path = tmp_path / "uwe.zip"
    await write(first, path, email=UWE)
    found = rows(path)
    assert [one["email"] for one in found["user"]] == [UWE]
    # Who is invited to somebody's events is named there.
    assert [one["user_id"] for one in found.pop("calendar_event_attendee")] == [theirs.admin]
    assert {one["user_id"] for table in found.values() for one in table if "user_id" in one} == {theirs.user}
    assert (found["group"], found["config"], found["function"], found["model"]) == ([], [], [], [])
    assert len(found["chat"]) == 3
    assert [len(found[name]) for name in ("note", "pinned_note", "calendar", "automation", "automation_run")] == [
        1,
        1,
        1,
        1,
        2,
    ]
    assert (found["channel"], found["message"], found["channel_webhook"]) == ([], [], [])
    with pytest.raises(StartupError, match="There is no account"):
        await write(first, tmp_path / "nobody.zip", email="nobody@example.com")
    assert not (tmp_path / "nobody.zip").exists()


async def test_a_file_that_is_there_stays(first: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    path = tmp_path / "all.zip"
    path.write_text("precious")
    with pytest.raises(StartupError, match="is there already"):
        await write(first, path)
    assert path.read_text() == "precious"


async def test_damage_is_named_and_takes_nothing_else(first: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    with sqlite3.connect(first.data_dir / "webui.db") as opened:
        opened.execute("UPDATE memory SET content = CAST(x'ff41' AS TEXT)")
        opened.execute("UPDATE prompt SET meta = '{broken'")
        opened.execute("UPDATE chat_message SET content = CAST(x'ff41' AS TEXT) WHERE id = 'b'")
        opened.execute("UPDATE chat SET title = CAST(x'ff41' AS TEXT) WHERE title = 'Only rows'")
        (blob,) = opened.execute("SELECT blob FROM file WHERE filename = 'tea.txt'").fetchone()
    for found in first.data_dir.rglob(f"*{blob}*"):
        found.unlink()
    path = tmp_path / "all.zip"
    done = await write(first, path)
    assert done.left == len(done.damaged) >= 6
    named = "\n".join(done.damaged)
    for part in ("memory ", "its meta is no JSON", "its message b can't be read", "chat number", f"file {theirs.file}"):
        assert part in named, named
    found = rows(path)
    assert (len(found["memory"]), len(found["prompt"]), found["prompt"][0]["meta"]) == (0, 1, None)
    kettles = next(one for one in found["chat"] if one["title"] == "Kettles")
    assert list(kettles["chat"]["history"]["messages"]) == ["a", "c", "d"]
    with zipfile.ZipFile(path) as opened:
        assert opened.read("left_out.txt").decode().splitlines() == done.damaged


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_damaged_archive(first: Settings, settings: Settings, theirs: Sample, tmp_path: Path) -> None:
    await filled(first, theirs)
    whole, broken = tmp_path / "whole.zip", tmp_path / "broken.zip"
    await write(first, whole)
    with zipfile.ZipFile(whole) as opened, zipfile.ZipFile(broken, "w") as made:
        for name in opened.namelist():
            data = opened.read(name)
            if name == "rows/memory.jsonl":
                data = b"{not json\n" + b'{"id": "m", "created_at": 99999999999999999999999999}\n' + data
            if name.startswith("files/") and name.endswith("tea.txt"):
                data = b"something else"
            made.writestr(name, data)
    report = await move(settings, broken)
    assert {why: one.count for why, one in report.tables["memory"].left.items()} == {
        "it is no JSON object": 1,
        "it has a value that no database can hold": 1,
    }
    assert list(report.tables["file"].left) == ["its bytes in the archive are damaged"]
    assert report.finished
    assert not list(settings.data_dir.glob("import-*"))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(StartupError, match="can't be read"):
        await move(settings, cut)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as made:
        made.writestr("a.txt", "hello")
    with pytest.raises(StartupError, match="no archive of"):
        await move(settings, tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "newer.zip", "w") as made:
        made.writestr("manifest.json", json.dumps({"format": "oui-backend export", "version": 99, "release": "9.9"}))
    with pytest.raises(StartupError, match="newer release"):
        await move(settings, tmp_path / "newer.zip")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_an_archive_takes_nobodys_place(
    first: Settings, settings: Settings, live: Live, admin: Any, theirs: Sample, tmp_path: Path
) -> None:
    """On a server with accounts nobody gains power by an archive."""
    await filled(first, theirs)
    await write(first, tmp_path / "all.zip", with_secrets=True)
    report = await move(settings, tmp_path / "all.zip")
    assert any("was an administrator there and is a user here" in note for note in report.notes)
    people = (await admin.client.get("/api/v1/users/")).json()["users"]
    assert {one["email"]: one["role"] for one in people}[ADA] == "user"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("limit", "comes"), [("groups", "groups"), ("nobody", "nobody"), ("friends", None), (None, None)]
)
async def test_limits_of_sharing_come_along(
    first: Settings, settings: Settings, theirs: Sample, tmp_path: Path, limit: str | None, comes: str | None
) -> None:
    await filled(first, theirs)
    database = open_database(first)
    async with database.write() as unit:
        await unit.connection.execute(tables.group.update().values(share_with=limit))
    await database.close()
    await write(first, tmp_path / "all.zip")
    await move(settings, tmp_path / "all.zip")
    database = open_database(settings)
    async with database.read() as connection:
        found = set(await connection.scalars(sa.select(tables.group.c.share_with)))
    await database.close()
    assert found == {comes}


def test_all_tables_have_a_place() -> None:
    """A new table is exported, or stands here, with the reason."""
    not_taken = {
        "role_set": "whom this server's administrators trust with what", "role_set_group": "the same",
        "role_set_holder": "the same", "budget": "with the keys", "budget_use": "figures of this server",
        "singleton": "who the first administrator is stands with the account",
        "revoked_token": "sessions stay here",
        "attempt": "what somebody tried",
        "api_key": "sealed with this server's secret; owners make new ones",
        "tool_server_token": "the same",
        "process": "what runs", "generation": "what runs", "generation_part": "what runs", "job": "what runs",
        "usage": "figures of this server", "usage_day": "figures of this server",
        "local_model": "what lies on this machine",
        "file_use": "made anew of what names files",
        "document": "made anew of files", "chunk": "made anew of files", "document_vectors": "made anew of files",
        "embedding_model": "made anew of files",
        "knowledge_connection": "sealed with this server's secret",
        "notification_target": "sealed with this server's secret",
        "event_webhook": "sealed with this server's secret",
        "app": "sealed with this server's secret", "channel_app": "with the apps",
        "note_update": "in the notes",
        "note_chat": "which chat is about a note: made anew",
        "channel_message": "as message", "channel_reaction": "as message_reaction",
        "chat_message": "in the chats", "chat_tag": "in the chats", "version": "as histories, by kind",
        "skill_file": "in the skills", "user_valves": "in the settings of people", "feedback_snapshot": "in the ratings",
        "blob": "the files' bytes", "credential": "as auth",
        "session": "sessions stay here",
        "audit_entry": "the record is this server's: sealed with its secret", "audit_pending": "the same",
        "identity": "in the people", "provider_session": "sessions stay here", "sign_in": "what somebody tried",
        "factor": "sealed with this server's secret", "recovery_code": "with the factors",
        "sign_in_challenge": "sessions stay here", "passkey": "good for this server's address alone",
        "passkey_challenge": "sessions stay here", "session_proof": "sessions stay here",
        "directory_user": "the directory says it anew", "directory_group": "the directory says it anew",
    }  # fmt: skip

    there = {table.name for table in tables.config.metadata.sorted_tables}
    assert there - exported.KEPT.keys() - not_taken.keys() - {"chat"} == set()
    assert archive.COLUMNS.keys() >= exported.KEPT.keys()


async def test_my_data(admin: Any, user: Any, client: httpx.AsyncClient, tmp_path: Path) -> None:
    form = {
        "chat": {
            "title": "Mine",
            "history": {
                "messages": {"a": {"id": "a", "parentId": None, "childrenIds": [], "role": "user", "content": "Hello"}},
                "currentId": "a",
            },
        }
    }
    for actor in (admin, user):
        await actor.client.post("/api/v1/chats/new", json=form)
        await actor.client.post("/api/v1/memories/add", json={"content": f"I am {actor.name}"})
        uploaded = await actor.client.post("/api/v1/files/?process=false", files={"file": ("a.txt", actor.name)})
        assert uploaded.status_code == 200, uploaded.text
    reply = await user.client.get("/api/v1/users/user/export")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
    path = tmp_path / "mine.zip"
    path.write_bytes(reply.content)
    found = rows(path)
    assert [one["email"] for one in found["user"]] == [user.email]
    assert {one["user_id"] for table in found.values() for one in table if "user_id" in one} == {user.id}
    assert [one["title"] for one in found["chat"]] == ["Mine"]
    assert list(contents(path).values()) == [user.name.encode()]
    assert (await client.get("/api/v1/users/user/export")).status_code == 401
