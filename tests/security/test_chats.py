"""R2 to R6 over chats and folders: nobody gets at somebody else's things, through no door, and grants open what they say."""

import itertools
from typing import Any

import httpx
import pytest

from tests.support.live import Actor, Live

_numbers = itertools.count(1)
CHATS = "/api/v1/chats"
FOLDERS = "/api/v1/folders"
DOCUMENT = {
    "title": "Private title",
    "params": {"system": "hidden prompt"},
    "history": {
        "messages": {
            "m1": {"id": "m1", "parentId": None, "childrenIds": ["m2"], "role": "user", "content": "canary question"},
            "m2": {"id": "m2", "parentId": "m1", "childrenIds": [], "role": "assistant", "content": "canary answer"},
        },
        "currentId": "m2",
    },
}
GRANT = {"principal_type": "user", "permission": "read"}
# Every operation on one chat: method, path behind the chat's id, body.
ON_A_CHAT: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("POST", "", {"chat": {"title": "taken"}}),
    ("POST", "", {"chat": {"history": {"messages": {}}}}),
    ("DELETE", "", None),
    ("PATCH", "/params", {"x": 1}),
    ("POST", "/messages/m1", {"content": "taken"}),
    ("POST", "/messages/new", {"content": "taken"}),
    ("DELETE", "/messages/m1", None),
    ("POST", "/messages/m1/event", {"type": "message", "data": {"content": "taken"}}),
    ("POST", "/messages/m1/resolve", {"call_id": "c", "action": "approve"}),
    ("GET", "/pinned", None),
    ("POST", "/pin", None),
    ("POST", "/archive", None),
    ("POST", "/clone", {}),
    ("POST", "/clone/shared", None),
    ("POST", "/fork", {}),
    ("POST", "/fork", {"message_id": "m1"}),
    ("POST", "/compact", {}),
    ("POST", "/share", {}),
    ("POST", "/share", {"share_mode": "continue"}),
    ("DELETE", "/share", None),
    ("POST", "/unread", None),
    ("POST", "/folder", {"folder_id": None}),
    ("GET", "/tags", None),
    ("POST", "/tags", {"name": "taken"}),
    ("DELETE", "/tags", {"name": "mine"}),
]
ON_A_FOLDER: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/update", {"name": "taken"}),
    ("POST", "/update/parent", {"parent_id": None}),
    ("POST", "/update/expanded", {"is_expanded": True}),
    ("POST", "/access/update", {"access_grants": []}),
    ("POST", "/read", None),
    ("GET", "/shared/chats", None),
]


async def ask(actor: Actor | httpx.AsyncClient, method: str, path: str, body: Any = None) -> httpx.Response:
    client = actor if isinstance(actor, httpx.AsyncClient) else actor.client
    return await client.request(method, path, **({} if body is None else {"json": body}))


