"""Memories over the API: kept, changed, moved, listed and removed by their owner, and by nobody else; and what is refused."""

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.models.memories import Place
from open_webui.services import memories as service
from tests.open_webui.plugins.test_tools import count, say
from tests.support.live import Actor, Live
from tests.support.turns import frozen_heap

MEMORIES = "/api/v1/memories"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
FIELDS = ["id", "user_id", "type", "path", "content", "meta", "updated_at", "created_at"]


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """What is SQL's runs on both; the rest is nothing of it."""
    return str(getattr(request, "param", "sqlite"))


async def add(actor: Actor, content: str, **more: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{MEMORIES}/add", {"content": content} | more)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


async def texts(actor: Actor) -> list[str]:
    status, listed = await say(actor, "GET", f"{MEMORIES}/")
    assert status == 200
    return sorted(row["content"] for row in listed)


async def change(actor: Actor, *operations: dict[str, Any], **more: Any) -> tuple[int, Any]:
    return await say(actor, "POST", f"{MEMORIES}/update", {"operations": list(operations)} | more)


@BOTH
async def test_the_life_of_a_memory(live: Live, admin: Actor) -> None:
    """The shapes are those of the contract's samples."""
    made = await add(admin, " Likes tea\n")
    assert list(made) == FIELDS
    assert (made["content"], made["type"], made["path"]) == ("Likes tea", "context", None)
    assert (made["meta"], made["user_id"]) == ({"created_by": "manual"}, admin.id)
    assert (await say(admin, "GET", f"{MEMORIES}/"))[1] == [made]
    found = (await say(admin, "POST", f"{MEMORIES}/query", {"content": "tea?", "k": 1}))[1]
    assert (found["ids"], found["documents"]) == ([[made["id"]]], [["Likes tea"]])
    dates = {"updated_at": made["updated_at"], "type": "context", "created_at": made["created_at"]}
    assert found["metadatas"] == [[dates]]
    assert 0 < found["distances"][0][0] <= 1
    assert (await say(admin, "POST", f"{MEMORIES}/search", {"query": "TEA", "type": "all", "limit": 5}))[1] == [made]
    paths = (await say(admin, "POST", f"{MEMORIES}/paths", {"type": "all", "limit": 5}))[1]
    place = {"path": None, "type": "context", "count": 1, "updated_at": made["updated_at"], "children": []}
    assert paths == {"paths": [place], "count": 1}
    status, changed = await say(admin, "POST", f"{MEMORIES}/{made['id']}/update", {"content": "Likes coffee"})
    assert (status, changed) == (200, made | {"content": "Likes coffee", "updated_at": changed["updated_at"]})
    # The index follows: what it said before is not found any more.
    assert (await say(admin, "POST", f"{MEMORIES}/query", {"content": "tea"}))[1]["ids"] == [[]]
    assert (await say(admin, "POST", f"{MEMORIES}/query", {"content": "coffee"}))[1]["ids"] == [[made["id"]]]
    assert (await say(admin, "POST", f"{MEMORIES}/nope/update", {"content": "x"}))[0] == 404
    status, done = await change(admin, {"action": "add", "content": "Has a cat", "type": "user"})
    assert (status, done[0]["action"], done[0]["status"]) == (200, "add", "created")
    assert list(done[0]["memory"]) == [name for name in FIELDS if name != "meta"]
    assert (await say(admin, "POST", f"{MEMORIES}/reset"))[1] is True
    assert await texts(admin) == ["Has a cat", "Likes coffee"]
    assert (await say(admin, "POST", f"{MEMORIES}/query", {"content": "coffee"}))[1]["ids"] == [[made["id"]]]
    assert (await say(admin, "DELETE", f"{MEMORIES}/{made['id']}"))[1] is True
    assert (await say(admin, "DELETE", f"{MEMORIES}/{made['id']}"))[1] is False
    assert (await say(admin, "DELETE", f"{MEMORIES}/delete/user"))[1] is True
    assert await texts(admin) == []
    assert [await count(live, table) for table in (tables.memory, tables.document, tables.chunk)] == [0, 0, 0]


@BOTH
async def test_nobody_else_gets_at_it(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    secret = await add(user, "The safe is behind the painting", path="home/safe")
    for one in (admin, other):
        assert await texts(one) == []
        for door, body in (
            ("query", {"content": "safe painting", "k": 50}), ("search", {"memory_id": secret["id"]}),
            ("search", {"query": "safe"}), ("path", {"path": "home"}), ("paths", {}),
        ):  # fmt: skip
            status, found = await say(one, "POST", f"{MEMORIES}/{door}", body)
            assert status == 200
            assert "safe" not in str(found), door
            assert secret["id"] not in str(found), door
        # Somebody else's id answers as one that there isn't.
        for memory_id in (secret["id"], "nope"):
            assert (await say(one, "POST", f"{MEMORIES}/{memory_id}/update", {"content": "x"}))[0] == 404
            assert (await say(one, "DELETE", f"{MEMORIES}/{memory_id}")) == (200, False)
            for action in ("remove", "replace", "move"):
                operation = {"action": action, "id": memory_id, "content": "x", "path": "x"}
                status, refused = await change(one, operation)
                assert (status, refused["detail"]) == (
                    404, f"Operation 1: there is no memory '{memory_id}'. Nothing was changed.",
                )  # fmt: skip
        await say(one, "POST", f"{MEMORIES}/reset")
        await say(one, "DELETE", f"{MEMORIES}/delete/user")
        # Nor as a collection, whatever it is called.
        names = [f"user-memory-{user.id}", secret["id"], f"file-{secret['id']}", ""]
        body = {"collection_names": names, "query": "safe painting"}
        assert "safe" not in (await one.client.post("/api/v1/retrieval/query/collection", json=body)).text
    assert await texts(user) == [secret["content"]]
    assert (await say(user, "POST", f"{MEMORIES}/query", {"content": "painting"}))[1]["ids"] == [[secret["id"]]]


@BOTH
async def test_changes_are_made_together_or_not_at_all(live: Live, user: Actor) -> None:
    tea = await add(user, "Likes tea")
    status, done = await change(
        user,
        {"action": "replace", "id": tea["id"], "content": "Likes oolong"},
        {"action": "move", "id": tea["id"], "path": "/home / drinks/", "type": "user"},
        {"action": "add", "content": "Lives in Rome", "path": "home"},
        {"action": "add", "content": "Lives in Rome"},
        source="tool",
    )
    assert status == 200, done
    assert [each["status"] for each in done] == ["updated", "moved", "created", "unchanged"]
    moved = done[1]["memory"]
    assert (moved["path"], moved["type"], moved["content"]) == ("home/drinks", "user", "Likes oolong")
    metas = {row["content"]: row["meta"] for row in (await say(user, "GET", f"{MEMORIES}/"))[1]}
    assert metas == {"Likes oolong": {"created_by": "manual"}, "Lives in Rome": {"created_by": "tool"}}
    before = await texts(user)
    documents = await count(live, tables.document)
    good = {"action": "add", "content": "Has a dog"}
    for bad, wanted, sentence in (
        ({"action": "remove", "id": "nope"}, 404, "there is no memory 'nope'"),
        ({"action": "remove"}, 400, "'remove' needs 'id'"),
        ({"action": "replace", "id": tea["id"]}, 400, "'replace' needs 'content'"),
        ({"action": "move", "id": tea["id"]}, 400, "'move' needs 'path' or 'type'"),
        ({"action": "add"}, 400, "'add' needs 'content'"),
        ({"action": "add", "content": "x" * 3_000}, 400, "at most 2,000 characters"),
        ({"action": "add", "content": "x", "path": "/".join("abcdefghijkl")}, 400, "at most 10 parts"),
    ):  # fmt: skip
        status, refused = await change(user, good, {"action": "replace", "id": tea["id"], "content": "Odd"}, bad)
        assert (status, sentence in refused["detail"]) == (wanted, True), refused
        assert await texts(user) == before
        assert await count(live, tables.document) == documents
    status, done = await change(user, {"action": "remove", "id": tea["id"]})
    assert (status, done[0]["status"], done[0]["memory"]["id"]) == (200, "deleted", tea["id"])
    assert await texts(user) == ["Lives in Rome"]


@BOTH
async def test_paths(user: Actor) -> None:
    await add(user, "One", path="work/a")
    await add(user, "Two", path="work/a/deep")
    await add(user, "Three", path="work", type="user")
    await add(user, "Four", path="workshop")
    await add(user, "Five", path="Work/%_")
    await add(user, "Six", path="")
    listed = (await say(user, "POST", f"{MEMORIES}/paths", {}))[1]
    assert listed["count"] == 6
    assert {(p["path"], p["type"]): p["children"] for p in listed["paths"]} == {
        (None, "context"): [], ("Work/%_", "context"): [], ("work", "user"): ["work/a"], ("work/a", "context"): ["work/a/deep"],
        ("work/a/deep", "context"): [], ("workshop", "context"): [],
    }  # fmt: skip
    some = (await say(user, "POST", f"{MEMORIES}/paths", {"query": "shop"}))[1]
    assert [p["path"] for p in some["paths"]] == ["workshop"]
    assert (await say(user, "POST", f"{MEMORIES}/paths", {"type": "user"}))[1]["count"] == 1

    async def at(path: str, **more: Any) -> list[str]:
        found = (await say(user, "POST", f"{MEMORIES}/path", {"path": path} | more))[1]
        assert found["count"] == len(found["memories"])
        return sorted(row["content"] for row in found["memories"])

    assert await at("work") == ["One", "Three", "Two"]
    assert await at("/work/", include_children=False) == ["Three"]
    assert await at("work", type="context") == ["One", "Two"]
    assert await at("wor") == []
    assert await at("work/%") == []
    assert len(await at("work", limit=1)) == 1
    found = (await say(user, "POST", f"{MEMORIES}/path", {"path": "work"}))[1]
    assert (found["path"], found["children"]) == ("work", ["work/a"])
    # An empty path takes it away, one that is left out stays.
    (one,) = (await say(user, "POST", f"{MEMORIES}/search", {"path": "workshop"}))[1]
    stays = (await say(user, "POST", f"{MEMORIES}/{one['id']}/update", {"type": "user"}))[1]
    assert (stays["path"], stays["type"]) == ("workshop", "user")
    assert (await say(user, "POST", f"{MEMORIES}/{one['id']}/update", {"path": ""}))[1]["path"] is None


async def test_search_is_by_all_words(user: Actor) -> None:
    await add(user, "Drinks green tea", path="home")
    await add(user, "Drinks 100% coffee", type="user")

    async def found(**form: Any) -> list[str]:
        status, rows = await say(user, "POST", f"{MEMORIES}/search", form)
        assert status == 200, rows
        return sorted(row["content"] for row in rows)

    assert len(await found()) == 2
    assert await found(query="TEA drink") == ["Drinks green tea"]
    assert await found(query="hom") == ["Drinks green tea"]
    assert await found(query="tea coffee") == []
    assert await found(query="%") == ["Drinks 100% coffee"]
    assert await found(query="_") == []
    assert await found(type="user") == ["Drinks 100% coffee"]
    assert await found(path="home", type="user") == []
    assert len(await found(limit=1)) == 1
    assert await found(query=None, memory_id="nope") == []


async def test_what_says_the_same_is_one(user: Actor) -> None:
    first = await add(user, "Likes tea", path="a")
    assert await add(user, "Likes tea ", path="b") == first
    assert (await add(user, "Likes tea", type="user"))["id"] != first["id"]


@BOTH
async def test_there_is_a_bound_on_them(live: Live, user: Actor, other: Actor) -> None:
    await live.app.state.oui.save_config({"memories.max_count": 3, "memories.max_chars": 10})
    status, refused = await say(user, "POST", f"{MEMORIES}/add", {"content": "x" * 11})
    assert (status, refused["detail"]) == (
        400, "A memory has at most 10 characters, and this one has 11. Shorten it, or make several of it.",
    )  # fmt: skip
    done = await asyncio.gather(*(say(user, "POST", f"{MEMORIES}/add", {"content": f"no. {n}"}) for n in range(8)))
    assert sorted(status for status, _ in done) == [200] * 3 + [400] * 5
    (sentence,) = {reply["detail"] for status, reply in done if status == 400}
    assert sentence == "You have 3 memories, and 3 are the most. Delete some that are not needed any more."
    assert len(await texts(user)) == 3
    await add(other, "mine")
    # What is there can be changed and goes.
    (one, *_) = (await say(user, "GET", f"{MEMORIES}/"))[1]
    assert (await say(user, "POST", f"{MEMORIES}/{one['id']}/update", {"content": "new"}))[0] == 200
    assert (await say(user, "POST", f"{MEMORIES}/{one['id']}/update", {"content": "x" * 11}))[0] == 400
    assert (await say(user, "DELETE", f"{MEMORIES}/{one['id']}"))[1] is True
    await add(user, "again")


@BOTH
async def test_fifty_changes_are_few_statements(live: Live, user: Actor) -> None:
    """They hold up who wants to write meanwhile for as long as a few do."""
    old = [await add(user, f"old {n}") for n in range(3)]
    operations = [{"action": "add", "content": f"new {n}"} for n in range(47)]
    operations += [{"action": "remove", "id": row["id"]} for row in old]
    seen: list[str] = []

    def note(*given: Any) -> None:
        seen.append(given[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        status, done = await change(user, *operations)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert (status, [each["status"] for each in done]) == (200, ["created"] * 47 + ["deleted"] * 3)
    assert len(seen) < 25, seen
    assert await texts(user) == sorted(f"new {n}" for n in range(47))
    assert [await count(live, table) for table in (tables.document, tables.chunk)] == [47, 47]


@BOTH
async def test_one_change_after_the_other(live: Live, user: Actor) -> None:
    """As if each had been made by itself: what is removed can be added, is not there to be moved, and makes room."""
    await live.app.state.oui.save_config({"memories.max_count": 2})
    tea, dog = await add(user, "Likes tea"), await add(user, "Has a dog")
    status, done = await change(
        user,
        {"action": "replace", "id": dog["id"], "content": "Likes tea"},
        {"action": "add", "content": "Likes tea"},
        {"action": "remove", "id": tea["id"]},
        {"action": "add", "content": "Has a dog"},
    )
    assert (status, [each["status"] for each in done]) == (200, ["updated", "unchanged", "deleted", "created"])
    assert await texts(user) == ["Has a dog", "Likes tea"]
    gone = {"action": "remove", "id": dog["id"]}
    assert (await change(user, gone, gone))[0] == 404
    status, refused = await change(user, {"action": "add", "content": "a"}, {"action": "add", "content": "b"})
    assert (status, refused["detail"].startswith("You have 2 memories, and 2 are the most.")) == (400, True)
    found = (await say(user, "POST", f"{MEMORIES}/query", {"content": "dog", "k": 5}))[1]
    assert found["documents"][0][0] == "Has a dog"


async def test_there_is_a_bound_on_what_they_say(user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_CHARS", 20)
    row = await add(user, "x" * 12)
    for status, refused in (
        await say(user, "POST", f"{MEMORIES}/add", {"content": "y" * 9}),
        await say(user, "POST", f"{MEMORIES}/{row['id']}/update", {"content": "x" * 21}),
        await change(user, {"action": "add", "content": "y" * 5}, {"action": "add", "content": "z" * 4}),
    ):
        assert (status, refused["detail"].startswith("Memories have at most 20 characters together.")) == (400, True)
    assert (await say(user, "POST", f"{MEMORIES}/{row['id']}/update", {"content": "x" * 10}))[0] == 200
    await add(user, "y" * 9)


@BOTH
async def test_having_them_indexed_anew_again_and_again_is_refused(user: Actor, other: Actor) -> None:
    statuses = [(await say(user, "POST", f"{MEMORIES}/reset"))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await say(other, "POST", f"{MEMORIES}/reset"))[0] == 200


def test_what_stands_below_many_paths_is_found_in_one_go() -> None:
    places = [Place(f"a/b{n}/c/d", "context", 1, 0) for n in range(20_000)]
    with frozen_heap():
        began = time.thread_time()
        found = service.below(places)
        took = time.thread_time() - began
    # Each path compared with all others would take minutes.
    assert took < 10
    assert (len(found["a"]), found["a/b7"], found["a/b7/c"]) == (20_000, ["a/b7/c"], ["a/b7/c/d"])


BAD: list[tuple[str, Any, int]] = [
    ("add", {}, 422), ("add", {"content": 5}, 422), ("add", {"content": None}, 422), ("add", [], 422),
    ("add", {"content": " \n"}, 400), ("add", {"content": "\x00"}, 400), ("add", {"content": "x" * 100_001}, 422),
    ("add", {"content": "x", "type": "odd"}, 422), ("add", {"content": "x", "path": 5}, 422),
    ("add", {"content": "x", "path": "a" * 501}, 422), ("add", {"content": "x", "path": "/".join("abcdefghijk")}, 400),
    ("update", {}, 422), ("update", {"operations": {}}, 422), ("update", {"operations": [{}]}, 422),
    ("update", {"operations": [{"action": "burn"}]}, 422), ("update", {"operations": [{"action": "add"}] * 51}, 422),
    ("update", {"operations": [], "source": "odd"}, 422),
    ("query", {}, 422), ("query", {"content": 5}, 422), ("query", {"content": "x", "k": 0}, 422),
    ("query", {"content": "x", "k": 10**30}, 422), ("query", {"content": "x" * 2_001}, 422),
    ("search", {"limit": 0}, 422), ("search", {"limit": 1_001}, 422), ("search", {"type": "odd"}, 422),
    ("search", {"query": 5}, 422), ("search", {"memory_id": "x" * 1_000}, 422),
    ("paths", {"limit": -1}, 422), ("paths", {"type": 5}, 422),
    ("path", {}, 422), ("path", {"path": None}, 422), ("path", {"path": " / "}, 400),
    ("path", {"path": "a", "include_children": "perhaps"}, 422), ("path", {"path": "a", "limit": "many"}, 422),
    ("nope/update", {}, 400), ("nope/update", {"content": None, "type": None, "path": None}, 400),
    ("nope/update", {"content": 5}, 422), ("nope/update", {"content": "x", "type": "odd"}, 422),
    (f"{'x' * 1_000}/update", {"content": "x"}, 422),
]  # fmt: skip


async def test_what_makes_no_sense_is_refused(live: Live, user: Actor) -> None:
    for door, body, wanted in BAD:
        status, refused = await say(user, "POST", f"{MEMORIES}/{door}", body)
        assert (status, bool(refused["detail"])) == (wanted, True), (door, body, refused)
    assert (await say(user, "DELETE", f"{MEMORIES}/{'x' * 1_000}"))[0] == 422
    for door in ("add", "update", "query", "search", "paths", "path", "nope/update"):
        reply = await user.client.post(f"{MEMORIES}/{door}", content=b"{", headers={"content-type": "application/json"})
        assert reply.status_code == 422, door
    assert await count(live, tables.memory) == 0
    # What no database takes is left out; odd questions find nothing.
    assert (await add(user, "Likes\x00 tea"))["content"] == "Likes tea"
    for odd in ("\x00", "", "' OR 1=1 --", '"', "AND OR NOT", "%", "🫖", "a" * 2_000):
        assert (await say(user, "POST", f"{MEMORIES}/query", {"content": odd}))[0] == 200
    assert (await say(user, "POST", f"{MEMORIES}/query", {"content": "tea", "k": None}))[1]["ids"] != [[]]


async def test_who_is_not_let_in(live: Live, admin: Actor, user: Actor) -> None:
    assert (await say(user, "POST", f"{MEMORIES}/reindex"))[0] == 401
    doors = [("GET", "/"), ("DELETE", "/delete/user"), ("DELETE", "/x"), *(("POST", f"/{d}") for d in (
        "add", "update", "query", "search", "paths", "path", "reindex", "reset", "x/update"))]  # fmt: skip
    async with live.client() as nobody:
        for method, path in doors:
            reply = await nobody.request(method, f"{MEMORIES}{path}", json={})
            assert reply.status_code == 401, path
    kept = await add(user, "Likes tea")
    await live.app.state.oui.save_config({"memories.enable": False})
    config = (await user.client.get("/api/config")).json()
    assert config["features"]["enable_memories"] is False
    for door, body in (
        ("add", {"content": "x"}), ("update", {"operations": []}), ("query", {"content": "x"}), ("search", {}), ("paths", {}),
        ("path", {"path": "a"}), ("reset", None), (f"{kept['id']}/update", {"content": "x"}),
    ):  # fmt: skip
        status, refused = await say(user, "POST", f"{MEMORIES}/{door}", body)
        assert (status, "switched off" in refused["detail"]) == (403, True), door
    # What is kept of oneself one may see and delete.
    assert await texts(user) == ["Likes tea"]
    assert (await say(user, "DELETE", f"{MEMORIES}/{kept['id']}"))[1] is True
    # The admin's page has the switches.
    form = (await say(admin, "GET", "/api/v1/auths/admin/config"))[1]
    assert (form["ENABLE_MEMORIES"], form["ENABLE_MEMORY_SYSTEM_CONTEXT"]) == (False, True)
    given = form | {"ENABLE_MEMORIES": True, "ENABLE_MEMORY_SYSTEM_CONTEXT": False}
    assert (await say(admin, "POST", "/api/v1/auths/admin/config", given))[1]["ENABLE_MEMORIES"] is True
    assert (await user.client.get("/api/config")).json()["features"]["enable_memories"] is True
    assert live.app.state.oui.config["memories.system_context.enable"] is False
    await add(user, "Likes tea")


@BOTH
async def test_they_go_with_the_account(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await add(user, "Likes tea")
    await add(other, "Likes tea")
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    async with live.app.state.oui.database.read() as connection:
        left = list(await connection.scalars(sa.select(tables.memory.c.user_id)))
    assert left == [other.id]
    assert [await count(live, table) for table in (tables.document, tables.chunk)] == [1, 1]


async def test_a_list_costs_few_statements(user: Actor) -> None:
    """The same for many as for one."""

    async def cost() -> int:
        seen = 0

        def note(*_: Any) -> None:
            nonlocal seen
            seen += 1

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            await texts(user)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        return seen

    await add(user, "one")
    await texts(user)
    few = await cost()
    for n in range(20):
        await add(user, f"more {n}")
    assert await cost() == few <= 5
