"""Large changes are written in portions: bounded, all or nothing, seen by nobody before they are whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from open_webui.internal.db import Database, UnitOfWork, open_database
from open_webui.models import chats, messages, tables
from open_webui.services import saving, staging
from tests.support.live import Actor, Live, sign_up

WEIGHTS = st.lists(st.tuples(st.integers(1, 1_500), st.integers(0, 1_500_000)), max_size=60)


@given(WEIGHTS)
def test_portions_are_bounded_and_leave_nothing_out(weights: list[staging.Weight]) -> None:
    portions = staging.cut(weights)
    assert [k for first, last in portions for k in range(first, last)] == list(range(len(weights)))
    sums = [tuple(sum(w[i] for w in weights[first:last]) for i in (0, 1)) for first, last in portions]
    for (first, last), (rows, chars) in zip(portions, sums, strict=True):
        assert last == first + 1 or (rows <= staging.MAX_ROWS and chars <= staging.MAX_CHARS)
    # No two neighbours would have fitted into one.
    for (rows, chars), (first, _) in zip(sums, portions[1:], strict=False):
        assert rows + weights[first][0] > staging.MAX_ROWS or chars + weights[first][1] > staging.MAX_CHARS


# The real bounds take long to reach; these are theirs, fifty times smaller.
ROWS = 20
# Rows that hang on a message: those of the full-text index are rows too on SQLite.
FACTOR = {"sqlite": 12, "postgresql": 3}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MAX_ROWS", ROWS)
    monkeypatch.setattr(staging, "MAX_CHARS", 20_000)
    monkeypatch.setattr(staging, "MAX_FEW", 2)
    monkeypatch.setattr(saving, "LARGE", 2 * ROWS)


async def rows_written(unit: UnitOfWork, sqlite: bool) -> int:
    """How many rows this connection (SQLite) or transaction (PostgreSQL) has written."""
    query = "total_changes()" if sqlite else "sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"
    return int(await unit.connection.scalar(sa.text(f"SELECT {query}")) or 0)


class Meter:
    """Counts what each unit of work writes. `before`: what happens before each unit of work that this task begins."""

    def __init__(self, database: Database) -> None:
        self.units: list[int] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self._database = database
        self._write = database.write

    @asynccontextmanager
    async def write(self, *, aside: bool = False) -> AsyncIterator[UnitOfWork]:
        if aside:
            # What the audit record links by itself.
            async with self._write(aside=True) as unit:
                yield unit
            return
        if self.before is not None:
            await self.before()
        async with self._write() as unit:
            start = await rows_written(unit, self._database.is_sqlite)
            yield unit
            self.units.append(await rows_written(unit, self._database.is_sqlite) - start)


@pytest.fixture
def meter(live: Live, small: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    database = live.app.state.oui.database
    made = Meter(database)
    monkeypatch.setattr(database, "write", made.write)
    yield made
    assert max(made.units) <= ROWS * FACTOR[database.dialect], made.units


def history_of(count: int, text: str = "text", size: int = 10) -> dict[str, Any]:
    wire = {
        f"m{k}": {
            "id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "childrenIds": [f"m{k + 1}"] if k + 1 < count else [],
            "role": "assistant" if k % 2 else "user", "content": f"{text} {k} " + "x" * size, "timestamp": k,
            **({"done": True, "model": "m"} if k % 2 else {}),
        }
        for k in range(count)
    }  # fmt: skip
    return {"currentId": f"m{count - 1}" if count else None, "messages": wire}


async def ok(reply: Awaitable[httpx.Response]) -> Any:
    answer = await reply
    assert answer.status_code == 200, answer.text
    return answer.json()


async def new_chat(actor: Actor, count: int, **more: Any) -> dict[str, Any]:
    body = {"chat": {"title": "Long", "models": ["m"], "history": history_of(count), **more}}
    made: dict[str, Any] = await ok(actor.client.post("/api/v1/chats/new", json=body))
    return made


async def stored(actor: Actor, chat_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await ok(actor.client.get(f"/api/v1/chats/{chat_id}"))
    return found


def texts(document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    keys = ("parentId", "childrenIds", "role", "content", "model", "done")
    return {i: tuple(m.get(k) for k in keys) for i, m in document["chat"]["history"]["messages"].items()}


def given_texts(history: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return texts({"chat": {"history": history}})


async def count_hidden(live: Live) -> int:
    async with live.app.state.oui.database.read() as connection:
        return len(await chats.hidden_before(connection, None))


async def count_rows(live: Live, table: sa.Table) -> int:
    async with live.app.state.oui.database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


async def test_a_long_chat_is_stored_whole(live: Live, user: Actor, meter: Meter) -> None:
    made = await new_chat(user, 3 * ROWS + 7)
    assert len(meter.units) > 3
    document = await stored(user, made["id"])
    assert texts(document) == given_texts(history_of(3 * ROWS + 7))
    assert document["chat"]["history"]["currentId"] == f"m{3 * ROWS + 6}"
    assert await count_hidden(live) == 0


async def test_a_long_chat_with_large_messages_goes_out_whole(user: Actor) -> None:
    """Pieces of it end before a large message, behind one, and between small ones."""
    history = history_of(305, size=2_000)
    for name in ("m0", "m150", "m151", "m304"):
        history["messages"][name]["content"] = name + "y" * 300_000
    made = await ok(user.client.post("/api/v1/chats/new", json={"chat": {"title": "t", "history": history}}))
    assert texts(made) == given_texts(history)
    assert texts(await stored(user, made["id"])) == given_texts(history)


@pytest.mark.parametrize("big", [False, True])
async def test_large_messages_make_small_portions(live: Live, user: Actor, meter: Meter, big: bool) -> None:
    history = history_of(6, size=50_000 if big else 9_000)
    made = await ok(user.client.post("/api/v1/chats/new", json={"chat": {"title": "t", "history": history}}))
    assert texts(await stored(user, made["id"])) == given_texts(history)
    assert len(meter.units) == (7 if big else 4)


def export(count: int, length: int) -> list[dict[str, Any]]:
    return [
        {
            "chat": {"title": f"Imported {k}", "models": ["m"], "history": history_of(length)},
            "meta": {"tags": ["Common", f"Tag {k % 3}"]},
            "pinned": k == 0,
            "created_at": 1_600_000_000 + k,
            "updated_at": 1_600_000_000 + k,
        }
        for k in range(count)
    ]


async def test_an_import_is_stored_whole(live: Live, user: Actor, meter: Meter) -> None:
    made = await ok(user.client.post("/api/v1/chats/import", json={"chats": export(30, 5)}))
    assert [chat["title"] for chat in made] == [f"Imported {k}" for k in range(30)]
    assert len(meter.units) > 5
    listed = await ok(user.client.get("/api/v1/chats/", params={"include_pinned": True}))
    assert [row["title"] for row in listed] == [f"Imported {k}" for k in reversed(range(30))]
    tags = await ok(user.client.get("/api/v1/chats/all/tags"))
    assert {tag["name"] for tag in tags} == {"Common", "Tag 0", "Tag 1", "Tag 2"}
    for row in listed:
        document = await stored(user, row["id"])
        assert texts(document) == given_texts(history_of(5))
        assert len(document["meta"]["tags"]) == 2


async def test_copies_of_a_long_chat_are_whole(
    live: Live, user: Actor, other: Actor, admin: Actor, meter: Meter
) -> None:
    count = 4 * ROWS + 1
    source = (await new_chat(user, count))["id"]
    await ok(user.client.post(f"/api/v1/chats/{source}/tags", json={"name": "Kept"}))
    expected = given_texts(history_of(count))
    cloned = await ok(user.client.post(f"/api/v1/chats/{source}/clone", json={}))
    assert texts(cloned) == expected
    assert cloned["meta"]["tags"] == ["kept"]
    forked = await ok(user.client.post(f"/api/v1/chats/{source}/fork", json={}))
    assert texts(forked) == expected
    shared = await ok(user.client.post(f"/api/v1/chats/{source}/share", json={}))
    taken = await ok(user.client.post(f"/api/v1/chats/{shared['share_id']}/clone/shared", json={}))
    assert texts(taken) == expected
    assert await count_hidden(live) == 0


@pytest.mark.parametrize("count", [3, 4 * ROWS])
async def test_a_chat_that_goes_while_it_is_copied_leaves_no_half_of_a_copy(
    live: Live, user: Actor, meter: Meter, count: int
) -> None:
    source = (await new_chat(user, count))["id"]
    begun = len(meter.units)

    async def removed() -> None:
        meter.before = None
        assert await ok(user.client.delete(f"/api/v1/chats/{source}")) is True

    async def before() -> None:
        if len(meter.units) >= begun + (count > ROWS):
            await removed()

    meter.before = before
    assert (await user.client.post(f"/api/v1/chats/{source}/clone", json={})).status_code == 401
    for table in (tables.chat, tables.message):
        assert await count_rows(live, table) == 0


async def test_a_long_save_changes_what_it_says(live: Live, user: Actor, meter: Meter) -> None:
    chat_id = (await new_chat(user, 5 * ROWS))["id"]
    new = history_of(4 * ROWS, text="other")
    del new["messages"]["m10"]
    new["messages"]["m9"]["childrenIds"] = []
    new["messages"]["m11"]["parentId"] = "m9"
    new["messages"] |= {
        f"n{k}": {"id": f"n{k}", "parentId": "m11", "childrenIds": [], "role": "user", "content": "new"}
        for k in range(50)
    }
    meter.units.clear()
    saved = await ok(user.client.post(f"/api/v1/chats/{chat_id}", json={"chat": {"title": "Saved", "history": new}}))
    assert len(meter.units) > 7
    document = await stored(user, chat_id)
    assert texts(document).keys() == new["messages"].keys()
    assert {i: m[3] for i, m in texts(document).items()} == {i: m["content"] for i, m in new["messages"].items()}
    assert texts(document)["m11"][0] == "m9"
    assert (document["title"], document["chat"]["history"]["currentId"]) == ("Saved", f"m{4 * ROWS - 1}")
    assert texts(saved) == texts(document)


async def test_a_long_save_leaves_what_others_do_meanwhile(live: Live, user: Actor, meter: Meter) -> None:
    """Between two portions somebody adds a message below one that the save removes, and edits one that it leaves alone."""
    chat_id = (await new_chat(user, 5 * ROWS))["id"]
    done = False

    async def meanwhile() -> None:
        nonlocal done
        # The first unit found that it is too much, the second removed the newest messages.
        if not done and len(meter.units) == 2:
            done = True
            async with meter._write() as unit:
                chat = await chats.lock_for_server(unit.connection, chat_id)
                assert chat is not None
                late = {"id": "late", "parentId": f"m{3 * ROWS}", "role": "user", "content": "late"}
                await messages.put(unit.connection, chat, user.id, [late, {"id": "m3", "content": "edited"}])

    meter.units.clear()
    meter.before = meanwhile
    await ok(user.client.post(f"/api/v1/chats/{chat_id}", json={"chat": {"history": history_of(2 * ROWS)}}))
    assert done
    found = texts(await stored(user, chat_id))
    assert (found["late"][3], found["m3"][3]) == ("late", "edited")
    # All that the late message answers to is there.
    assert found.keys() == history_of(3 * ROWS + 1)["messages"].keys() | {"late"}
    assert found["late"][0] == f"m{3 * ROWS}"


async def test_removing_is_bounded(live: Live, admin: Actor, user: Actor, meter: Meter) -> None:
    folder = await ok(user.client.post("/api/v1/folders/", json={"name": "F"}))
    first = await new_chat(user, 5 * ROWS)
    for _ in range(3):
        await new_chat(user, 15)
    await ok(user.client.post(f"/api/v1/chats/{first['id']}/tags", json={"name": "UnknownChat"}))
    await ok(user.client.post(f"/api/v1/chats/{first['id']}/share", json={}))
    assert await ok(user.client.delete(f"/api/v1/chats/{first['id']}")) is True
    assert (await user.client.get(f"/api/v1/chats/{first['id']}")).status_code == 401
    assert await ok(user.client.get("/api/v1/chats/all/tags")) == []
    assert await ok(user.client.delete("/api/v1/chats/")) is True
    inside = await new_chat(user, 3 * ROWS)
    await ok(user.client.post(f"/api/v1/chats/{inside['id']}/folder", json={"folder_id": folder["id"]}))
    assert await ok(user.client.delete(f"/api/v1/folders/{folder['id']}?delete_contents=true")) is True
    await new_chat(user, 3 * ROWS)
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    for table in (tables.chat, tables.message, tables.chat_tag, tables.shared_chat, tables.tag):
        assert await count_rows(live, table) == 0


async def test_what_fails_in_the_middle_leaves_nothing(
    live: Live, user: Actor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    insert = messages.insert_at

    async def failing(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise sa.exc.OperationalError("INSERT", {}, OSError("disk full"))
        await insert(*args)

    monkeypatch.setattr(messages, "insert_at", failing)
    reply = await user.client.post("/api/v1/chats/import", json={"chats": export(30, 5)})
    assert reply.status_code == 503
    assert calls == 12
    for table in (tables.chat, tables.message, tables.chat_tag, tables.tag):
        assert await count_rows(live, table) == 0


async def test_who_goes_away_in_the_middle_leaves_nothing(live: Live, user: Actor, meter: Meter) -> None:
    """The request is cancelled between two portions, and again while what was made is removed."""
    state = live.app.state.oui
    principal = await state.identify(user.token)
    new = await chats.draft(principal.id, "t", {}, messages.fields_of(history_of(100)["messages"].values()), None)
    task = asyncio.create_task(staging.store_new(state.database, principal, [new]))
    between = asyncio.Event()

    async def before() -> None:
        if asyncio.current_task() is task and len(meter.units) == 2:
            between.set()
            await asyncio.Event().wait()
        elif between.is_set():
            task.cancel()

    meter.units.clear()
    meter.before = before
    await between.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for table in (tables.chat, tables.message):
        assert await count_rows(live, table) == 0


LISTS = (
    "/api/v1/chats/", "/api/v1/chats/?page=1", "/api/v1/chats/list?include_pinned=true&include_folders=true",
    "/api/v1/chats/pinned", "/api/v1/chats/archived", "/api/v1/chats/archived/count", "/api/v1/chats/all",
    "/api/v1/chats/all/archived", "/api/v1/chats/all/tags", "/api/v1/chats/search?text=text",
    "/api/v1/chats/search?text=Imported", "/api/v1/chats/shared", "/api/v1/folders/", "/api/v1/folders/shared",
    "/api/v1/chats/stats/usage", "/api/v1/chats/stats/export",
)  # fmt: skip
OF_ADMINS = ("/api/v1/chats/all/db", "/api/v1/chats/list/user/{id}")


async def everything(user: Actor, admin: Actor, folder_id: str) -> dict[str, Any]:
    """What everybody sees of a person's chats."""
    out = {}
    pages = [*LISTS, f"/api/v1/folders/{folder_id}/shared/chats", f"/api/v1/chats/folder/{folder_id}/list"]
    for path in pages:
        out[path] = (await user.client.get(path)).text
    for path in OF_ADMINS:
        out[path] = (await admin.client.get(path.format(id=user.id))).text
    tagged = await user.client.post("/api/v1/chats/tags", json={"name": "Common"})
    out["tagged"] = tagged.json()
    return out