async def ok(actor: Actor | httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    reply = await ask(actor, method, path, body)
    assert reply.status_code == 200, (method, path, reply.status_code, reply.text[:300])
    return reply.json()


async def make(actor: Actor) -> tuple[str, str]:
    """A chat with a tag in a folder."""
    folder = (
        await ok(
            actor, "POST", f"{FOLDERS}/", {"name": f"Mine {next(_numbers)}", "data": {"system_prompt": "folder canary"}}
        )
    )["id"]
    chat = (await ok(actor, "POST", f"{CHATS}/new", {"chat": DOCUMENT, "folder_id": folder}))["id"]
    await ok(actor, "POST", f"{CHATS}/{chat}/tags", {"name": "mine"})
    return chat, folder


async def snapshot(actor: Actor, chat: str, folder: str) -> Any:
    document = await ok(actor, "GET", f"{CHATS}/{chat}")
    return document, await ok(actor, "GET", f"{FOLDERS}/{folder}"), await ok(actor, "GET", f"{CHATS}/all/tags")


async def test_a_stranger_gets_nothing_through_any_door(user: Actor, other: Actor, client: httpx.AsyncClient) -> None:
    chat, folder = await make(user)
    before = await snapshot(user, chat, folder)
    doors = [(m, f"{CHATS}/{chat}{p}", b) for m, p, b in ON_A_CHAT]
    doors += [(m, f"{FOLDERS}/{folder}{p}", b) for m, p, b in ON_A_FOLDER]
    doors += [
        ("GET", f"{CHATS}/shared/{chat}/access", None),
        ("POST", f"{CHATS}/shared/{chat}/access/update", {"access_grants": [GRANT | {"principal_id": other.id}]}),
        ("GET", f"{CHATS}/stats/export/{chat}", None),
        ("GET", f"{CHATS}/share/{chat}", None),
        ("GET", f"{CHATS}/list/user/{user.id}", None),
        ("GET", f"{CHATS}/all/db", None),
        ("POST", f"{CHATS}/new", {"chat": {}, "folder_id": folder}),
        ("POST", f"{FOLDERS}/", {"name": "x", "parent_id": folder}),
    ]
    for method, path, body in doors:
        reply = await ask(other, method, path, body)
        assert reply.status_code in {401, 403, 404}, (method, path, reply.status_code)
        assert "canary" not in reply.text
        reply = await ask(client, method, path, body)
        assert reply.status_code == 401, (method, path, reply.status_code)
    assert await snapshot(user, chat, folder) == before


async def test_a_stranger_sees_nothing_in_lists(user: Actor, other: Actor) -> None:
    chat, folder = await make(user)
    for path in (
        "/", "/list", "/pinned", "/archived", "/all/tags", "/all/archived", "/shared", f"/folder/{folder}",
        f"/folder/{folder}/list", "/search?text=canary", "/search?text=Private", "/search?text=tag:mine",
    ):  # fmt: skip
        assert await ok(other, "GET", f"{CHATS}{path}") == [], path
    assert (await ask(other, "GET", f"{CHATS}/all")).text == ""
    assert (await ok(other, "GET", f"{CHATS}/stats/usage"))["items"] == []
    assert (await ok(other, "GET", "/api/v1/search?q=canary"))["items"] == []
    assert await ok(other, "GET", f"{FOLDERS}/") == []
    assert await ok(other, "GET", f"{FOLDERS}/shared") == []
    assert await ok(other, "POST", f"{CHATS}/tags", {"name": "mine"}) == []
    for method, path in (
        ("DELETE", f"{CHATS}/"), ("POST", f"{CHATS}/archive/all"), ("POST", f"{CHATS}/read"),
        ("DELETE", f"{CHATS}/share/all"),
    ):  # fmt: skip
        await ok(other, method, path)
    assert [row["id"] for row in await ok(user, "GET", f"{CHATS}/?include_folders=true")] == [chat]


async def test_ids_of_others_in_bodies_are_refused(user: Actor, other: Actor) -> None:
    _, folder = await make(user)
    mine, mine_folder = await make(other)
    for method, path, body in (
        ("POST", f"{CHATS}/{mine}/folder", {"folder_id": folder}),
        ("POST", f"{CHATS}/{mine}", {"chat": {}, "folder_id": folder}),
        ("POST", f"{FOLDERS}/{mine_folder}/update/parent", {"parent_id": folder}),
    ):
        assert (await ask(other, method, path, body)).status_code == 404, path
    [imported] = await ok(other, "POST", f"{CHATS}/import", {"chats": [{"chat": DOCUMENT, "folder_id": folder}]})
    assert imported["folder_id"] is None
    # R4, R5: a message of another chat is not this chat's; the owner is not the client's to name.
    third, _ = await make(user)
    assert (await ask(other, "DELETE", f"{CHATS}/{third}/messages/m1")).status_code == 401
    made = await ok(other, "POST", f"{CHATS}/new", {"chat": DOCUMENT, "user_id": user.id, "id": third})
    assert made["user_id"] == other.id
    assert made["id"] != third
    assert (await ask(other, "POST", f"{FOLDERS}/", {"name": "y", "user_id": user.id})).status_code == 422


async def test_pending_accounts_get_nothing(user: Actor, pending: Actor) -> None:
    chat, folder = await make(user)
    for path in (f"{CHATS}/", f"{CHATS}/{chat}", f"{FOLDERS}/", f"{FOLDERS}/{folder}", "/api/v1/search"):
        assert (await ask(pending, "GET", path)).status_code == 401


async def test_an_admin_reads_what_the_server_lets_admins_read(user: Actor, admin: Actor, live: Live) -> None:
    chat, _ = await make(user)
    document = await ok(admin, "GET", f"{CHATS}/{chat}")
    assert document["chat"]["share_mode"] is None
    assert "params" not in document["chat"]
    assert (await ask(admin, "POST", f"{CHATS}/{chat}", {"chat": {"title": "x"}})).status_code == 401
    assert [d["id"] for d in await ok(admin, "GET", f"{CHATS}/all/db")] == [chat]
    assert [row["id"] for row in await ok(admin, "GET", f"{CHATS}/list/user/{user.id}")] == [chat]
    state = live.app.state.oui
    state.settings = state.settings.model_copy(update={"enable_admin_chat_access": False})
    for path in (f"/{chat}", "/all/db", f"/list/user/{user.id}"):
        assert (await ask(admin, "GET", f"{CHATS}{path}")).status_code == 401, path
    assert (await ask(admin, "DELETE", f"{CHATS}/{chat}")).status_code == 404


async def permit(live: Live, **changes: bool) -> None:
    state = live.app.state.oui
    tree: dict[str, Any] = {section: dict(entries) for section, entries in state.config["user.permissions"].items()}
    for path, granted in changes.items():
        section, name = path.split("__")
        tree[section][name] = granted
    await state.save_config({"user.permissions": tree})


async def test_a_snapshot_is_shown_to_whom_it_was_shared_with(
    user: Actor, other: Actor, client: httpx.AsyncClient
) -> None:
    chat, _ = await make(user)
    share = (await ok(user, "POST", f"{CHATS}/{chat}/share", {}))["share_id"]
    [row] = await ok(user, "GET", f"{CHATS}/shared")
    assert (row["chat_id"], row["share_id"]) == (chat, share)
    path = f"{CHATS}/share/{share}"
    assert (await ok(user, "GET", path))["chat"]["history"]["messages"]["m1"]["content"] == "canary question"
    assert (await ask(other, "GET", path)).status_code == 401
    assert (await ask(client, "GET", path)).status_code == 401
    access = f"{CHATS}/shared/{chat}/access"
    await ok(user, "POST", f"{access}/update", {"access_grants": [GRANT | {"principal_id": other.id}]})
    [grant] = await ok(user, "GET", access)
    assert grant["principal_id"] == other.id
    # It shows what was shared, not what came after; and not the owner's parameters.
    await ok(user, "POST", f"{CHATS}/{chat}/messages/m1", {"content": "later secret"})
    shown = await ok(other, "GET", path)
    assert shown["chat"]["history"]["messages"]["m1"]["content"] == "canary question"
    assert "params" not in shown["chat"]
    assert shown["chat"]["share_mode"] is None
    assert (await ask(other, "GET", f"{CHATS}/{chat}")).status_code == 401
    assert (await ask(client, "GET", path)).status_code == 401
    copy = await ok(other, "POST", f"{CHATS}/{share}/clone/shared")
    assert copy["user_id"] == other.id
    assert copy["title"] == "Clone of Private title"
    assert copy["chat"]["history"]["messages"]["m2"]["content"] == "canary answer"
    assert "hidden prompt" not in str(copy)
    assert await ok(user, "DELETE", f"{CHATS}/{chat}/share") is True
    assert (await ask(other, "GET", path)).status_code == 401
    assert (await ask(user, "GET", path)).status_code == 401
    assert await ok(user, "GET", access) == []


async def test_a_live_share_is_read_or_written_as_granted(user: Actor, other: Actor) -> None:
    chat, _ = await make(user)
    await ok(user, "POST", f"{CHATS}/{chat}/share", {"share_mode": "continue"})
    assert (await ask(other, "GET", f"{CHATS}/{chat}")).status_code == 401
    grants = f"{CHATS}/shared/{chat}/access/update"
    await ok(user, "POST", grants, {"access_grants": [GRANT | {"principal_id": other.id}]})
    document = await ok(other, "GET", f"{CHATS}/{chat}")
    assert document["chat"]["share_mode"] is None
    assert "params" not in document["chat"]
    assert (await ask(other, "POST", f"{CHATS}/{chat}/messages/g", {"content": "x"})).status_code == 401
    assert (await ask(other, "POST", f"{CHATS}/{chat}", {"chat": {"title": "x"}})).status_code == 401
    write = GRANT | {"principal_id": other.id, "permission": "write"}
    await ok(user, "POST", grants, {"access_grants": [write]})
    assert (await ok(other, "GET", f"{CHATS}/{chat}"))["chat"]["share_mode"] == "continue"
    await ok(other, "POST", f"{CHATS}/{chat}/messages/g", {"content": "from a guest"})
    guest = (await ok(user, "GET", f"{CHATS}/{chat}"))["chat"]["history"]["messages"]["g"]
    assert guest["user_id"] == other.id
    for method, path, body in (
        ("POST", "/messages/m1", {"content": "taken"}),
        ("DELETE", "/messages/m1", None),
        ("POST", "/messages/m1/event", {"type": "message", "data": {"content": "taken"}}),
        ("PATCH", "/params", {"system": "taken"}),
        ("POST", "/pin", None), ("POST", "/archive", None), ("POST", "/share", {}), ("DELETE", "/share", None),
        ("POST", "/tags", {"name": "x"}), ("POST", "/folder", {}), ("POST", "/unread", None), ("DELETE", "", None),
    ):  # fmt: skip
        assert (await ask(other, method, f"{CHATS}/{chat}{path}", body)).status_code in {401, 404}, path
    saved = await ok(
        other, "POST", f"{CHATS}/{chat}", {"chat": {"title": "taken", "params": {"x": 1}, "history": {"messages": {}}}}
    )
    assert saved["title"] == "Private title"
    assert set(saved["chat"]["history"]["messages"]) == {"m1", "m2"}
    assert (await ok(user, "GET", f"{CHATS}/{chat}"))["chat"]["params"] == {"system": "hidden prompt"}
    assert await ok(other, "GET", f"{CHATS}/search?text=canary") == []


async def test_sharing_with_more_people_needs_the_permission(
    user: Actor, admin: Actor, client: httpx.AsyncClient
) -> None:
    chat, _ = await make(user)
    share = (await ok(user, "POST", f"{CHATS}/{chat}/share", {}))["share_id"]
    grants = f"{CHATS}/shared/{chat}/access/update"
    everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    anyone = {"principal_type": "anyone", "principal_id": "*", "permission": "read"}
    for grant in (everybody, anyone):
        assert (await ask(user, "POST", grants, {"access_grants": [grant]})).status_code == 403
    assert await ok(user, "GET", f"{CHATS}/shared/{chat}/access") == []
    chat, _ = await make(admin)
    share = (await ok(admin, "POST", f"{CHATS}/{chat}/share", {}))["share_id"]
    grants = f"{CHATS}/shared/{chat}/access/update"
    await ok(admin, "POST", grants, {"access_grants": [everybody]})
    assert (await ok(user, "GET", f"{CHATS}/share/{share}"))["id"] == share
    assert (await ask(client, "GET", f"{CHATS}/share/{share}")).status_code == 401
    await ok(admin, "POST", grants, {"access_grants": [anyone]})
    shown = await ok(client, "GET", f"{CHATS}/share/{share}")
    assert shown["chat"]["history"]["messages"]["m1"]["content"] == "canary question"
    assert "hidden prompt" not in str(shown)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "grant",
    [
        {}, {"principal_type": "user"}, GRANT, GRANT | {"principal_id": 1}, GRANT | {"principal_id": "x" * 256},
        GRANT | {"principal_id": "a", "permission": "own"}, {"principal_type": "all", "principal_id": "*", "permission": "read"},
        {"principal_type": "anyone", "principal_id": "*", "permission": "write"},
        {"principal_type": "group", "principal_id": "*", "permission": "read"}, GRANT | {"principal_id": "a\x00"},
    ],
)  # fmt: skip
async def test_what_is_no_grant_is_refused(user: Actor, grant: Any) -> None:
    chat, _ = await make(user)
    reply = await ask(user, "POST", f"{CHATS}/shared/{chat}/access/update", {"access_grants": [grant]})
    assert reply.status_code == 400, reply.text


