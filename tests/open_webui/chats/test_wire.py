"""Every operation on chats, folders and search, one after the other, and the shape of what it answers."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.live import Actor

CHATS = "/api/v1/chats"
FULL = {
    "id", "user_id", "title", "chat", "updated_at", "created_at", "share_id", "archived", "pinned", "meta",
    "variables", "folder_id", "tasks", "summary", "current_message_id", "context_usage",
}  # fmt: skip
ROW = {"id", "title", "updated_at", "created_at", "last_read_at", "snippet", "active", "archived"}


def sample(title: str = "Sample chat", text: str = "What is a quokka?", answer: str = "A small marsupial.") -> Any:
    return {
        "title": title,
        "models": ["echo"],
        "params": {},
        "history": {
            "currentId": "a1",
            "messages": {
                "u1": {
                    "id": "u1",
                    "parentId": None,
                    "childrenIds": ["a1"],
                    "role": "user",
                    "content": text,
                    "timestamp": 1700000000,
                    "models": ["echo"],
                },
                "a1": {
                    "id": "a1",
                    "parentId": "u1",
                    "childrenIds": [],
                    "role": "assistant",
                    "content": answer,
                    "done": True,
                    "model": "echo",
                    "modelName": "echo",
                    "modelIdx": 0,
                    "timestamp": 1700000001,
                },
            },
        },
        "messages": [],
        "tags": [],
        "timestamp": 1700000000000,
        "files": [],
    }


async def call(actor: Actor, method: str, path: str, status: int = 200, **more: Any) -> Any:
    reply: httpx.Response = await actor.client.request(method, path, **more)
    assert reply.status_code == status, (method, path, reply.status_code, reply.text[:500])
    return reply.json() if reply.headers["content-type"] == "application/json" else reply.text


async def new(actor: Actor, **more: Any) -> Any:
    return await call(actor, "POST", f"{CHATS}/new", json={"chat": sample(**more)})


async def test_a_new_chat_is_answered_and_read_as_the_contract_has_it(user: Actor) -> None:
    chat = await new(user)
    expected = sample()
    expected["history"]["messages"]["u1"] |= {"user_id": user.id, "user": {"id": user.id, "name": user.name}}
    expected["history"]["messages"]["a1"] |= {"user_id": user.id}
    assert set(chat) == FULL
    assert chat["chat"] == expected
    assert chat["user_id"] == user.id
    assert chat["title"] == "Sample chat"
    assert chat["current_message_id"] == "a1"
    assert chat["meta"] == {}
    assert chat["variables"] == {}
    read = await call(user, "GET", f"{CHATS}/{chat['id']}")
    assert read["chat"] == {**expected, "share_mode": "continue"}
    assert {k: v for k, v in read.items() if k != "chat"} == {k: v for k, v in chat.items() if k != "chat"}


async def test_lists_show_rows_and_leave_out_pinned_and_foldered_chats(user: Actor) -> None:
    first, second, third = [await new(user, title=f"Chat {k}") for k in range(3)]
    await call(user, "POST", f"{CHATS}/{first['id']}/pin")
    folder = await call(user, "POST", "/api/v1/folders/", json={"name": "Work"})
    await call(user, "POST", f"{CHATS}/{second['id']}/folder", json={"folder_id": folder["id"]})
    rows = await call(user, "GET", f"{CHATS}/?page=1")
    assert [row["id"] for row in rows] == [third["id"]]
    assert set(rows[0]) == ROW
    assert rows[0]["active"] is False
    assert await call(user, "GET", f"{CHATS}/?page=2") == []
    everything = await call(
        user, "GET", f"{CHATS}/list?include_pinned=true&include_folders=true&sort_by=title&sort_dir=asc"
    )
    assert [row["title"] for row in everything] == ["Chat 0", "Chat 1", "Chat 2"]
    assert [row["id"] for row in await call(user, "GET", f"{CHATS}/pinned")] == [first["id"]]
    listed = await call(user, "GET", f"{CHATS}/folder/{folder['id']}/list?page=1")
    assert [row["id"] for row in listed] == [second["id"]]
    documents = await call(user, "GET", f"{CHATS}/folder/{folder['id']}")
    assert [set(d) for d in documents] == [FULL]
    assert await call(user, "GET", f"{CHATS}/{first['id']}/pinned") is True
    assert (await call(user, "POST", f"{CHATS}/{first['id']}/pin"))["pinned"] is False


async def test_pages_hold_sixty(user: Actor) -> None:
    chats = [{"chat": sample(title=f"n{k}"), "updated_at": 1000 + k} for k in range(130)]
    await call(user, "POST", f"{CHATS}/import", json={"chats": chats})
    pages = [await call(user, "GET", f"{CHATS}/?page={page}") for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [60, 60, 10, 0]
    assert [row["title"] for page in pages for row in page] == [f"n{k}" for k in reversed(range(130))]
    assert len(await call(user, "GET", f"{CHATS}/")) == 130


async def test_renaming_keeps_all_else(user: Actor) -> None:
    chat = await new(user)
    renamed = await call(user, "POST", f"{CHATS}/{chat['id']}", json={"chat": {"title": "Renamed"}})
    assert renamed["title"] == renamed["chat"]["title"] == "Renamed"
    assert renamed["chat"]["history"] == chat["chat"]["history"]
    assert renamed["chat"]["models"] == ["echo"]


async def test_params_are_merged(user: Actor) -> None:
    chat = await new(user)
    path = f"{CHATS}/{chat['id']}/params"
    assert await call(user, "PATCH", path, json={"temperature": 0.5}) == {"temperature": 0.5}
    assert await call(user, "PATCH", path, json={"top_p": 1, "temperature": None}) == {"top_p": 1}
    assert (await call(user, "GET", f"{CHATS}/{chat['id']}"))["chat"]["params"] == {"top_p": 1}


async def test_messages_are_edited_made_and_removed(user: Actor) -> None:
    chat = await new(user)
    base = f"{CHATS}/{chat['id']}/messages"
    edited = await call(user, "POST", f"{base}/a1", json={"content": "Edited."})
    assert edited["chat"]["history"]["messages"]["a1"]["content"] == "Edited."
    assert edited["chat"]["history"]["messages"]["a1"]["modelName"] == "echo"
    made = await call(user, "POST", f"{base}/zz", json={"content": "x"})
    assert made["chat"]["history"]["currentId"] == "zz"
    assert made["chat"]["history"]["messages"]["zz"]["parentId"] is None
    event = {"type": "status", "data": {"description": "x", "done": True}}
    assert await call(user, "POST", f"{base}/a1/event", json=event) is True
    shown = await call(user, "GET", f"{CHATS}/{chat['id']}")
    assert shown["chat"]["history"]["messages"]["a1"]["statusHistory"] == [event["data"]]
    left = await call(user, "DELETE", f"{base}/a1")
    assert set(left["chat"]["history"]["messages"]) == {"u1", "zz"}
    assert left["chat"]["history"]["currentId"] == "u1"
    assert left["chat"]["history"]["messages"]["u1"]["childrenIds"] == []
    await call(user, "POST", f"{base}/u1/resolve", 404, json={"call_id": "c", "action": "approve"})


async def test_tags(user: Actor) -> None:
    chat = await new(user)
    path = f"{CHATS}/{chat['id']}/tags"
    tag = {"id": "my_science", "name": "My Science", "user_id": user.id, "meta": None}
    assert await call(user, "GET", path) == []
    assert await call(user, "POST", path, json={"name": "My Science"}) == [tag]
    assert await call(user, "POST", path, json={"name": "My Science"}) == [tag]
    assert await call(user, "GET", f"{CHATS}/all/tags") == [tag]
    assert (await call(user, "GET", f"{CHATS}/{chat['id']}"))["meta"] == {"tags": ["my_science"]}
    rows = await call(user, "POST", f"{CHATS}/tags", json={"name": "My Science"})
    assert [row["id"] for row in rows] == [chat["id"]]
    await call(user, "POST", path, 400, json={"name": "none"})
    assert await call(user, "DELETE", path, json={"name": "My Science"}) == []
    assert await call(user, "GET", f"{CHATS}/all/tags") == []


async def test_a_clone_and_a_fork_stand_alone(user: Actor) -> None:
    chat = await new(user)
    await call(user, "POST", f"{CHATS}/{chat['id']}/messages/zz", json={"content": "x"})
    copy = await call(user, "POST", f"{CHATS}/{chat['id']}/clone", json={"title": "Copy of sample"})
    assert copy["title"] == "Copy of sample"
    assert copy["chat"]["originalChatId"] == chat["id"]
    assert copy["chat"]["branchPointMessageId"] == "zz"
    assert list(copy["chat"]["history"]["messages"]) == ["u1", "a1", "zz"]
    branch = await call(user, "POST", f"{CHATS}/{chat['id']}/fork", json={"message_id": "a1"})
    assert branch["title"] == "Sample chat (fork)"
    assert list(branch["chat"]["history"]["messages"]) == ["u1", "a1"]
    assert branch["meta"] == {"forked_from": chat["id"], "forked_from_message_id": "a1"}
    await call(user, "DELETE", f"{CHATS}/{chat['id']}")
    # A copy goes on from where its source was, and both are searched.
    await call(user, "POST", f"{CHATS}/{copy['id']}/messages/more", json={"content": "platypus"})
    found = await call(user, "GET", f"{CHATS}/search?text=quokka")
    assert {row["id"] for row in found} == {copy["id"], branch["id"]}
    assert [r["id"] for r in await call(user, "GET", f"{CHATS}/search?text=platypus")] == [copy["id"]]


async def test_archive(user: Actor) -> None:
    chat, other = await new(user), await new(user, title="Other")
    assert (await call(user, "POST", f"{CHATS}/{chat['id']}/archive"))["archived"] is True
    assert [r["id"] for r in await call(user, "GET", f"{CHATS}/?page=1")] == [other["id"]]
    assert [r["id"] for r in await call(user, "GET", f"{CHATS}/archived?page=1&query=samp")] == [chat["id"]]
    assert await call(user, "GET", f"{CHATS}/archived/count") == 1
    assert [d["id"] for d in await call(user, "GET", f"{CHATS}/all/archived")] == [chat["id"]]
    assert await call(user, "POST", f"{CHATS}/archive/all") is True
    assert await call(user, "GET", f"{CHATS}/?page=1") == []
    assert await call(user, "POST", f"{CHATS}/unarchive/all") is True
    assert len(await call(user, "GET", f"{CHATS}/?page=1")) == 2


async def test_read_and_unread(user: Actor) -> None:
    chat = await new(user)
    folder = await call(user, "POST", "/api/v1/folders/", json={"name": "Work"})
    await call(user, "POST", f"{CHATS}/{chat['id']}/folder", json={"folder_id": folder["id"]})
    unread = await call(user, "POST", f"{CHATS}/{chat['id']}/unread")
    counts = {folder["id"]: 1}
    assert unread == {
        "chat_id": chat["id"], "last_read_at": 0, "folder_id": folder["id"], "folder_unread_counts": counts,
    }  # fmt: skip
    assert (await call(user, "GET", "/api/v1/folders/"))[0]["unread_count"] == 1
    read = await call(user, "POST", f"/api/v1/folders/{folder['id']}/read")
    assert read == {
        "folder_id": folder["id"], "folder_ids": [folder["id"]], "updated_count": 1,
        "folder_unread_counts": {folder["id"]: 0},
    }  # fmt: skip
    await call(user, "POST", f"{CHATS}/{chat['id']}/unread")
    assert (await call(user, "POST", f"{CHATS}/read"))["updated_count"] == 1


async def test_export_and_import_are_a_round_trip(user: Actor, other: Actor) -> None:
    await new(user)
    second = await new(user, title="Zwei ☃")
    await call(user, "POST", f"{CHATS}/{second['id']}/tags", json={"name": "Deep Sea"})
    await call(user, "POST", f"{CHATS}/{second['id']}/pin")
    lines = [json.loads(line) for line in (await call(user, "GET", f"{CHATS}/all")).splitlines()]
    assert [line["title"] for line in lines] == ["Zwei ☃", "Sample chat"]
    imported = await call(other, "POST", f"{CHATS}/import", json={"chats": lines})
    assert [set(d) for d in imported] == [FULL, FULL]
    for before, after in zip(lines, imported, strict=True):
        assert after["id"] != before["id"]
        assert after["user_id"] == other.id
        same = ("title", "created_at", "updated_at", "pinned", "archived", "meta", "current_message_id")
        assert [after[k] for k in same] == [before[k] for k in same]
        strip = {"user", "user_id"}
        kept = [
            {i: {k: v for k, v in m.items() if k not in strip} for i, m in d["chat"]["history"]["messages"].items()}
            for d in (before, after)
        ]
        assert kept[0] == kept[1]


async def test_an_import_with_a_bad_chat_stores_nothing_and_names_it(user: Actor) -> None:
    bad = sample() | {"title": "x" * 10_000}
    reply = await call(user, "POST", f"{CHATS}/import", 422, json={"chats": [{"chat": sample()}, {"chat": bad}]})
    assert reply["detail"][0]["loc"] == ["body", "chats", "1", "chat", "title"]
    bad = sample() | {"title": "Foxes", "history": {"messages": 7}}
    reply = await call(user, "POST", f"{CHATS}/import", 422, json={"chats": [{"chat": sample()}, {"chat": bad}]})
    assert reply["detail"][0]["loc"][:3] == ["body", "chats", "1"]
    assert "'Foxes'" in reply["detail"][0]["msg"]
    await call(user, "POST", f"{CHATS}/import", 400, json={"chats": [{"chat": sample(), "meta": _deep(150)}]})
    assert await call(user, "GET", f"{CHATS}/") == []


async def test_bad_messages_do_not_refuse_an_import(user: Actor) -> None:
    def message(**fields: Any) -> dict[str, Any]:
        return {"parentId": "q", "childrenIds": [], "role": "assistant", "content": "x", **fields}

    messages: dict[str, Any] = {
        "q": {"id": "q", "parentId": None, "childrenIds": ["a", None, 7], "role": "user", "content": "Hi"},
        "a": message(childrenIds="none", content=42, done="yes"),
        "b": message(parentId=7, role="", content={"text": "Hi"}),
        "c": message(role="x" * 100, content=None),
        "d": None,
        "e": ["no message"],
        "f": message(content=_deep(150)),
        "": message(),
        "x" * 500: message(),
    }
    chat = {"title": "Other", "history": {"messages": messages, "currentId": "a"}}
    [imported] = await call(user, "POST", f"{CHATS}/import", json={"chats": [{"chat": chat}]})
    kept = imported["chat"]["history"]["messages"]
    deep = msgspec.json.encode(_deep(150)).decode()
    assert {i: m["content"] for i, m in kept.items()} == {
        "q": "Hi",
        "a": "42",
        "b": '{"text":"Hi"}',
        "c": "",
        "f": deep,
    }
    assert kept["q"]["childrenIds"] == ["a", "c", "f"]
    assert kept["b"]["parentId"] is None
    listed = {"title": "Old", "messages": [None, {"role": "user", "content": 7}, "x", {"role": 5, "content": "b"}]}
    [imported] = await call(user, "POST", f"{CHATS}/import", json={"chats": [{"chat": listed}]})
    assert [m["content"] for m in imported["chat"]["history"]["messages"].values()] == ["7", "b"]


def _deep(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"x": value}
    return value


async def test_old_exports_with_a_plain_list_are_imported(user: Actor) -> None:
    chat = {"title": "Old", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    [imported] = await call(user, "POST", f"{CHATS}/import", json={"chats": [{"chat": chat}]})
    history = imported["chat"]["history"]
    assert [m["parentId"] for m in history["messages"].values()] == [None, "m0"]
    assert history["currentId"] == "m1"


async def test_figures(user: Actor) -> None:
    chat = await new(user, answer="12345678")
    usage = await call(user, "GET", f"{CHATS}/stats/usage")
    assert usage["total"] == 1
    expected = {
        "id": chat["id"], "models": {"echo": 1}, "message_count": 2, "history_models": {"echo": 1},
        "history_message_count": 2, "history_user_message_count": 1, "history_assistant_message_count": 1,
        "average_response_time": 1.0, "average_user_message_content_length": 17.0,
        "average_assistant_message_content_length": 8.0, "tags": [], "last_message_at": 1700000001,
        "updated_at": chat["updated_at"], "created_at": chat["created_at"],
    }  # fmt: skip
    assert usage["items"] == [expected]
    stats = await call(user, "GET", f"{CHATS}/stats/export?page=1")
    assert {k: stats[k] for k in ("type", "total", "page")} == {"type": "chats", "total": 1, "page": 1}
    assert stats["items"][0] == await call(user, "GET", f"{CHATS}/stats/export/{chat['id']}")
    lines = (await call(user, "GET", f"{CHATS}/stats/export?stream=true")).splitlines()
    assert [json.loads(line) for line in lines] == stats["items"]


async def test_compaction_is_off(user: Actor, admin: Actor) -> None:
    chat = await new(user)
    reply = await call(user, "POST", f"{CHATS}/{chat['id']}/compact", json={"model": "echo"})
    assert reply == {"ok": True, "compacted": False, "reason": "disabled", "context_usage": None}
    config = await call(admin, "GET", f"{CHATS}/config")
    assert await call(admin, "POST", f"{CHATS}/config", json=config) == config
    await call(admin, "POST", f"{CHATS}/config", 400, json=config | {"ENABLE_CONTEXT_COMPACTION": True})


async def test_deleting(user: Actor) -> None:
    chat, _ = await new(user), await new(user)
    assert await call(user, "DELETE", f"{CHATS}/{chat['id']}") is True
    await call(user, "DELETE", f"{CHATS}/{chat['id']}", 404)
    await call(user, "GET", f"{CHATS}/{chat['id']}", 401)
    assert await call(user, "DELETE", f"{CHATS}/") is True
    assert await call(user, "GET", f"{CHATS}/") == []


async def test_a_long_chat_is_streamed_whole(user: Actor) -> None:
    messages = {
        f"m{k}": {
            "id": f"m{k}",
            "parentId": f"m{k - 1}" if k else None,
            "childrenIds": [f"m{k + 1}"] if k < 1199 else [],
            "role": "user" if k % 2 == 0 else "assistant",
            "content": f"text {k} ☃",
            "timestamp": k,
            **({"done": True} if k % 2 else {}),
        }
        for k in range(1200)
    }
    document = sample() | {"history": {"messages": messages, "currentId": "m1199"}}
    chat = await call(user, "POST", f"{CHATS}/new", json={"chat": document})
    assert list(chat["chat"]["history"]["messages"]) == list(messages)
    stripped = {
        i: {k: v for k, v in m.items() if k not in {"user", "user_id"}}
        for i, m in chat["chat"]["history"]["messages"].items()
    }
    assert stripped == messages
    assert chat["chat"]["history"]["currentId"] == "m1199"
    assert set(chat) == FULL


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/new", {}, 422),
        ("POST", "/new", [], 422),
        ("POST", "/new", {"chat": 1}, 422),
        ("POST", "/new", {"chat": {"title": 5}}, 422),
        ("POST", "/new", {"chat": {"title": "x" * 2001}}, 422),
        ("POST", "/new", {"chat": {"history": []}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": [1]}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": 1}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"": {}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"x" * 256: {}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"parentId": 1}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"childrenIds": "b"}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"content": {"a": 1}}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"done": "yes"}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"role": 1}}}}}, 422),
        ("POST", "/new", {"chat": {"history": {"messages": {"a": {"x": _deep(80)}}}}}, 422),
        ("POST", "/new", {"chat": {"x": _deep(80)}}, 422),
        ("POST", "/new", {"chat": {}, "folder_id": "nope"}, 404),
        ("POST", "/new", {"chat": {}, "folder_id": 3}, 422),
        ("POST", "/new", {"chat": {}, "variables": []}, 422),
        ("POST", "/import", {}, 422),
        ("POST", "/import", {"chats": {}}, 422),
        ("POST", "/import", {"chats": [1]}, 422),
        ("POST", "/import", {"chats": [{"chat": {}, "created_at": 10**18}]}, 422),
        ("POST", "/import", {"chats": [{"chat": {}, "pinned": "x"}]}, 422),
        ("POST", "/nope", {"chat": {}}, 401),
        ("POST", "/tags", {}, 422),
        ("POST", "/nope/tags", {}, 422),
        ("POST", "/nope/tags", {"name": "x"}, 401),
        ("POST", "/nope/share", {}, 401),
        ("POST", "/nope/pin", None, 401),
        ("POST", "/nope/archive", None, 401),
        ("POST", "/nope/clone", {}, 401),
        ("POST", "/nope/clone/shared", None, 401),
        ("POST", "/nope/fork", {}, 401),
        ("POST", "/nope/compact", {}, 401),
        ("POST", "/nope/folder", {}, 401),
        ("POST", "/nope/unread", None, 404),
        ("PATCH", "/nope/params", {}, 401),
        ("POST", "/nope/messages/x", {}, 401),
        ("DELETE", "/nope/messages/x", None, 401),
        ("POST", "/nope/messages/x/event", {}, 422),
        ("POST", "/nope/messages/x/resolve", {}, 422),
        ("DELETE", "/nope/share", None, 401),
        ("POST", "/shared/nope/access/update", {}, 422),
        ("GET", "/shared/nope/access", None, 404),
        ("GET", "/share/nope", None, 401),
        ("GET", "/stats/export/nope", None, 404),
        ("GET", "/nope", None, 401),
        ("DELETE", "/nope", None, 404),
        ("GET", "/search", None, 422),
        ("GET", "/?page=0", None, 422),
        ("GET", "/?page=99999999999999999999", None, 422),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_input_is_refused_and_stores_nothing(
    user: Actor, method: str, path: str, body: Any, status: int
) -> None:
    await call(user, method, CHATS + path, status, **({} if body is None else {"json": body}))
    assert await call(user, "GET", f"{CHATS}/") == []


async def test_a_missing_field_is_named_as_the_contract_does(user: Actor) -> None:
    reply = await call(user, "POST", f"{CHATS}/new", 422, json={})
    assert reply == {"detail": [{"type": "missing", "loc": ["body", "chat"], "msg": "Field required", "input": {}}]}


async def test_nul_characters_never_reach_the_database(user: Actor) -> None:
    document = sample(title="a\x00b", text="c\x00d")
    document["history"]["messages"]["a1"]["extra"] = {"k\x00": ["e\x00f"]}
    document["x\x00"] = "g\x00"
    chat = await call(user, "POST", f"{CHATS}/new", json={"chat": document})
    read = await call(user, "GET", f"{CHATS}/{chat['id']}")
    assert read["title"] == "ab"
    assert read["chat"]["history"]["messages"]["u1"]["content"] == "cd"
    assert read["chat"]["history"]["messages"]["a1"]["extra"] == {"k": ["ef"]}
    assert read["chat"]["x"] == "g"
