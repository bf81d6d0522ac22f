"""Channels over the API: kept and opened to people, with messages, threads, reactions and pins; and who may do none of it."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import channels as stored
from open_webui.models import tables
from open_webui.services.channels import channels, members, messages
from open_webui.services.channels.telling import OFF, READ_ONLY
from tests.open_webui.channels.conftest import EVERYBODY, channel, group, ok, say, texts, write
from tests.open_webui.plugins.test_tools import count, to
from tests.support.live import Actor, Live
from tests.support.pictures import data_url, png

FIELDS = [
    "id", "user_id", "type", "name", "description", "is_private", "data", "meta", "access_grants", "created_at", "updated_at",
    "updated_by", "archived_at", "archived_by", "deleted_at", "deleted_by",
]  # fmt: skip
MESSAGE = [
    "id", "user_id", "app_id", "channel_id", "reply_to_id", "parent_id", "is_pinned", "pinned_by", "pinned_at", "content",
    "data", "meta", "created_at", "updated_at",
]  # fmt: skip
WHOLE = [*MESSAGE, "user", "reply_to_message", "latest_reply_at", "reply_count", "reactions", "etag"]


async def test_the_life_of_a_channel(live: Live, admin: Actor, user: Actor) -> None:
    made = await ok(
        admin, "POST", "/create", {"name": "general", "description": "d", "type": "", "access_grants": EVERYBODY}
    )
    assert list(made) == FIELDS
    assert (made["type"], made["name"], made["is_private"], made["updated_by"]) == (None, "general", None, None)
    assert made["created_at"] > 10**18
    where = made["id"]
    mine = await ok(user, "GET", f"/{where}")
    assert (mine["is_manager"], mine["write_access"], mine["user_count"], mine["users"]) == (False, True, 2, None)
    assert (await ok(admin, "GET", f"/{where}"))["is_manager"] is True
    [listed] = await ok(user, "GET", "/")
    assert list(listed) == [*FIELDS, "is_channel_muted", "user_ids", "users", "last_message_at", "unread_count"]
    assert (await ok(user, "GET", "/list")) == [made]
    changed = await ok(admin, "POST", f"/{where}/update", {"name": "general2"})
    assert (changed["name"], changed["description"], changed["updated_by"]) == ("general2", "d", admin.id)
    assert (await say(user, "POST", f"/{where}/update", {"name": "x"}))[0] == 403
    assert (await say(user, "DELETE", f"/{where}/delete"))[0] == 403
    people = await ok(user, "GET", f"/{where}/members?page=1")
    assert {p["name"]: bool(p["email"]) for p in people["users"]} == {"Admin One": False, user.name: True}
    assert people["total"] == 2
    assert [p["name"] for p in (await ok(admin, "GET", f"/{where}/members?query=admin"))["users"]] == ["Admin One"]
    assert (await ok(admin, "GET", f"/{where}/members?page=9")) == {"users": [], "total": 2}
    await write(user, where)
    assert await ok(admin, "DELETE", f"/{where}/delete") is True
    for method, rest in (("GET", ""), ("DELETE", "/delete"), ("GET", "/messages"), ("GET", "/members")):
        assert (await say(admin, method, f"/{where}{rest}"))[0] == 404, rest
    assert (await ok(admin, "GET", "/"), await ok(user, "GET", "/list")) == ([], [])
    async with asyncio.timeout(60):
        while await count(live, tables.channel):  # noqa: ASYNC110 - a job tells nobody
            await asyncio.sleep(0.05)
    assert await count(live, tables.channel_message) == 0
    assert await count(live, tables.access_grant) == 0


async def test_messages_threads_and_quotes(admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    first = await write(user, where, "hello **all**", temp_id="t1", data={}, meta={})
    assert list(first) == [*MESSAGE, "etag"]
    assert (first["data"], first["meta"], first["etag"]) == ({}, None, str(first["updated_at"]))
    answer = await write(admin, where, "thread", parent_id=first["id"])
    quote = await write(admin, where, "quote", reply_to_id=first["id"])
    newest, oldest = await ok(admin, "GET", f"/{where}/messages?skip=0&limit=50")
    assert list(newest) == WHOLE
    assert (newest["id"], oldest["id"]) == (quote["id"], first["id"])
    assert newest["reply_to_message"] == first | {
        "data": False, "user": {"id": user.id, "name": user.name, "role": "user"},
    }  # fmt: skip
    assert (oldest["reply_count"], oldest["latest_reply_at"], oldest["data"]) == (1, answer["created_at"], False)
    thread = await ok(user, "GET", f"/{where}/messages/{first['id']}/thread?skip=0&limit=50")
    assert [m["id"] for m in thread] == [answer["id"], first["id"]]
    # A thread in a thread is the thread.
    deeper = await write(user, where, "deeper", parent_id=answer["id"])
    assert deeper["parent_id"] == first["id"]
    rest = f"/messages/{first['id']}/thread"
    assert [m["content"] for m in await ok(user, "GET", f"/{where}{rest}?limit=1")] == ["deeper"]
    assert (await ok(user, "GET", f"/{where}{rest}?before={deeper['id']}"))[0]["content"] == "thread"
    assert [m["content"] for m in await ok(user, "GET", f"/{where}{rest}?limit=1&around={answer['id']}")] == ["thread"]
    assert await ok(user, "GET", f"/{where}/messages/{first['id']}/data") == {}
    # Its times grow, whatever the clock does.
    times = [m["created_at"] for m in (first, answer, quote, deeper)]
    assert times == sorted(set(times))
    assert await ok(admin, "DELETE", f"/{where}/messages/{answer['id']}/delete") is True
    assert (await ok(user, "GET", f"/{where}/messages/{first['id']}"))["reply_count"] == 1
    assert await ok(user, "DELETE", f"/{where}/messages/{first['id']}/delete") is True
    assert await texts(user, where) == ["quote"]
    [left] = await ok(user, "GET", f"/{where}/messages")
    assert (left["reply_to_id"], left["reply_to_message"]) == (first["id"], None)
    assert (await say(user, "GET", f"/{where}/messages/{deeper['id']}"))[0] == 404


async def test_changing_pinning_and_reacting(admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin)
    one = await write(user, where, data={"files": [], "a": 1})
    path = f"/{where}/messages/{one['id']}"
    changed = await ok(user, "POST", f"{path}/update", {"content": "edited"})
    assert (changed["content"], changed["data"], changed["meta"]) == ("edited", {"files": [], "a": 1}, {})
    assert changed["updated_at"] > one["updated_at"]
    # A channel's manager may; others may not.
    assert (await ok(admin, "POST", f"{path}/update", {"content": "by admin"}))["user_id"] == user.id
    assert await say(other, "POST", f"{path}/update", {"content": "x"}) == (403, {"detail": messages.NOT_YOURS})
    assert (await say(other, "DELETE", f"{path}/delete"))[0] == 403
    pinned = await ok(other, "POST", f"{path}/pin", {"is_pinned": True})
    assert (pinned["is_pinned"], pinned["pinned_by"], pinned["data"]) == (True, other.id, True)
    [shown] = await ok(user, "GET", f"/{where}/messages/pinned?page=1")
    assert (shown["id"], shown["reactions"], "reply_count" in shown) == (one["id"], [], False)
    for actor, name in ((user, "thumbsup"), (user, "thumbsup"), (other, "thumbsup"), (other, "tada")):
        assert await ok(actor, "POST", f"{path}/reactions/add", {"name": name}) is True
    [listed] = await ok(other, "GET", f"/{where}/messages")
    assert [(r["name"], r["count"], [u["id"] for u in r["users"]]) for r in listed["reactions"]] == [
        ("thumbsup", 2, [other.id, user.id]), ("tada", 1, [other.id]),
    ]  # fmt: skip
    assert await ok(user, "POST", f"{path}/reactions/remove", {"name": "thumbsup"}) is True
    assert [r["count"] for r in (await ok(user, "GET", path))["reactions"]] == [1, 1]
    await ok(user, "POST", f"{path}/pin", {"is_pinned": False})
    assert await ok(user, "GET", f"/{where}/messages/pinned") == []
    assert (await say(user, "POST", f"{path}/reactions/add", {"name": " "}))[0] == 422
    assert (await say(user, "POST", f"/{where}/messages/nope/reactions/add", {"name": "x"}))[0] == 404


async def test_too_many_different_reactions(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_REACTIONS", 1)
    where = await channel(admin)
    path = f"/{where}/messages/{(await write(admin, where))['id']}/reactions/add"
    assert await ok(admin, "POST", path, {"name": "a"}) is True
    assert (await say(admin, "POST", path, {"name": "b"}))[0] == 400


async def test_groups(admin: Actor, user: Actor, other: Actor) -> None:
    where = await group(user, other)
    assert (await ok(other, "GET", f"/{where}"))["user_ids"] == [user.id, other.id]
    assert (await say(admin, "GET", f"/{where}"))[0] == 404
    assert (await ok(admin, "GET", "/")) == []
    await write(other, where, "in private")
    assert (await say(other, "POST", f"/{where}/update/members/add", {"user_ids": [admin.id]}))[0] == 403
    assert await ok(user, "POST", f"/{where}/update/members/add", {"user_ids": [other.id], "group_ids": []}) == []
    [added] = await ok(user, "POST", f"/{where}/update/members/add", {"user_ids": [admin.id, "nobody"]})
    assert (added["user_id"], added["invited_by"]) == (admin.id, user.id)
    assert await texts(admin, where) == ["in private"]
    # An administrator is a member as any: neither the channel nor what others wrote is theirs.
    message_id = (await ok(admin, "GET", f"/{where}/messages"))[0]["id"]
    assert (await say(admin, "POST", f"/{where}/messages/{message_id}/update", {"content": "x"}))[0] == 403
    assert (await say(admin, "POST", f"/{where}/update", {"name": "x"}))[0] == 403
    remove = f"/{where}/update/members/remove"
    assert (await say(admin, "POST", remove, {"user_ids": [other.id]}))[0] == 403
    assert await ok(admin, "POST", remove, {"user_ids": [admin.id]}) == 1
    assert await ok(user, "POST", remove, {"user_ids": [other.id, "nobody"]}) == 1
    for actor in (admin, other):
        assert (await say(actor, "POST", f"/{where}/messages/post", {"content": "x"}))[0] == 404
    assert await say(user, "POST", remove, {"user_ids": [user.id]}) == (400, {"detail": members.OWNER_STAYS})
    open_one = await channel(admin)
    assert (await say(admin, "POST", f"/{open_one}/update/members/add", {"user_ids": [user.id]}))[0] == 400
    assert (await say(user, "POST", f"/{where}/access/update", {"access_grants": []}))[0] == 400


async def test_conversations(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    form = {"name": "", "type": "dm", "user_ids": [user.id]}
    made = await ok(admin, "POST", "/create", form)
    assert (made["type"], made["name"]) == ("dm", "")
    # The same people have one, however they come together.
    assert (await ok(user, "POST", "/create", form | {"user_ids": [admin.id, user.id]}))["id"] == made["id"]
    assert (await ok(user, "GET", f"/users/{admin.id}"))["id"] == made["id"]
    [listed] = await ok(admin, "GET", "/")
    assert {u["name"] for u in listed["users"]} == {"Admin One", user.name}
    assert set(listed["user_ids"]) == {admin.id, user.id}
    assert (await ok(admin, "GET", "/users/nobody"), await ok(admin, "GET", f"/users/{admin.id}")) == (None, None)
    begun = await ok(other, "GET", f"/users/{user.id}")
    assert set((await ok(other, "GET", f"/{begun['id']}"))["user_ids"]) == {user.id, other.id}
    # A link from elsewhere brings the cookie, and begins nothing.
    async with live.client(cookies={"token": other.token}) as linked:
        assert (await linked.get(f"/api/v1/channels/users/{admin.id}")).json() is None
    assert await ok(user, "POST", f"/{made['id']}/members/active", {"is_active": False}) is True
    assert made["id"] not in [c["id"] for c in await ok(user, "GET", "/")]
    assert made["id"] in [c["id"] for c in await ok(user, "GET", "/list")]
    await write(admin, made["id"], "there?")
    assert made["id"] in [c["id"] for c in await ok(user, "GET", "/")]
    assert await say(user, "POST", "/create", {"type": "dm", "user_ids": [user.id]}) == (
        400,
        {"detail": channels.NOBODY},
    )
    done = await asyncio.gather(
        *(say(a, "POST", "/create", {"type": "dm", "user_ids": [admin.id, other.id]}) for a in (admin, other))
    )
    assert len({value["id"] for _, value in done}) == 1


async def test_unread(admin: Actor, user: Actor, live: Live) -> None:
    where = await channel(admin)
    for text in ("one", "two"):
        await write(admin, where, text)
    await write(admin, where, "in a thread", parent_id=(await write(admin, where, "three"))["id"])
    [mine] = await ok(user, "GET", "/")
    assert (mine["unread_count"], (await ok(admin, "GET", "/"))[0]["unread_count"]) == (3, 0)
    await write(user, where, "seen")
    assert (await ok(user, "GET", "/"))[0]["unread_count"] == 0
    assert (await ok(user, "GET", f"/{where}"))["last_read_at"] is not None
    assert await ok(user, "POST", f"/{where}/members/mute", {"is_channel_muted": True}) == {"is_channel_muted": True}
    assert (await ok(user, "GET", "/"))[0]["is_channel_muted"] is True


async def test_who_may_read_only(admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin, [to(user, "read")])
    one = await write(admin, where)
    assert await texts(user, where) == ["hello"]
    assert await say(user, "POST", f"/{where}/messages/post", {"content": "x"}) == (403, {"detail": READ_ONLY})
    path = f"/{where}/messages/{one['id']}"
    for rest, body in (("/pin", {"is_pinned": True}), ("/reactions/add", {"name": "x"}), ("/update", {"content": "x"})):
        assert (await say(user, "POST", f"{path}{rest}", body))[0] == 403, rest
        assert (await say(other, "POST", f"{path}{rest}", body))[0] == 404, rest
    for rest in (
        "",
        "/messages",
        "/members",
        "/messages/pinned",
        f"/messages/{one['id']}",
        f"/messages/{one['id']}/thread",
    ):
        assert (await say(other, "GET", f"/{where}{rest}"))[0] == 404, rest
    await ok(admin, "POST", f"/{where}/access/update", {"access_grants": []})
    assert (await say(user, "GET", f"/{where}"))[0] == 404


async def test_a_message_belongs_to_its_channel(admin: Actor, user: Actor) -> None:
    where, elsewhere = await channel(admin), await group(admin)
    hidden = (await write(admin, elsewhere, "secret"))["id"]
    for rest in ("", "/data", "/thread"):
        assert (await say(user, "GET", f"/{where}/messages/{hidden}{rest}"))[0] == 404, rest
    for field in ("parent_id", "reply_to_id"):
        refused = {"content": "x", field: hidden}
        assert await say(user, "POST", f"/{where}/messages/post", refused) == (400, {"detail": messages.NO_PARENT})
    assert (await say(user, "DELETE", f"/{where}/messages/{hidden}/delete"))[0] == 404
    assert await texts(user, where) == []


async def test_what_only_the_server_says(admin: Actor) -> None:
    where = await channel(admin)
    forged = {"model_id": "m", "webhook": {"id": "w", "name": "Boss"}, "done": True, "mine": 1}
    one = await write(admin, where, meta=forged, data={"output": [{}], "files": []}, user_id="x")
    assert (one["meta"], one["data"], one["user_id"]) == ({"mine": 1}, {"files": []}, admin.id)
    changed = await ok(admin, "POST", f"/{where}/messages/{one['id']}/update", {"content": "y", "meta": forged})
    assert changed["meta"] == {"mine": 1}


async def test_files_are_for_who_reads_the_channel(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin, [to(user, "write")])
    picture = {"type": "image", "url": data_url(png())}
    one = await write(user, where, "", data={"files": [picture]})
    [file] = one["data"]["files"]
    assert "data:" not in file["url"]
    path = file["url"] if file["url"].startswith("/") else f"/api/v1/files/{file['url']}/content"
    assert [(await actor.client.get(path)).status_code for actor in (admin, user, other)] == [200, 200, 404]
    # Whoever writes down the id of somebody else's file does not get at it.
    theirs = await channel(admin, EVERYBODY)
    stolen = await write(other, theirs, "", data={"files": [file]})
    assert stolen["data"]["files"] == [file]
    assert (await other.client.get(path)).status_code == 404
    await ok(admin, "POST", f"/{where}/access/update", {"access_grants": []})
    assert (await admin.client.get(path)).status_code == 200
    await ok(admin, "DELETE", f"/{where}/messages/{one['id']}/delete")
    assert (await admin.client.get(path)).status_code == 404


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        {}, {"content": None}, {"content": 7}, {"content": "x" * 40_001}, {"content": "x", "parent_id": ""},
        {"content": "x", "data": []}, {"content": "x", "data": {"a": "x" * 200_001}},
        {"content": "x", "meta": {"a": "x" * 20_001}}, {"content": "x", "temp_id": "x" * 256},
    ],
)  # fmt: skip
async def test_bad_messages(admin: Actor, body: dict[str, Any]) -> None:
    where = await channel(admin)
    assert (await say(admin, "POST", f"/{where}/messages/post", body))[0] == 422
    assert await texts(admin, where) == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_forms(admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    for body, status in (
        ({"name": ""}, 400), ({"name": "x", "type": "other"}, 400), ({"name": "x" * 201}, 422), ({"name": 7}, 422),
        ({"name": "x", "type": "group", "user_ids": ["x"] * 1_001}, 422), ({"name": " ", "type": "group"}, 400),
        ({"name": "x", "access_grants": [{}]}, 400), ({"name": "x", "data": {"a": "x" * 20_001}}, 422),
    ):  # fmt: skip
        assert (await say(admin, "POST", "/create", body))[0] == status, body
    assert await say(user, "POST", "/create", {"name": "u"}) == (401, {"detail": "401 Unauthorized"})
    assert await say(admin, "POST", f"/{where}/messages/post", {"content": "  "}) == (
        400,
        {"detail": messages.NOTHING_SAID},
    )
    for rest in ("?skip=-1", "?limit=0", "?limit=101", "?skip=x", "?limit=9999999999999999999999"):
        assert (await say(admin, "GET", f"/{where}/messages{rest}"))[0] == 422, rest
    assert (await say(admin, "POST", f"/{where}/update", {"name": ""}))[0] == 400
    assert (await say(admin, "GET", f"/{where}/members?order_by=password&direction=x"))[0] == 200
    nul = await write(admin, where, "a\x00b")
    assert nul["content"] == "ab"
    assert (await say(admin, "GET", "/%00"))[0] == 404


async def test_switched_off(live: Live, admin: Actor, user: Actor, pending: Actor, client: Any) -> None:
    where = await channel(admin)
    for path in ("/", "/list", f"/{where}", f"/{where}/messages"):
        assert (await client.get(f"/api/v1/channels{path}")).status_code == 401
        assert (await say(pending, "GET", path))[0] == 401
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    await state.save_config({"user.permissions": tree | {"features": tree["features"] | {"channels": False}}})
    assert (await ok(user, "GET", "/"), (await say(user, "GET", f"/{where}"))[0]) == ([], 401)
    await state.save_config({"user.permissions": tree, "channels.enable": False})
    assert await ok(admin, "GET", "/") == []
    assert await say(admin, "GET", f"/{where}") == (403, {"detail": OFF})
    assert await say(admin, "POST", f"/{where}/messages/post", {"content": "x"}) == (403, {"detail": OFF})


async def test_an_account_goes(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    """What it wrote stays, as nobody's; its group is another member's, its conversation nobody can begin anew."""
    open_one, where = await channel(admin), await group(user, other)
    lonely = await group(user)
    dm = (await ok(user, "POST", "/create", {"type": "dm", "user_ids": [other.id]}))["id"]
    for place in (open_one, where, dm):
        await write(user, place, "still here")
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    assert (await ok(other, "GET", f"/{where}"))["is_manager"] is True
    assert await texts(other, dm) == ["still here"]
    [message] = await ok(admin, "GET", f"/{open_one}/messages")
    assert (message["user_id"], message["user"]["name"]) == (None, "Deleted account")
    async with live.app.state.oui.database.read() as connection:
        assert await stored.repository.get(connection, lonely) is None
        assert await connection.scalar(sa.select(tables.channel.c.people).where(tables.channel.c.id == dm)) is None


async def test_many_write_at_once(admin: Actor, user: Actor) -> None:
    """Each message has a time of its own, and all see one order."""
    where = await channel(admin)
    first = (await write(admin, where, "first"))["id"]
    await asyncio.gather(
        *(write((admin, user)[n % 2], where, str(n), parent_id=first if n % 3 == 0 else None) for n in range(12))
    )
    rows = await ok(user, "GET", f"/{where}/messages?limit=100")
    times = [m["created_at"] for m in rows]
    assert times == sorted(set(times), reverse=True)
    assert (len(rows), rows[-1]["reply_count"]) == (9, 4)
    assert await texts(user, where) == await texts(admin, where)