async def test_nobody_sees_what_is_not_whole(
    make_live: Callable[..., Awaitable[Live]], connections: None, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Administrators who look at others' chats wait for the writer to record it: on SQLite the import that is looked at here.
    live = await make_live(enable_admin_chat_access=True, enable_admin_export=True, audit_level="none")
    admin = await sign_up(live, "Admin One")
    user = await sign_up(live, "User One", role="user", admin=admin)
    folder = await ok(user.client.post("/api/v1/folders/", json={"name": "F"}))
    await new_chat(user, 3)
    before = await everything(user, admin, folder["id"])
    seen: list[dict[str, Any]] = []
    show = chats.show

    async def looked_at(connection: Any, user_id: str, chat_ids: list[str]) -> Any:
        # All is stored, and about to be shown.
        assert await count_hidden(live) == len(chat_ids) == 30
        seen.append(await everything(user, admin, folder["id"]))
        for actor in (user, admin):
            assert (await actor.client.get(f"/api/v1/chats/{chat_ids[0]}")).status_code == 401
        return await show(connection, user_id, chat_ids)

    monkeypatch.setattr(chats, "show", looked_at)
    await ok(
        user.client.post(
            "/api/v1/chats/import", json={"chats": [e | {"folder_id": folder["id"]} for e in export(30, 5)]}
        )
    )
    assert seen == [before]
    after = await everything(user, admin, folder["id"])
    # What such an import changes was looked at.
    same = {key for key in before if after[key] == before[key]}
    assert same == {path for path in LISTS if "archived" in path or "shared" in path} | {
        "/api/v1/chats/",
        LISTS[1],
        "/api/v1/folders/",
    }
    for actor in (admin, user):
        await actor.client.aclose()


async def test_others_write_between_two_portions(settings: Any, small: None) -> None:
    """Whoever waits for the writer gets it after one portion, not after all."""
    database = open_database(settings)
    turns: list[str] = []

    async def portion(_connection: Any) -> None:
        turns.append("portion")
        await asyncio.sleep(0)

    async def end(_unit: UnitOfWork) -> None:
        turns.append("end")

    async def checkpoints() -> None:
        for _ in range(5):
            async with database.write():
                turns.append("checkpoint")

    large = asyncio.create_task(staging.in_portions(database, "nobody", [], [portion] * 20, end))
    others = asyncio.create_task(checkpoints())
    await asyncio.gather(large, others)
    await database.close()
    if database.is_sqlite:
        assert "".join(t[0] for t in turns) == "pc" * 5 + "p" * 15 + "e"
    assert sorted(turns) == ["checkpoint"] * 5 + ["end"] + ["portion"] * 20


@pytest.mark.parametrize("at_start", [True, False])
async def test_what_a_crash_left_is_removed(settings: Any, at_start: bool) -> None:
    database = open_database(settings)
    async with database.write() as unit:
        for user_id in ("ann", "bob"):
            row = {"id": user_id, "email": user_id, "name": "n", "role": "user", "last_active_at": 0}
            await unit.connection.execute(tables.user.insert().values(row | {"created_at": 0, "updated_at": 0}))
        kept = await chats.create(unit.connection, "ann", title="kept", body={})
        for at in (0, 2**40):
            new = await chats.draft("ann", "left", {}, messages.fields_of(history_of(5)["messages"].values()), None)
            chat = await chats.insert(unit.connection, new, hidden=True)
            await messages.insert_at(unit.connection, chat, new.rows, 0)
            await unit.connection.execute(tables.chat.update().where(tables.chat.c.id == chat.id).values(hidden_at=at))
    await staging.remove_leftovers(database, at_start=at_start)
    async with database.read() as connection:
        left = set(await connection.scalars(sa.select(tables.chat.c.title)))
        count = await connection.scalar(sa.select(sa.func.count()).select_from(tables.message))
    # Somebody may be at work on the younger one, but for a start where nobody else can be.
    alone = at_start and database.is_sqlite
    assert left == ({"kept"} if alone else {"kept", "left"})
    assert count == (0 if alone else 5)
    assert kept.id
    await database.close()


async def test_many_chats_are_removed_by_few_statements(live: Live, user: Actor) -> None:
    """One after the other, each with a look at all tags, thousands of them took a minute."""
    chat = {"title": "One", "history": {"messages": {}, "currentId": None}}
    many = [{"chat": chat, "meta": {"tags": [f"T{k % 7}"]}} for k in range(150)]
    assert (await user.client.post("/api/v1/chats/import", json={"chats": many})).status_code == 200
    seen: list[str] = []

    def note(*given: Any) -> None:
        seen.append(given[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert (await user.client.delete("/api/v1/chats/")).status_code == 200
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(seen) < 40, len(seen)
    async with live.app.state.oui.database.read() as connection:
        for table in (tables.chat, tables.tag):
            assert await connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
