"""Moving in from Open WebUI: a whole small server, looked at through HTTP afterwards, on both databases."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.models import accounts, configs, jobs, tables
from open_webui.moving_in import parts, runner
from open_webui.moving_in.outcome import Report
from tests.support import live as live_module
from tests.support.foreign_database import PASSWORD, TABLES, Foreign, Sample, bcrypted, branched, sample
from tests.support.live import Live
from tests.support.pictures import ADDRESS, picture

ADA, UWE = "ada@example.com", "uwe@example.com"


@pytest.fixture
def theirs(tmp_path: Path) -> Sample:
    return sample(tmp_path / "theirs")


async def move(settings: Settings, source: Path | str, **options: Any) -> Report:
    return await runner.move_in(settings, str(source), lambda _doing: None, **options)


async def move_sample(settings: Settings, theirs: Sample, **options: Any) -> Report:
    path = theirs.uploads.parent / "webui.db"
    return await move(settings, path if path.exists() else theirs.foreign.sqlite(path), **options)


async def rows(settings: Settings, *names: str) -> dict[str, list[Any]]:
    """All rows of some tables."""
    database = open_database(settings)
    try:
        async with database.read() as connection:
            return {name: sorted((await connection.execute(tables.config.metadata.tables[name].select())).all(), key=repr)
                    for name in names}  # fmt: skip
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


def left(report: Report) -> dict[str, dict[str, int]]:
    return {t: {why: r.count for why, r in of.left.items()} for t, of in report.tables.items() if of.left}


async def test_everything_is_here_afterwards(settings: Settings, live: Live, theirs: Sample) -> None:
    report = await move_sample(settings, theirs)
    assert left(report) == {"config": {"this server has no such setting": 1}}
    assert report.finished
    assert report.without_place == {"api_key": 1}
    taken = {name: of.taken for name, of in report.tables.items()}
    assert taken == {
        "user": 3, "group": 2, "file": 1, "folder": 2, "knowledge": 1, "knowledge_file": 1, "model": 1, "tool": 1,
        "function": 1, "skill": 1, "prompt": 1, "chat": 3, "memory": 1, "feedback": 1, "config": 1,
        "note": 1, "channel": 3, "message": 4, "message_reaction": 2, "calendar": 1, "calendar_event": 1, "automation": 1,
    }  # fmt: skip
    async with await sign_in(live, UWE) as client:
        me = await got(client, "/api/v1/auths/")
        assert (me["role"], me["name"]) == ("user", "Uwe")
        # The picture of the account is a file now.
        shown = await client.get(f"/api/v1/users/{theirs.user}/profile/image")
        assert shown.headers["content-type"] == "image/png"
        assert (await got(client, "/api/v1/users/user/settings"))["ui"] == {"theme": "dark"}
        chat = await got(client, f"/api/v1/chats/{theirs.chat}")
        history = chat["chat"]["history"]
        assert {i: m["parentId"] for i, m in history["messages"].items()} == {"a": None, "b": "a", "c": "a", "d": "c"}
        assert history["messages"]["a"]["childrenIds"] == ["b", "c"]
        assert (history["currentId"], chat["folder_id"], chat["pinned"]) == ("d", theirs.inner, True)
        assert (chat["share_id"], chat["meta"]["tags"]) == ("share-1", ["deep_sea"])
        assert [tag["name"] for tag in await got(client, "/api/v1/chats/all/tags")] == ["Deep Sea"]
        assert [c["id"] for c in await got(client, "/api/v1/chats/archived")] == [theirs.old_chat]
        folders = {f["name"]: f for f in await got(client, "/api/v1/folders/")}
        assert folders.keys() == {"Outer", "Inner"}
        assert (folders["Inner"]["id"], folders["Inner"]["parent_id"]) == (theirs.inner, folders["Outer"]["id"])
        assert [b["name"] for b in (await got(client, "/api/v1/knowledge/"))["items"]] == ["Kitchen"]
        file = await client.get(f"/api/v1/files/{theirs.file}/content")
        assert file.text == "The kettle sings at four o'clock."
        assert await got(client, "/api/v1/tools/id/adder/valves") == {"limit": 7}
        assert (await got(client, "/api/v1/skills/id/brewing"))["content"] == "# Brew"
        (memory,) = await got(client, "/api/v1/memories/")
        assert (memory["content"], memory["path"]) == ("Drinks tea at four", "home/kitchen")
        (prompt,) = await got(client, "/api/v1/prompts/")
        assert (prompt["command"], prompt["content"], prompt["tags"]) == ("brew", "Brew {{what}}", ["tea"])
        assert [g["permission"] for g in prompt["access_grants"]] == ["read"]


async def test_what_others_are_allowed(settings: Settings, live: Live, theirs: Sample) -> None:
    await move_sample(settings, theirs)
    async with await sign_in(live, ADA) as client:
        assert (await got(client, "/api/v1/auths/"))["role"] == "admin"
        # Open to everybody with an account.
        assert (await got(client, "/api/v1/chats/share/share-1"))["title"] == "Kettles"
        groups = {g["name"]: g for g in await got(client, "/api/v1/groups/")}
        assert groups["Team"]["member_count"] == 1
        assert groups["Team"]["parent_group_id"] == groups["Parents"]["id"]
        model = await got(client, "/api/v1/models/model", id="tea-expert")
        assert model["params"] == {"system": "You know tea."}
        assert [g["principal_id"] for g in model["access_grants"]] == ["*"]
        history = await got(client, "/api/v1/models/model/history", id="tea-expert")
        assert [one["commit_message"] for one in history] == ["first"]
        assert [one["id"] for one in history] == [model["version_id"]]
        functions = await got(client, "/api/v1/functions/")
        assert [(f["id"], f["type"], f["is_active"], f["is_global"]) for f in functions] == [
            ("shouting", "filter", True, True)
        ]
        assert (await got(client, "/api/v1/chats/?page=1"))[0]["title"] == "Only rows"
    async with live.client() as client:
        # The first account came along: nobody else becomes the administrator.
        form = {"name": "Eve", "email": "eve@example.com", "password": PASSWORD}
        assert (await client.post("/api/v1/auths/signup", json=form)).status_code == 403


async def test_ratings(settings: Settings, live: Live, theirs: Sample) -> None:
    await move_sample(settings, theirs)
    async with await sign_in(live, ADA) as client:
        (rating,) = (await got(client, "/api/v1/evaluations/feedbacks/list"))["items"]
        assert (rating["data"]["model_id"], rating["data"]["rating"], rating["user"]["name"]) == ("m", 1, "Uwe")
        whole = await got(client, f"/api/v1/evaluations/feedback/{rating['id']}")
        assert whole["snapshot"]["chat"]["title"] == "Kettles"


async def test_again_nothing_is_doubled(settings: Settings, theirs: Sample) -> None:
    await move_sample(settings, theirs)
    # That somebody imported is recorded each time.
    names = [table.name for table in tables.config.metadata.sorted_tables if table.name != "audit_pending"]
    first = await rows(settings, *names)
    report = await move_sample(settings, theirs)
    assert await rows(settings, *names) == first
    assert {name: (of.taken, of.there) for name, of in report.tables.items() if of.taken} == {}
    assert report.tables["chat"].there == 3


async def test_a_dry_run_says_the_same_and_writes_nothing(settings: Settings, theirs: Sample) -> None:
    names = [table.name for table in tables.config.metadata.sorted_tables]
    before = await rows(settings, *names)
    would = await move_sample(settings, theirs, dry_run=True)
    assert await rows(settings, *names) == before
    assert not (settings.data_dir / "blobs").exists()
    done = await move_sample(settings, theirs)
    assert {n: (of.taken, of.there, of.left) for n, of in would.tables.items()} == {
        n: (of.taken, of.there, of.left) for n, of in done.tables.items()
    }
    assert {n: of.mended for n, of in would.tables.items()} == {n: of.mended for n, of in done.tables.items()}
    assert "Nothing was written." in would.lines()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_from_postgresql(settings: Settings, live: Live, theirs: Sample, postgres_server: Any) -> None:
    await postgres_server.execute("CREATE DATABASE theirs")
    try:
        theirs.foreign.rows["function"][0]["valves"] = "gAAAAABkQ3J5cHRlZA=="
        url = postgres_server.url("theirs")
        await theirs.foreign.postgres(url)
        report = await move(settings, url, uploads=theirs.uploads)
        assert report.tables["chat"].taken == 3
        assert report.tables["user"].taken == 3
        assert left(report) == {"config": {"this server has no such setting": 1}}
        async with await sign_in(live, UWE) as client:
            chat = await got(client, f"/api/v1/chats/{theirs.chat}")
            assert set(chat["chat"]["history"]["messages"]) == set("abcd")
        again = await move(settings, url, uploads=theirs.uploads)
        assert {name: of.taken for name, of in again.tables.items() if of.taken} == {}
    finally:
        await postgres_server.execute("DROP DATABASE theirs WITH (FORCE)")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestWhoIsWho:
    async def test_a_password_is_hashed_anew_at_the_next_sign_in(
        self, settings: Settings, live: Live, tmp_path: Path
    ) -> None:
        f = Foreign()
        user = f.person("Ada", "admin", hashed=bcrypted())
        await move(settings, f.sqlite(tmp_path / "their.db"))

        async def stored() -> str:
            async with live.app.state.oui.database.read() as connection:
                found = await accounts.credential_of(connection, user)
            assert found is not None
            assert found.password_hash is not None
            return found.password_hash

        assert (await stored()).startswith("$2b$")
        async with await sign_in(live, ADA):
            assert (await stored()).startswith("$argon2id$")
        async with await sign_in(live, ADA):
            pass
        async with live.client() as client:
            form = {"email": ADA, "password": "another"}
            assert (await client.post("/api/v1/auths/signin", json=form)).status_code == 400

    @pytest.mark.parametrize(
        "stored",
        ["plain", "", None, "$2b$31$" + "a" * 53, "$argon2id$v=19$m=9999999,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
         "$argon2id$v=19$m=64,t=99,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"],
    )  # fmt: skip
    async def test_a_hash_that_can_not_be_checked_is_no_password(
        self, settings: Settings, tmp_path: Path, stored: str | None
    ) -> None:
        f = Foreign()
        f.person("Ada", "admin")
        f.rows["auth"][0]["password"] = stored
        report = await move(settings, f.sqlite(tmp_path / "their.db"))
        assert report.tables["user"].taken == 1
        assert [row.password_hash for row in (await rows(settings, "credential"))["credential"]] == [None]
        assert any("users password" in why for why in report.tables["user"].mended)

    async def test_an_account_that_is_switched_off_stays_off(
        self, settings: Settings, live: Live, tmp_path: Path
    ) -> None:
        f = Foreign()
        f.person("Ada", "admin")
        f.rows["auth"][0]["active"] = False
        await move(settings, f.sqlite(tmp_path / "their.db"))
        async with live.client() as client:
            form = {"email": ADA, "password": PASSWORD}
            assert (await client.post("/api/v1/auths/signin", json=form)).status_code == 403

    async def test_a_server_with_accounts_keeps_its_own(self, settings: Settings, live: Live, theirs: Sample) -> None:
        """Uwe is here already: what was theirs there is his here; and nobody comes as an administrator."""
        admin = await live_module.sign_up(live, "Own Admin")
        uwe = await live_module.sign_up(live, "Uwe", role="user", admin=admin)
        await admin.client.post(f"/api/v1/users/{uwe.id}/update", json={"email": UWE})
        report = await move_sample(settings, theirs)
        people = {row.email: (row.id, row.role, row.name) for row in (await rows(settings, "user"))["user"]}
        assert people[UWE] == (uwe.id, "user", "Uwe")
        assert people[ADA][1] == "user"
        assert people["zoe@example.com"][1] == "user"
        assert people["own.admin@example.com"][1] == "admin"
        assert sum("was an administrator there" in note for note in report.notes) == 2
        chat = await got(uwe.client, f"/api/v1/chats/{theirs.chat}")
        assert chat["user_id"] == uwe.id
        assert [b["user_id"] for b in (await got(uwe.client, "/api/v1/knowledge/"))["items"]] == [uwe.id]
        groups = {g["name"]: g for g in await got(admin.client, "/api/v1/groups/")}
        assert groups["Team"]["member_count"] == 1
        functions = await got(admin.client, "/api/v1/functions/")
        assert [(f["is_active"], f["is_global"]) for f in functions] == [(False, False)]
        assert "settings of a server with accounts" in str(left(report)["config"])
        again = await move_sample(settings, theirs)
        assert {name: of.taken for name, of in again.tables.items() if of.taken} == {}
        for client in (admin.client, uwe.client):
            await client.aclose()

    async def test_roles_and_settings_are_kept_where_one_says_so(
        self, settings: Settings, live: Live, theirs: Sample
    ) -> None:
        admin = await live_module.sign_up(live, "Own Admin")
        await move_sample(settings, theirs, keep_roles=True, with_settings=True)
        found = await rows(settings, "user", "function", "config")
        assert sorted(row.email for row in found["user"] if row.role == "admin") == [
            ADA, "own.admin@example.com", "zoe@example.com",
        ]  # fmt: skip
        assert [row.is_active for row in found["function"]] == [True]
        assert [row.value for row in found["config"] if row.key == "ui.default_locale"] == ["de-DE"]
        await admin.client.aclose()

    async def test_administrators_stay_such_when_an_import_goes_on(self, settings: Settings, theirs: Sample) -> None:
        """The server isn't empty any more: its first administrator came from there."""
        gone = theirs.foreign.rows["user"].pop()
        path = theirs.uploads.parent / "webui.db"
        await move(settings, theirs.foreign.sqlite(path))
        path.unlink()
        theirs.foreign.rows["user"].append(gone)
        await move(settings, theirs.foreign.sqlite(path))
        people = {row.email: row.role for row in (await rows(settings, "user"))["user"]}
        assert (people[ADA], people["zoe@example.com"]) == ("admin", "admin")
        found = await rows(settings, "singleton")
        assert (("first_admin", theirs.admin)) in [tuple(row) for row in found["singleton"]]

    async def test_the_oldest_administrator_is_the_first_one(self, settings: Settings, tmp_path: Path) -> None:
        f = Foreign()
        f.person("Late", "admin", created_at=300)
        f.person("User", created_at=1)
        early = f.person("Early", "admin", created_at=200)
        await move(settings, f.sqlite(tmp_path / "their.db"))
        found = await rows(settings, "singleton")
        assert ("first_admin", early) in [tuple(row) for row in found["singleton"]]

    async def test_without_an_administrator(self, settings: Settings, tmp_path: Path) -> None:
        f = Foreign()
        f.person("User")
        report = await move(settings, f.sqlite(tmp_path / "their.db"))
        assert runner.NO_ADMIN in report.notes


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestSettings:
    async def test_only_what_can_be_is_taken(self, settings: Settings, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv("TASK_MODEL", "fixed")
        f = Foreign()
        f.person("Ada", "admin")
        for key, value in {
            "ui.default_locale": "fr", "ui.enable_login_form": "yes", "task.model.default": "theirs", "nonsense": 1,
            "ui.default_user_role": "emperor", "auth.jwt_expiry": "soon", "openai.api_base_urls": ["http://there/v1"],
        }.items():  # fmt: skip
            f.add("config", key=key, value=value)
        report = await move(settings, f.sqlite(tmp_path / "their.db"))
        stored = {row.key: row.value for row in (await rows(settings, "config"))["config"]}
        assert stored["ui.default_locale"] == "fr"
        assert stored["openai.api_base_urls"] == ["http://there/v1"]
        assert not stored.keys() & {"ui.enable_login_form", "task.model.default", "ui.default_user_role", "nonsense"}
        assert left(report)["config"] == {
            "its value is none that it can have here": 3, "the environment says it here": 1,
            "this server has no such setting": 1,
        }  # fmt: skip
        assert Config({}).load(stored) == []

    async def test_what_is_set_here_stays(self, settings: Settings, tmp_path: Path) -> None:
        f = Foreign()
        f.person("Ada", "admin")
        f.add("config", key="ui.default_locale", value="fr")
        database = open_database(settings)
        async with database.write() as unit:
            await configs.put(unit.connection, {"ui.default_locale": "de"})
        await database.close()
        report = await move(settings, f.sqlite(tmp_path / "their.db"))
        assert report.tables["config"].there == 1
        assert {row.value for row in (await rows(settings, "config"))["config"] if row.key == "ui.default_locale"} == {
            "de"
        }


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_files_wait_to_be_read(settings: Settings, theirs: Sample) -> None:
    await move_sample(settings, theirs)
    database = open_database(settings)
    async with database.read() as connection:
        waiting = await jobs.listed(connection, state="waiting", kind=None, most=10, skip=0)
    await database.close()
    assert [(job.kind, job.key) for job in waiting] == [("read a file", f"file:{theirs.file}")]


async def test_files_are_read_when_the_server_starts(settings: Settings, theirs: Sample, make_live: Any) -> None:
    await move_sample(settings, theirs)
    live = await make_live()
    async with await sign_in(live, UWE) as client:
        async with client.stream("GET", f"/api/v1/files/{theirs.file}/process/status?stream=true") as reply:
            said = [line async for line in reply.aiter_lines()]
        assert any("completed" in line for line in said), said


def test_every_table_has_a_part_or_is_named() -> None:
    """A table that is neither is counted in the report: those that have no place here yet."""
    known = {part.table for part in parts.PARTS} | parts.WITHIN | parts.NOTHING
    without = TABLES.keys() - known
    assert without <= {"api_key"}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestRefusals:
    async def test_what_is_no_database(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "text.db").write_text("This is no database, it is a text that is long enough to be one." * 20)
        for address, said in [
            (tmp_path / "nothing.db", "There is no file"),
            (tmp_path / "text.db", "can't be read"),
            ("mysql://here/db", "Name a SQLite file"),
        ]:
            with pytest.raises(StartupError, match=said):
                await move(settings, address)

    async def test_a_database_of_our_own(self, settings: Settings, sqlite_template: Path) -> None:
        with pytest.raises(StartupError, match="db copy"):
            await move(settings, sqlite_template)
        own = str(settings.database_url).removeprefix("sqlite:///")
        with pytest.raises(StartupError, match="db copy"):
            await move(settings, own)

    async def test_a_database_of_something_else(self, settings: Settings, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "other.db") as connection:
            connection.execute("CREATE TABLE recipe (id TEXT)")
        connection.close()
        with pytest.raises(StartupError, match="no database of Open WebUI"):
            await move(settings, tmp_path / "other.db")

    async def test_a_folder_that_is_not_there(self, settings: Settings, theirs: Sample, tmp_path: Path) -> None:
        with pytest.raises(StartupError, match="no folder"):
            await move_sample(settings, theirs, uploads=tmp_path / "gone")


async def test_pictures_in_chats_become_files(settings: Settings, live: Live, tmp_path: Path) -> None:
    f = Foreign()
    ada = f.person("Ada", "admin")
    messages = branched("Picture")
    messages["a"]["files"] = [{"type": "image", "url": picture()}]
    messages["b"]["content"] = f"Look: ![x]({picture(2)})"
    with_document = f.chat(ada, "In the document", messages=messages, rows=False)
    only_rows = f.chat(ada, "In rows", document=False)
    f.rows["chat_message"][0]["files"] = [{"type": "image", "url": picture(3)}]
    await move(settings, f.sqlite(tmp_path / "their.db"))
    shown = set()
    async with await sign_in(live, ADA) as client:
        for chat_id in (with_document, only_rows):
            text = (await client.get(f"/api/v1/chats/{chat_id}")).text
            assert "base64" not in text
            found = set(ADDRESS.findall(text)) | {one["url"] for one in file_entries(text)}
            for file_id in found:
                reply = await client.get(f"/api/v1/files/{file_id}/content")
                assert reply.headers["content-type"] == "image/png"
            shown |= found
    assert len(shown) == 3
    used = (await rows(settings, "file_use"))["file_use"]
    assert {one.file_id for one in used} == shown


def file_entries(chat: str) -> list[dict[str, Any]]:
    messages = json.loads(chat)["chat"]["history"]["messages"].values()
    return [entry for message in messages for entry in message.get("files", ())]


COUNTER = '''"""
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


async def test_what_people_set_of_tools_for_themselves(settings: Settings, live: Live, theirs: Sample) -> None:
    f = theirs.foreign
    f.add("tool", id="counter", user_id=theirs.user, name="Counter", content=COUNTER, specs=[], meta={})
    given = {"counter": {"limit": 9}, "adder": {"limit": "many"}, "gone": {"a": 1}, "empty": {}}
    user = next(row for row in f.rows["user"] if row["id"] == theirs.user)
    user["settings"] = {"ui": {"theme": "dark"}, "tools": {"valves": given, "other": 1}}
    report = await move_sample(settings, theirs)
    of = report.tables["user_valves"]
    assert (of.rows, of.taken, {why: one.count for why, one in of.left.items()}) == (
        3,
        1,
        {"they are encrypted there, damaged, or do not fit the text": 1, "what they are of did not come along": 1},
    )
    async with await sign_in(live, UWE) as client:
        assert await got(client, "/api/v1/tools/id/counter/valves/user") == {"limit": 9}
        reply = await client.post("/api/v1/tools/id/counter/valves/user/update", json={"limit": 3})
        assert reply.status_code == 200, reply.text
        assert (await got(client, "/api/v1/users/user/settings"))["tools"] == {"other": 1}
        # What was changed here since is not changed back.
        again = await move_sample(settings, theirs)
        assert (again.tables["user_valves"].taken, again.tables["user_valves"].there) == (0, 1)
        assert await got(client, "/api/v1/tools/id/counter/valves/user") == {"limit": 3}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_columns_that_are_new_or_missing(settings: Settings, theirs: Sample) -> None:
    path = theirs.foreign.sqlite(theirs.uploads.parent / "webui.db")
    with sqlite3.connect(path) as opened:
        opened.execute("ALTER TABLE chat ADD COLUMN mood TEXT")
        opened.execute("ALTER TABLE user DROP COLUMN bio")
        opened.execute("ALTER TABLE user DROP COLUMN settings")
        opened.execute("ALTER TABLE memory DROP COLUMN content")
        opened.execute("ALTER TABLE prompt DROP COLUMN tags")
        opened.execute("ALTER TABLE auth DROP COLUMN password")
    opened.close()
    report = await move_sample(settings, theirs)
    assert report.finished
    for said in (
        "The table chat has columns that this release does not know (mood)",
        "The table user has no column bio, settings",
        "The table memory was left: it has no column content.",
        "The table prompt has no column tags",
    ):
        assert any(note.startswith(said) for note in report.notes), report.notes
    assert {name: report.tables[name].taken for name in ("user", "chat", "prompt")} == {
        "user": 3,
        "chat": 3,
        "prompt": 1,
    }
