"""Small helps for pages, and the database as a file: who gets it, that it is whole, and that nothing of it is left behind."""

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from open_webui.env import Settings
from open_webui.errors import BadRequest, Conflict, OuiError
from open_webui.services import snapshot
from tests.support import live as people
from tests.support.live import Actor, Live

UTILS = "/api/v1/utils"
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
COUNT = ("/api/v1/messages/count_tokens", "/api/message/count_tokens")


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test doesn't say which."""
    return str(getattr(request, "param", "sqlite"))


async def test_gravatar(user: Actor, client: httpx.AsyncClient) -> None:
    """As recorded; blanks and capitals make no other picture."""
    place = "https://www.gravatar.com/avatar/80305c9bb1bb2480e03894350e0a8a366dcbdeb302e69e0817aa0743abd77054?d=mp"
    for email in ("a@b.co", " A@B.co "):
        assert (await user.client.get(f"{UTILS}/gravatar", params={"email": email})).json() == place
    for params in ({}, {"email": ""}, {"email": "a" * 321}):
        assert (await user.client.get(f"{UTILS}/gravatar", params=params)).status_code == 422
    assert (await client.get(f"{UTILS}/gravatar", params={"email": "a@b.co"})).status_code == 401


@SQLITE
async def test_the_database_as_a_file(live: Live, admin: Actor, user: Actor, tmp_path: Path) -> None:
    reply = await admin.client.get(f"{UTILS}/db/download")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"] == 'attachment; filename="webui.db"'
    assert int(reply.headers["content-length"]) == len(reply.content)
    copy = tmp_path / "copy.db"
    copy.write_bytes(reply.content)
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {row[0] for row in connection.execute('SELECT id FROM "user"')} == {admin.id, user.id}
    connection.close()
    here = Path(live.settings.database_url.removeprefix("sqlite:///")).parent
    assert not list(here.glob("*.part*"))


@SQLITE
async def test_who_gets_it(user: Actor, client: httpx.AsyncClient) -> None:
    assert (await user.client.get(f"{UTILS}/db/download")).status_code == 401
    assert (await client.get(f"{UTILS}/db/download")).status_code == 401


@SQLITE
@pytest.mark.parametrize("switch", ["enable_admin_export", "enable_admin_chat_access"])
async def test_a_server_that_lets_nobody_export(make_live: Callable[..., Awaitable[Live]], switch: str) -> None:
    live = await make_live(**{switch: False})
    admin = await people.sign_up(live, "Admin One")
    async with admin.client:
        assert (await admin.client.get(f"{UTILS}/db/download")).status_code == 401


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_postgresql_has_no_file(admin: Actor) -> None:
    reply = await admin.client.get(f"{UTILS}/db/download")
    assert (reply.status_code, "pg_dump" in reply.json()["detail"]) == (400, True)


def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    return path


def test_what_a_crash_left_goes_at_a_start(tmp_path: Path) -> None:
    """Whatever its age: it has all hashes in it."""
    path = small(tmp_path)
    left = [tmp_path / f"small.db.download.part{end}" for end in ("", "-journal")]
    for file in left:
        file.write_bytes(b"x")
    snapshot.remove_left_copy(Settings(env="test", data_dir=tmp_path, database_url=f"sqlite:///{path}"))
    assert ([file.exists() for file in left], path.exists()) == ([False, False], True)


async def test_one_copy_is_made_at_a_time(tmp_path: Path) -> None:
    path = small(tmp_path)
    left = tmp_path / "small.db.download.part"
    left.write_bytes(b"")
    with pytest.raises(Conflict):
        await snapshot.make(path)
    assert left.exists()
    # One that a process which ended left is taken away.
    os.utime(left, (time.time() - 2 * snapshot.LEFT_OVER,) * 2)
    made = await snapshot.make(path)
    assert not left.exists()
    assert b"".join([piece async for piece in made.pieces()]).startswith(b"SQLite format 3")


async def test_a_reader_who_leaves_ends_it(tmp_path: Path) -> None:
    made = await snapshot.make(small(tmp_path))
    pieces: Any = made.pieces()
    await anext(pieces)
    await pieces.aclose()
    assert made._file.closed


async def test_a_full_disk_and_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(OuiError) as raised:
            await snapshot.make(path)
        assert raised.value.status == 507
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(OuiError) as raised:
        await snapshot.make(path)
    assert raised.value.status == 507
    assert not list(tmp_path.glob("*.part*"))  # noqa: ASYNC240 - a handful of names
    with pytest.raises(BadRequest):
        snapshot.file_of("postgresql", "any")


@pytest.mark.parametrize("path", COUNT)
async def test_counting_tokens(user: Actor, client: httpx.AsyncClient, path: str, admin: Actor) -> None:
    """Said to be a guess, and more of more text; of a model that one may use."""
    ask = {"model": "echo", "messages": [{"role": "user", "content": "hi " * 100}]}
    few = (await admin.client.post(path, json=ask)).json()
    assert few["estimated"] is True
    assert 50 <= few["input_tokens"] <= 300
    tool = {"name": "t", "description": "d " * 300, "input_schema": {"type": "object", "properties": {}}}
    for more in ({"system": "s " * 300}, {"tools": [tool]}):
        assert (await admin.client.post(path, json=ask | more)).json()["input_tokens"] > few["input_tokens"]
    assert (await client.post(path, json=ask)).status_code == 401
    # Not let in to the model.
    assert (await user.client.post(path, json=ask)).status_code in {400, 404}
    for bad in ({}, {"model": "echo"}, {"model": 1, "messages": []}, ask | {"messages": "x"}):
        assert (await admin.client.post(path, json=bad)).status_code == 400


async def test_sessions_at_other_sites(admin: Actor, user: Actor) -> None:
    """As recorded of somebody who has none."""
    assert (await admin.client.get(f"/api/v1/users/{user.id}/oauth/sessions")).status_code == 400
    assert (await user.client.get(f"/api/v1/users/{user.id}/oauth/sessions")).status_code == 401


def row(model_id: str, **more: Any) -> dict[str, Any]:
    return {"id": model_id, "base_model_id": "echo", "name": model_id, "meta": {}, "params": {}} | more


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
async def test_models_become_those_of_a_list(live: Live, admin: Actor, user: Actor) -> None:
    async def sync(*rows: Any) -> tuple[int, Any]:
        reply = await admin.client.post("/api/v1/models/sync", json={"models": list(rows)})
        return reply.status_code, reply.json()

    for name in ("first", "second"):
        assert (await admin.client.post("/api/v1/models/create", json=row(name))).status_code == 200
    status, found = await sync(row("second", name="Second"), row("third"))
    assert (status, {r["id"]: r["name"] for r in found}) == (200, {"second": "Second", "third": "third"})
    # Nothing is done by half.
    status, _ = await sync(row("fourth"), {"id": "broken"})
    assert status == 400
    # A list that got lost removes nothing, nor does a body without one.
    status, found = await sync()
    assert (status, {r["id"] for r in found}) == (200, {"second", "third"})
    assert len((await admin.client.post("/api/v1/models/sync", json={})).json()) == 2
    assert (await user.client.post("/api/v1/models/sync", json={"models": []})).status_code == 401
