"""`oui-backend db copy`: there and back row by row, stopped anywhere, and what it refuses."""

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.internal.folder_lock import lock_database
from open_webui.migrations import copying
from open_webui.migrations.runner import migrate
from open_webui.models import processes, tables
from tests.support import live as live_module
from tests.support.live import PASSWORD, Actor, Live
from tests.support.pictures import picture
from tests.support.process import clean_environment, die_with_parent

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
ALL = [table.name for table in copying._TABLES]


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file."""
    shutil.copyfile(sqlite_template, tmp_path / "webui.db")
    return f"sqlite:///{tmp_path / 'webui.db'}"


@pytest.fixture
def base(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, env="test", data_dir=tmp_path / "data", webui_secret_key="x" * 32)


def content(url: str) -> dict[str, list[Any]]:
    """All rows of a SQLite file as it keeps them, also what full text is found by."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        rows = {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in ALL}
        rows["found"] = sorted(connection.execute("SELECT rowid FROM message_fts WHERE message_fts MATCH 'quokka'"))
        rows["numbers"] = sorted(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    return rows


async def run(base: Settings, source: str, target: str, **options: Any) -> list[str]:
    told: list[str] = []
    given = {"replace_nul": False, "say": told.append} | options
    return await copying.copy(base, source, target, **given)


async def refused(base: Settings, source: str, target: str) -> str | None:
    """Why it stopped; None when it came to its end."""
    try:
        await run(base, source, target)
    except StartupError as error:
        return error.detail
    return None


async def refusal(base: Settings, source: str, target: str, **options: Any) -> str:
    with pytest.raises(StartupError) as caught:
        await run(base, source, target, **options)
    return caught.value.detail


async def ok(reply: Any) -> Any:
    answer = await reply
    assert answer.status_code == 200, (answer.url, answer.text)
    return answer.json()


def branched(title: str, text: str) -> dict[str, Any]:
    """A question with two answers, of which one goes on."""
    message = {"timestamp": 1_700_000_000, "childrenIds": []}
    messages = {
        "q": message
        | {
            "id": "q",
            "parentId": None,
            "childrenIds": ["a", "b"],
            "role": "user",
            "content": text,
            "files": [{"type": "image", "url": picture()}],
        },
        "a": message
        | {"id": "a", "parentId": "q", "role": "assistant", "content": "A quokka \U0001f998.", "model": "m"},
        "b": message
        | {"id": "b", "parentId": "q", "childrenIds": ["c"], "role": "assistant", "content": "Zwei \u2603"},
        "c": message | {"id": "c", "parentId": "b", "role": "user", "content": "And then?"},
    }
    history = {"messages": messages, "currentId": "c"}
    return {
        "title": title,
        "models": ["m"],
        "history": history,
        "odd": [1.0, 10**15, None, True, {"\u00fc": "\U0001f600"}],
    }


async def fill(live: Live) -> list[Any]:
    """What people do; gives what the server then says of it."""
    admin = await live_module.sign_up(live, "Admin One")
    user = await live_module.sign_up(live, "User One", role="user", admin=admin)
    # The administrator's client is open since it was used.
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(admin.client.aclose)
        client = await stack.enter_async_context(user.client)
        parent = await ok(client.post("/api/v1/folders/", json={"name": "Z outer"}))
        for name in "ABC":
            # Some of their ids come before their parent's.
            parent = await ok(client.post("/api/v1/folders/", json={"name": name, "parent_id": parent["id"]}))
        chats = [{"chat": branched(f"Chat {n}", f"What is a quokka? {n}")} for n in range(12)]
        made = await ok(client.post("/api/v1/chats/import", json={"chats": chats}))
        first, second, third, last = (chat["id"] for chat in (*made[:3], made[-1]))
        await ok(client.post(f"/api/v1/chats/{first}/share", json={}))
        await ok(client.post(f"/api/v1/chats/{second}/tags", json={"name": "Deep Sea"}))
        await ok(client.post(f"/api/v1/chats/{second}/pin"))
        await ok(client.post(f"/api/v1/chats/{third}/archive"))
        await ok(client.post(f"/api/v1/chats/{third}/folder", json={"folder_id": parent["id"]}))
        await ok(client.delete(f"/api/v1/chats/{last}"))
        await ok(
            client.post("/api/v1/auths/update/profile", json={"name": "User \u2603", "profile_image_url": "/user.png"})
        )
        await ok(client.post("/api/v1/users/user/settings/update", json={"ui": {"scale": 1.0, "big": 2**53}}))
        group = await ok(admin.client.post("/api/v1/groups/create", json={"name": "G", "description": "d"}))
        await ok(admin.client.post(f"/api/v1/groups/id/{group['id']}/users/add", json={"user_ids": [user.id]}))
        model = {
            "id": "m2",
            "base_model_id": "echo",
            "name": "M \U0001f600",
            "params": {"temperature": 0.5},
            "meta": {},
        }
        await ok(admin.client.post("/api/v1/models/create", json=model))
        asked = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
        await ok(admin.client.post("/api/chat/completions", json=asked))
        await live_module.used(live, 1)
        return await seen(user)


async def seen(user: Actor) -> list[Any]:
    """What a server says of a person's things."""
    client = user.client
    paths = [
        "/api/v1/folders/",
        "/api/v1/chats/all/tags",
        "/api/v1/chats/pinned",
        "/api/v1/chats/archived",
        "/api/v1/auths/",
    ]
    said = [await ok(client.get(path)) for path in paths]
    said[-1].pop("expires_at", None), said[-1].pop("token", None)
    chats = await ok(client.get("/api/v1/chats/"))
    found = await ok(client.get("/api/v1/chats/search", params={"text": "quokka"}))
    documents = [await ok(client.get(f"/api/v1/chats/{row['id']}")) for row in sorted(chats, key=lambda row: row["id"])]
    return [*said, sorted(row["id"] for row in chats), sorted(row["id"] for row in found), documents]


@contextlib.asynccontextmanager
async def serving(base: Settings, url: str) -> AsyncIterator[Live]:
    async with live_module.serve(base.model_copy(update={"database_url": url})) as live:
        yield live


async def signed_in(live: Live) -> Actor:
    form = {"email": "user.one@example.com", "password": PASSWORD}
    async with live.client() as anonymous:
        session = await ok(anonymous.post("/api/v1/auths/signin", json=form))
    token = session["token"]
    return Actor(session["id"], "User One", form["email"], "user", token, live.client(token))


async def test_there_and_back(
    sqlite: str,
    empty_database_url: str,
    base: Settings,
    tmp_path: Path,
    connections: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(base, sqlite) as live:
        said = await fill(live)
    monkeypatch.setattr(copying, "PORTION_ROWS", 5)
    there = await run(base, sqlite, empty_database_url)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    again = await run(base, empty_database_url, back)
    before = content(sqlite)
    assert content(back) == before
    full = {name for name in ALL if before[name]}
    assert full >= {
        "user",
        "chat",
        "chat_message",
        "folder",
        "group",
        "model",
        "file",
        "file_use",
        "usage",
        "shared_chat",
    }
    assert there == again
    assert [line.split()[:2] for line in there[: len(ALL)]] == [[name, str(len(before[name]))] for name in ALL]
    for url in (empty_database_url, back):
        async with serving(base, url) as live:
            user = await signed_in(live)
            async with user.client:
                assert await seen(user) == said
                # Numbers go on: none of a chat that was removed is given again.
                made = await ok(user.client.post("/api/v1/chats/new", json={"chat": branched("New", "quokka")}))
                async with live.app.state.oui.database.read() as connection:
                    n = await connection.scalar(sa.select(tables.chat.c.n).where(tables.chat.c.id == made["id"]))
                assert n == dict(before["numbers"])["chat"] + 1


def rows_of(url: str, count: int) -> None:
    """Fills a SQLite file with people, chats and messages."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            "INSERT INTO user (id, email, name, role, last_active_at, created_at, updated_at)"
            " VALUES ('u', 'u@example.com', 'U', 'user', 1, 1, 1)"
        )
        numbers = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"
        connection.execute(
            f"{numbers} INSERT INTO chat (n, id, user_id, title, body, meta, created_at, updated_at)"
            " SELECT n, 'c' || n, 'u', 'T', '{}', '{}', 1, 1 FROM s"
        )
        connection.execute(
            f"{numbers} INSERT INTO chat_message (n, chat_id, id, owner, role, content, body, created_at, updated_at)"
            " SELECT n << 20, 'c' || n, 'm', 'u', 'user', 'a quokka', ?, 1, 1 FROM s",
            # Verbatim: half a character, and a number as it was written.
            ('{"half": "\\ud83d",  "x": 1.50}',),
        )
        # A folder whose parent comes after it, and a circle.
        connection.executemany(
            "INSERT INTO folder (id, user_id, parent_id, name, created_at, updated_at) VALUES (?, 'u', ?, 'F', 1, 1)",
            [("z", None), ("a", "z"), ("k", None), ("l", "k")],
        )
        connection.execute("UPDATE folder SET parent_id = 'l' WHERE id = 'k'")


async def test_stopped_at_any_portion_it_goes_on(
    sqlite: str, empty_database_url: str, base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of(sqlite, 7)
    monkeypatch.setattr(copying, "PORTION_ROWS", 2)
    write = copying._Copy._write
    left = 0

    async def stops(*given: Any) -> None:
        nonlocal left
        if left == 0:
            raise OSError("the power is gone")
        left -= 1
        await write(*given)

    for url in (empty_database_url, f"sqlite:///{tmp_path / 'target.db'}"):
        monkeypatch.setattr(copying._Copy, "_write", stops)
        stopped = 0
        while True:
            left = 1
            if (said := await refused(base, sqlite, url)) is None:
                break
            assert said == "The copy stopped: the power is gone. Run the same command again to go on with it."
            stopped += 1
            # No server takes what isn't whole.
            with pytest.raises(StartupError, match="begun and is not finished"):
                await migrate(base.model_copy(update={"database_url": url}))
        # Portions: one of people, four of chats and messages each, two of folders and of their parents. After the last it ends.
        assert stopped == 1 + 4 + 4 + 2 + 2 - 1
        assert not await migrate(base.model_copy(update={"database_url": url}))
    assert content(url) == content(sqlite)


# Has the copy stop for good where it has a thousand rows: those of its own transaction are not counted.
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM chat_message WHERE xmin <> pg_current_xact_id()::xid) >= 1000 THEN PERFORM pg_sleep(3600); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON chat_message FOR EACH STATEMENT EXECUTE FUNCTION hold();
"""
COUNT = "SELECT count(*) FROM chat_message"
LET_GO = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DROP TRIGGER hold ON chat_message;
DROP FUNCTION hold;
"""


async def test_killed_it_goes_on(sqlite: str, empty_database_url: str, base: Settings, tmp_path: Path) -> None:
    rows_of(sqlite, 6_000)
    command = [sys.executable, "-m", "open_webui.cli", "db", "copy", sqlite, empty_database_url]
    environment = clean_environment({"DATA_DIR": str(base.data_dir)})

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )

    async def ask(what: str) -> Any:
        connection = await asyncpg.connect(empty_database_url)
        try:
            return await (connection.fetchval(what) if what is COUNT else connection.execute(what))
        finally:
            await connection.close()

    async def done() -> int:
        return int(await ask(COUNT))

    await migrate(base.model_copy(update={"database_url": empty_database_url}))
    await ask(HOLD)
    first = start()
    while await done() < 1_000 and first.poll() is None:  # noqa: ASYNC110 - another process tells nobody
        await asyncio.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = await done()
    assert 1_000 <= before < 6_000
    await ask(LET_GO)
    second = await asyncio.to_thread(start().communicate)
    assert second[1] == b""
    lines = second[0].decode().splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("chat_message ")] == [["chat_message", "6000"]]
    assert "Pictures and files stay where they are" in second[0].decode()
    assert await done() == 6_000


async def test_what_it_refuses(
    sqlite: str, empty_database_url: str, database_url: str, base: Settings, tmp_path: Path
) -> None:
    rows_of(sqlite, 1)
    nowhere = f"sqlite:///{tmp_path / 'nowhere.db'}"
    assert "the same database" in await refusal(base, sqlite, sqlite)
    assert "There is no database" in await refusal(base, nowhere, empty_database_url)
    assert not (tmp_path / "nowhere.db").exists()
    assert "There is no database" in await refusal(base, empty_database_url, nowhere)
    # A target with rows.
    full = tmp_path / "full.db"
    shutil.copyfile(sqlite.removeprefix("sqlite:///"), full)
    assert "has rows" in await refusal(base, database_url, f"sqlite:///{full}")
    # A server uses one of them.
    with lock_database(Path(sqlite.removeprefix("sqlite:///"))):
        assert "Another process" in await refusal(base, sqlite, empty_database_url)
    used = open_database(base.model_copy(update={"database_url": database_url}))
    async with used.write() as unit:
        await processes.beat(unit.connection, "somebody", "host")
    assert "The target is used by a server" in await refusal(base, sqlite, database_url)
    assert "The source is used by a server" in await refusal(base, database_url, nowhere)
    async with used.write() as unit:
        await processes.leave(unit.connection, "somebody")
    await used.close()
    # Another schema.
    with contextlib.closing(sqlite3.connect(full)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert "has schema 0001" in await refusal(base, f"sqlite:///{full}", empty_database_url)
    assert "has schema 0001" in await refusal(base, sqlite, f"sqlite:///{full}")
    # Nothing of that stands in the way.
    await run(base, sqlite, empty_database_url)
    assert "has rows" in await refusal(base, sqlite, empty_database_url)


async def test_a_source_that_changed_meanwhile_is_found(
    sqlite: str, empty_database_url: str, base: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of(sqlite, 4)
    link = copying._Copy._links

    async def stops(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(copying._Copy, "_links", stops)
    await refusal(base, sqlite, empty_database_url)
    monkeypatch.setattr(copying._Copy, "_links", link)
    path = sqlite.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE chat_message SET content = 'other' WHERE n = 2 << 20")
    assert f"differs from its source at chat_message {2 << 20}:" in await refusal(base, sqlite, empty_database_url)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM chat_message WHERE n = 2 << 20")
    assert f"differs from its source at chat_message {2 << 20}:" in await refusal(base, sqlite, empty_database_url)
    other = Path(path).with_name("other.db")
    shutil.copyfile(path, other)
    assert f"a copy of {sqlite.replace('sqlite', 'sqlite+aiosqlite')}" in await refusal(
        base, f"sqlite:///{other}", empty_database_url
    )


async def test_nul_is_said_by_row_and_replaced_when_asked(
    sqlite: str, empty_database_url: str, base: Settings, tmp_path: Path
) -> None:
    rows_of(sqlite, 3)
    with contextlib.closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE chat SET title = ? WHERE n = 2", ("a\x00b",))
        connection.execute("UPDATE user SET bio = ?", ("\x00",))
    said = await refusal(base, sqlite, empty_database_url)
    assert "user u (bio); chat 2 (title)." in said
    assert "--replace-nul" in said
    await run(base, sqlite, empty_database_url, replace_nul=True)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    await run(base, empty_database_url, back)
    rows = content(back)
    assert {row[3] for row in rows["chat"]} == {"T", "a\ufffdb"}


async def test_a_value_that_the_target_does_not_hold_is_named(
    sqlite: str, empty_database_url: str, base: Settings
) -> None:
    rows_of(sqlite, 3)
    with contextlib.closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE chat SET next_position = 4000000000 WHERE n = 2")
    assert (await refusal(base, sqlite, empty_database_url)).startswith("chat 2 can't be stored in the target:")