@pytest.mark.parametrize(
    ("permission", "method", "path", "body"),
    [
        ("chat.delete", "DELETE", f"{CHATS}/CHAT", None),
        ("chat.delete", "DELETE", f"{CHATS}/", None),
        ("chat.delete", "DELETE", f"{FOLDERS}/FOLDER", None),
        ("chat.delete_message", "DELETE", f"{CHATS}/CHAT/messages/m1", None),
        ("chat.share", "POST", f"{CHATS}/CHAT/share", {}),
        ("chat.share", "POST", f"{CHATS}/shared/CHAT/access/update", {"access_grants": []}),
        ("chat.import", "POST", f"{CHATS}/import", {"chats": []}),
        ("features.folders", "POST", f"{FOLDERS}/", {"name": "New"}),
        ("features.folders", "POST", f"{FOLDERS}/FOLDER/update", {"name": "New"}),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_permissions_hold_where_the_thing_happens(
    user: Actor, live: Live, permission: str, method: str, path: str, body: Any
) -> None:
    chat, folder = await make(user)
    await permit(live, **{permission.replace(".", "__"): False})
    reply = await ask(user, method, path.replace("CHAT", chat).replace("FOLDER", folder), body)
    assert reply.status_code in {401, 403}, reply.text
    assert (await ok(user, "GET", f"{CHATS}/{chat}"))["folder_id"] == folder


async def test_a_shared_folder_opens_its_chats_as_granted(user: Actor, other: Actor, live: Live) -> None:
    chat, folder = await make(user)
    grant = GRANT | {"principal_id": other.id}
    refused = await ask(user, "POST", f"{FOLDERS}/{folder}/access/update", {"access_grants": [grant]})
    assert refused.status_code == 403
    await permit(live, sharing__folders=True)
    shared = await ok(user, "POST", f"{FOLDERS}/{folder}/access/update", {"access_grants": [grant]})
    assert shared["access_grants"][0]["principal_id"] == other.id
    [seen] = await ok(other, "GET", f"{FOLDERS}/shared")
    assert (seen["id"], seen["permission"]) == (folder, "read")
    listed = await ok(other, "GET", f"{FOLDERS}/{folder}/shared/chats?page=1")
    assert [(c["id"], c["readonly"]) for c in listed["chats"]] == [(chat, True)]
    assert listed["folder_permission"] == "read"
    assert (await ok(other, "GET", f"{CHATS}/{chat}"))["chat"]["share_mode"] is None
    assert "folder canary" not in str(await ok(other, "GET", f"{FOLDERS}/{folder}"))
    assert (await ask(other, "POST", f"{CHATS}/{chat}/messages/x", {"content": "y"})).status_code == 401
    assert (await ask(other, "POST", f"{CHATS}/new", {"chat": {}, "folder_id": folder})).status_code == 404
    await ok(user, "POST", f"{FOLDERS}/{folder}/access/update", {"access_grants": []})
    assert (await ask(other, "GET", f"{CHATS}/{chat}")).status_code == 401
