"""Folders: a tree with names, moved, renamed and removed with or without what is in it."""

from typing import Any

import pytest

from tests.support.live import Actor

FOLDERS = "/api/v1/folders"
CHATS = "/api/v1/chats"
FULL = {
    "id", "parent_id", "user_id", "name", "items", "meta", "data", "is_expanded", "created_at", "updated_at",
}  # fmt: skip
ROW = {"id", "name", "meta", "parent_id", "is_expanded", "unread_count", "created_at", "updated_at"}


async def call(actor: Actor, method: str, path: str, status: int = 200, body: Any = None) -> Any:
    reply = await actor.client.request(method, FOLDERS + path, **({} if body is None else {"json": body}))
    assert reply.status_code == status, (method, path, reply.status_code, reply.text[:300])
    return reply.json()


async def create(actor: Actor, name: str, **more: Any) -> str:
    folder: str = (await call(actor, "POST", "/", body={"name": name} | more))["id"]
    return folder


async def chat_in(actor: Actor, folder: str) -> str:
    reply = await actor.client.post(f"{CHATS}/new", json={"chat": {"title": "c"}, "folder_id": folder})
    chat: str = reply.json()["id"]
    return chat


async def test_a_folder_as_the_contract_has_it(user: Actor) -> None:
    made = await call(user, "POST", "/", body={"name": " Work "})
    assert set(made) == FULL
    assert {k: made[k] for k in ("name", "parent_id", "items", "meta", "data", "is_expanded")} == {
        "name": "Work", "parent_id": None, "items": None, "meta": None, "data": None, "is_expanded": False,
    }  # fmt: skip
    child = await create(user, "Sub", parent_id=made["id"], data={"system_prompt": "be brief"}, meta={"icon": "x"})
    rows = await call(user, "GET", "/")
    assert [set(row) for row in rows] == [ROW, ROW]
    assert [(row["name"], row["parent_id"], row["unread_count"]) for row in sorted(rows, key=lambda r: r["name"])] == [
        ("Sub", made["id"], 0), ("Work", None, 0),
    ]  # fmt: skip
    assert await call(user, "GET", f"/{made['id']}") == made | {"access_grants": [], "write_access": True}
    updated = await call(user, "POST", f"/{child}/update", body={"name": "Sub2", "data": {"files": []}})
    assert (updated["name"], updated["data"], updated["meta"]) == (
        "Sub2", {"system_prompt": "be brief", "files": []}, {"icon": "x"},
    )  # fmt: skip
    assert (await call(user, "POST", f"/{child}/update/expanded", body={"is_expanded": True}))["is_expanded"] is True
    assert (await call(user, "POST", f"/{child}/update/parent", body={"parent_id": None}))["parent_id"] is None
    assert await call(user, "GET", "/shared") == []


async def test_the_chats_of_a_folder_with_their_people(user: Actor) -> None:
    folder = await create(user, "Work")
    empty = await call(user, "GET", f"/{folder}/shared/chats?page=1&sort_by=updated_at&sort_dir=desc")
    assert empty == {"chats": [], "folder_permission": "write", "total": 0, "has_more": False}
    chat = await chat_in(user, folder)
    listed = await call(user, "GET", f"/{folder}/shared/chats")
    [row] = listed["chats"]
    assert set(row) == {
        "id", "title", "user_id", "updated_at", "created_at", "last_read_at", "owner_name", "participants", "active",
        "readonly",
    }  # fmt: skip
    assert (row["id"], row["owner_name"], row["readonly"]) == (chat, user.name, False)
    assert row["participants"] == [{"id": user.id, "name": user.name}]


async def test_names_are_unique_in_a_place(user: Actor, other: Actor) -> None:
    work = await create(user, "Work")
    await call(user, "POST", "/", 400, {"name": "work"})
    inner = await create(user, "Work", parent_id=work)
    await create(other, "Work")
    await call(user, "POST", f"/{inner}/update/parent", 400, {"parent_id": None})
    play = await create(user, "Play")
    await call(user, "POST", f"/{play}/update", 400, {"name": "WORK"})
    await call(user, "POST", f"/{play}/update", body={"name": "PLAY"})


async def test_a_folder_never_lies_in_itself(user: Actor) -> None:
    a = await create(user, "a")
    b = await create(user, "b", parent_id=a)
    c = await create(user, "c", parent_id=b)
    for parent in (a, b, c):
        await call(user, "POST", f"/{a}/update/parent", 400, {"parent_id": parent})
    assert {row["name"]: row["parent_id"] for row in await call(user, "GET", "/")} == {"a": None, "b": a, "c": b}


@pytest.mark.parametrize("delete_contents", [True, False])
async def test_deleting_with_or_without_contents(user: Actor, delete_contents: bool) -> None:
    a = await create(user, "a")
    b = await create(user, "b", parent_id=a)
    chats = {await chat_in(user, a), await chat_in(user, b)}
    assert await call(user, "DELETE", f"/{a}?delete_contents={str(delete_contents).lower()}") is True
    assert await call(user, "GET", "/") == []
    rows = (await user.client.get(f"{CHATS}/?page=1")).json()
    assert {row["id"] for row in rows} == (set() if delete_contents else chats)
    await call(user, "DELETE", f"/{a}", 404)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/", {}, 422),
        ("/", {"name": ""}, 422),
        ("/", {"name": "  "}, 400),
        ("/", {"name": "x" * 201}, 422),
        ("/", {"name": "x", "user_id": "y"}, 422),
        ("/", {"name": "x", "parent_id": "nope"}, 404),
        ("/", {"name": "x", "data": {"big": "x" * 200_001}}, 422),
        ("/nope/update", {}, 404),
        ("/nope/update", {"parent_id": "x"}, 422),
        ("/nope/update/parent", {}, 404),
        ("/nope/update/expanded", {}, 422),
        ("/nope/access/update", {}, 422),
        ("/nope/read", None, 404),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_input_is_refused(user: Actor, path: str, body: Any, status: int) -> None:
    await call(user, "POST", path, status, body)
    assert await call(user, "GET", "/") == []
