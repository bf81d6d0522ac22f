"""Ratings over the API: made, read, changed and removed by whom they are, looked at by administrators, and by nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import feedbacks, tables
from open_webui.services import evaluations
from tests.open_webui.plugins.test_tools import count, say
from tests.support.live import Actor, Live
from tests.support.turns import slowness, watched_turns

BASE = "/api/v1/evaluations"
ONE = f"{BASE}/feedback"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
NOT_FOUND = 404


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """What is SQL's runs on both."""
    return str(getattr(request, "param", "sqlite"))


def document(title: str = "Sample", *, content: str = "A small marsupial.") -> dict[str, Any]:
    messages = {
        "u1": {"id": "u1", "parentId": None, "childrenIds": ["a1"], "role": "user", "content": "What is a quokka?"},
        "a1": {
            "id": "a1",
            "parentId": "u1",
            "childrenIds": [],
            "role": "assistant",
            "content": content,
            "model": "echo",
        },
    }
    return {"title": title, "models": ["echo"], "history": {"currentId": "a1", "messages": messages}, "messages": []}


async def make_chat(actor: Actor, **changes: Any) -> str:
    status, made = await say(actor, "POST", "/api/v1/chats/new", {"chat": document(**changes)})
    assert status == 200, made
    chat_id: str = made["id"]
    return chat_id


def form(chat_id: str | None = None, rating: Any = 1, model: str = "echo", **data: Any) -> dict[str, Any]:
    told = {
        "rating": rating,
        "model_id": model,
        "sibling_model_ids": ["reasoner"],
        "reason": "accurate",
        "comment": "ok",
    }
    meta = {"arena": False, "chat_id": chat_id, "message_id": "a1", "message_index": 1}
    snapshot = {"chat": {"id": chat_id, "chat": document()}}
    return {"type": "rating", "data": told | {"tags": ["a"]} | data, "meta": meta, "snapshot": snapshot}


async def rate(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", ONE, form(*args, **changes))
    assert status == 200, made
    found: dict[str, Any] = made
    return found


@BOTH
async def test_the_life_of_a_rating(live: Live, admin: Actor, user: Actor) -> None:
    chat_id = await make_chat(user)
    made = await rate(user, chat_id)
    assert list(made) == ["id", "user_id", "version", "type", "data", "meta", "snapshot", "created_at", "updated_at"]
    sent = form(chat_id)
    assert (made["data"], made["meta"], made["snapshot"]) == (sent["data"], sent["meta"], sent["snapshot"])
    assert (made["user_id"], made["version"], made["type"]) == (user.id, 0, "rating")
    place = f"{ONE}/{made['id']}"
    assert await say(user, "GET", place) == (200, made)
    status, changed = await say(user, "POST", place, {"type": "rating", "data": {"rating": -1, "model_id": "echo"}})
    assert status == 200
    left = {"rating": -1, "model_id": "echo", "sibling_model_ids": None, "reason": None, "comment": None}
    assert (changed["data"], changed["meta"], changed["snapshot"]) == (left, sent["meta"], sent["snapshot"])
    rater = {"id": user.id, "name": user.name, "email": user.email, "role": "user"}
    for actor, path in ((user, "feedbacks/user"), (admin, "feedbacks/list?page=1")):
        status, page = await say(actor, "GET", f"{BASE}/{path}")
        (item,) = page["items"]
        assert (status, page["total"], "snapshot" in item, item["data"]) == (200, 1, False, left)
        assert {name: item["user"][name] for name in rater} == rater
        assert set(item["user"]) == {*rater, "last_active_at", "updated_at", "created_at"}
    assert await say(admin, "GET", f"{BASE}/feedbacks/models") == (200, ["echo"])
    status, ids = await say(admin, "GET", f"{BASE}/feedbacks/all/ids")
    assert ids == [{"id": made["id"], "user_id": user.id} | {k: changed[k] for k in ("created_at", "updated_at")}]
    assert await say(admin, "GET", f"{BASE}/feedbacks/all/export") == (200, [changed])
    assert await say(admin, "GET", f"{BASE}/feedbacks/all/export?model_id=other") == (200, [])
    assert await say(user, "DELETE", place) == (200, True)
    assert (await say(user, "GET", place))[0] == NOT_FOUND
    assert await say(user, "DELETE", f"{BASE}/feedbacks") == (200, False)
    assert await say(admin, "DELETE", f"{BASE}/feedbacks/all") == (200, False)
    assert (await count(live, tables.feedback), await count(live, tables.feedback_snapshot)) == (0, 0)


@BOTH
async def test_all_of_ones_own_and_all_of_all(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    for actor in (user, other):
        chat_id = await make_chat(actor)
        await rate(actor, chat_id)
        await rate(actor, chat_id)
    assert await say(user, "DELETE", f"{BASE}/feedbacks") == (200, True)
    assert await count(live, tables.feedback) == 2
    assert await say(admin, "DELETE", f"{BASE}/feedbacks/all") == (200, True)
    assert (await count(live, tables.feedback), await count(live, tables.feedback_snapshot)) == (0, 0)


@BOTH
async def test_ratings_go_with_the_account(live: Live, admin: Actor, user: Actor) -> None:
    await rate(user, await make_chat(user))
    assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
    assert (await count(live, tables.feedback), await count(live, tables.feedback_snapshot)) == (0, 0)


async def test_anothers_rating_is_as_an_unknown_one(admin: Actor, user: Actor, other: Actor) -> None:
    made = await rate(user, await make_chat(user))
    place, nowhere = f"{ONE}/{made['id']}", f"{ONE}/nope"
    change = {"type": "rating", "data": {"rating": 1, "model_id": "echo"}}
    for method, body in (("GET", None), ("POST", change), ("DELETE", None)):
        assert await say(other, method, place, body) == await say(other, method, nowhere, body), method
        assert (await say(other, method, place, body))[0] == NOT_FOUND
    # An administrator looks, and tidies up, but says nothing in another's name.
    assert (await say(admin, "GET", place))[1]["snapshot"] == made["snapshot"]
    assert (await say(admin, "POST", place, change))[0] == NOT_FOUND
    assert await say(admin, "DELETE", place) == (200, True)


async def test_what_administrators_look_at_is_not_for_others(user: Actor) -> None:
    for method, path in (
        ("GET", "feedbacks/list"), ("GET", "feedbacks/models"), ("GET", "feedbacks/all/ids"), ("GET", "leaderboard"),
        ("GET", "feedbacks/all/export"), ("DELETE", "feedbacks/all"), ("GET", "config"), ("GET", "leaderboard/echo/history"),
        ("POST", "config"),
    ):  # fmt: skip
        status, said = await say(user, method, f"{BASE}/{path}", {} if method == "POST" else None)
        assert (status, list(said)) == (401, ["detail"]), path


async def test_one_rates_only_in_chats_that_one_may_read(live: Live, user: Actor, other: Actor) -> None:
    chat_id = await make_chat(other)
    unknown = await say(user, "POST", ONE, form("nope"))
    assert await say(user, "POST", ONE, form(chat_id)) == unknown
    assert unknown[0] == NOT_FOUND
    mine = await rate(user, await make_chat(user))
    assert await say(user, "POST", f"{ONE}/{mine['id']}", form(chat_id)) == unknown
    assert await count(live, tables.feedback) == 1
    # What no server keeps nobody else has.
    assert (await say(user, "POST", ONE, form("temporary:abc")))[0] == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"type": None}, {"type": ""}, {"type": "x" * 101}, {"data": "good"}, {"data": []}, {"meta": "m"}, {"meta": []},
        {"snapshot": "s"}, {"data": {"rating": {}}}, {"data": {"rating": [1]}}, {"data": {"rating": 1.5}},
        {"data": {"model_id": ""}}, {"data": {"model_id": "x" * 256}}, {"data": {"model_id": "a\x00b"}},
        {"data": {"model_id": 7}},
        {"data": {"sibling_model_ids": "b"}}, {"data": {"sibling_model_ids": ["b"] * 51}},
        {"data": {"sibling_model_ids": [None]}},
        {"data": {"comment": "x" * 10_001}}, {"data": {"reason": 5}}, {"data": {"more": "x" * 60_000}},
        {"meta": {"x": "x" * 60_000}},
        {"data": {"rating": 10**40}},
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_no_rating_is_refused_and_nothing_is_kept(
    live: Live, user: Actor, changes: dict[str, Any]
) -> None:
    given = {name: value for name, value in (form() | changes).items() if value is not None}
    status, said = await say(user, "POST", ONE, given)
    assert status == 422, said
    assert said["detail"]
    assert await count(live, tables.feedback) == 0


async def test_deep_and_odd_values(live: Live, user: Actor) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    for place in ("meta", "snapshot"):
        assert (await say(user, "POST", ONE, form() | {place: {"deep": deep}}))[0] == 422, place
    assert (await say(user, "POST", ONE, form() | {"meta": {"chat_id": 7}}))[0] == 400
    assert await count(live, tables.feedback) == 0
    made = await rate(user, rating="-1", comment="nul \x00 here", more={"own": "field"})
    assert (made["data"]["rating"], made["data"]["comment"], made["data"]["more"]) == (
        "-1",
        "nul  here",
        {"own": "field"},
    )
    status, made = await say(user, "POST", ONE, {"type": "other"})
    assert (status, made["data"], made["meta"], made["snapshot"]) == (200, None, None, None)


async def test_the_switches(live: Live, user: Actor, admin: Actor) -> None:
    state = live.app.state.oui
    await state.save_config({"ui.enable_message_rating": False})
    made = await say(admin, "POST", ONE, form())
    assert made[0] == 403
    assert (await admin.client.get("/api/config")).json()["features"]["enable_message_rating"] is False
    await state.save_config({"ui.enable_message_rating": True})
    kept = await rate(user)
    tree = {section: dict(entries) for section, entries in state.config["user.permissions"].items()}
    tree["chat"]["rate_response"] = False
    await state.save_config({"user.permissions": tree})
    assert (await say(user, "POST", ONE, form()))[0] == 401
    assert (await say(user, "POST", f"{ONE}/{kept['id']}", form()))[0] == 401
    # What was said one may still look at, and take back.
    assert (await say(user, "GET", f"{ONE}/{kept['id']}"))[0] == 200
    assert await say(user, "DELETE", f"{ONE}/{kept['id']}") == (200, True)


async def test_there_is_an_end_to_ratings(live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "MAX_RATINGS", 2)
    await rate(user)
    await rate(user)
    status, said = await say(user, "POST", ONE, form())
    assert (status, "Delete older" in said["detail"]) == (400, True)
    assert await count(live, tables.feedback) == 2


@BOTH
async def test_ten_at_once_are_no_more_than_one_after_another(
    live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "MAX_RATINGS", 3)
    said = await asyncio.gather(*(say(user, "POST", ONE, form()) for _ in range(10)))
    assert sorted(status for status, _ in said) == [200] * 3 + [400] * 7
    assert await count(live, tables.feedback) == 3


@BOTH
async def test_there_is_an_end_to_the_bytes_of_ratings(
    live: Live, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = form() | {"snapshot": {"chat": {"x": "y" * 3_000}}}
    status, first = await say(user, "POST", ONE, large)
    assert (status, first["snapshot"]) == (200, large["snapshot"])
    async with live.app.state.oui.database.read() as connection:
        held = await connection.scalar(sa.select(tables.feedback.c.size))
        # A change that leaves the chat as it is leaves its size, too.
        assert (await say(user, "POST", f"{ONE}/{first['id']}", form() | {"snapshot": None}))[0] == 200
    async with live.app.state.oui.database.read() as connection:
        assert await connection.scalar(sa.select(tables.feedback.c.size)) == held
    assert 3_000 < held < 4_000
    monkeypatch.setattr(evaluations, "MAX_SNAPSHOTS", 6_000)
    monkeypatch.setattr(evaluations, "MAX_BYTES", 4_500)
    # No room for another chat: the rating counts all the same.
    status, second = await say(user, "POST", ONE, large | {"data": {"rating": 1, "model_id": "echo"}})
    assert (status, second["snapshot"]) == (200, None)
    assert await say(user, "GET", f"{ONE}/{second['id']}") == (200, second)
    for place in (ONE, f"{ONE}/{second['id']}"):
        status, said = await say(user, "POST", place, form(comment="z" * 2_000))
        assert (status, "Delete older" in said["detail"]) == (400, True), place
    assert (await say(other, "POST", ONE, form(comment="z" * 2_000)))[0] == 200
    # Not so large any more: it may be changed.
    assert (await say(user, "POST", f"{ONE}/{first['id']}", form()))[0] == 200


async def test_a_large_chat_holds_nobody_up(live: Live, user: Actor) -> None:
    messages = {"3": {"id": "3", "parentId": None, "content": ["x" * 300] * 90_000}}
    history = {"currentId": "3", "messages": messages}
    body = json.dumps(form() | {"snapshot": {"chat": {"chat": {"history": history}}}}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}

    async def pieces() -> AsyncIterator[bytes]:
        # The client's turns are watched, too: none of them takes the whole body.
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    slow = slowness()
    with watched_turns() as turns:
        reply = await user.client.post(ONE, content=pieces(), headers=headers)
    assert (reply.status_code, reply.json()["snapshot"]["chat"]["chat"]["history"]["messages"]) == (200, {})
    assert turns.longest < 0.1 * max(slow, slowness()), turns.of


async def test_where_administrators_see_no_chats_ratings_show_none(make_live: Any, connections: None) -> None:
    from tests.support.live import sign_up

    live = await make_live(enable_admin_chat_access=False)
    admin = await sign_up(live, "Admin One")
    user = await sign_up(live, "User Two", admin=admin)
    made = await rate(user, await make_chat(user))
    assert made["snapshot"] is not None
    assert (await say(admin, "GET", f"{ONE}/{made['id']}"))[1]["snapshot"] is None
    assert [row["snapshot"] for row in (await say(admin, "GET", f"{BASE}/feedbacks/all/export"))[1]] == [None]
    for actor in (admin, user):
        await actor.client.aclose()


@BOTH
async def test_pages_are_sorted_and_all_are_exported(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    at = 1_700_000_000
    rows = [
        {"id": f"r{n:03}", "user_id": (user, other)[n % 2].id, "type": "rating", "meta": {},
         "created_at": at + n // 2, "updated_at": at + n // 2}
        | feedbacks.stamped({"data": {"rating": 1 if n % 3 else -1, "model_id": f"m{n % 4}"}})
        for n in range(75)
    ]  # fmt: skip
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.feedback.insert(), rows)

    async def ids(query: str) -> list[str]:
        status, page = await say(admin, "GET", f"{BASE}/feedbacks/list?{query}")
        assert (status, page["total"]) == (200, 75)
        return [item["id"] for item in page["items"]]

    newest = [row["id"] for row in sorted(rows, key=lambda row: (row["updated_at"], row["id"]), reverse=True)]
    pages = [await ids(f"order_by=updated_at&direction=desc&page={n}") for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [30, 30, 15, 0]
    assert [i for page in pages for i in page] == newest
    assert (await ids("order_by=updated_at&direction=asc"))[0] == newest[-1]
    assert (await ids("order_by=nothing"))[0] == newest[0]
    by_model = [await ids(f"order_by=model_id&direction=asc&page={n}") for n in (1, 2, 3)]
    assert [f"m{int(i[1:]) % 4}" for page in by_model for i in page] == sorted(f"m{n % 4}" for n in range(75))
    assert (await ids("order_by=rating&direction=asc"))[0] == "r000"
    first = await ids("order_by=user&direction=asc")
    assert len({int(i[1:]) % 2 for i in first}) == 1
    page = (await say(admin, "GET", f"{BASE}/feedbacks/list?model_id=m1"))[1]
    assert (page["total"], {item["data"]["model_id"] for item in page["items"]}) == (19, {"m1"})
    assert [row["id"] for row in (await say(admin, "GET", f"{BASE}/feedbacks/all/ids"))[1]] == newest
    assert [row["id"] for row in (await say(admin, "GET", f"{BASE}/feedbacks/all/export"))[1]] == newest
    assert (await say(admin, "GET", f"{BASE}/feedbacks/models"))[1] == ["m0", "m1", "m2", "m3"]
    for page_number in ("0", "x", str(10**9)):
        assert (await say(admin, "GET", f"{BASE}/feedbacks/list?page={page_number}"))[0] == 422


async def test_a_broken_row_takes_no_list_with_it(live: Live, admin: Actor, user: Actor) -> None:
    await rate(user)
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(sa.text("UPDATE feedback SET data = '{oops', meta = '[1]'"))
    status, page = await say(admin, "GET", f"{BASE}/feedbacks/list")
    assert (status, page["items"][0]["data"], page["items"][0]["meta"]) == (200, None, None)
    assert (await say(admin, "GET", f"{BASE}/leaderboard"))[0] == 200
    assert (await say(admin, "GET", f"{BASE}/feedbacks/all/export"))[0] == 200


def test_a_large_chat_is_cut_to_what_leads_to_the_rated_message() -> None:
    messages: dict[str, Any] = {}
    for n in range(400):
        parent = f"m{n - 1}" if n else None
        messages[f"m{n}"] = {"id": f"m{n}", "parentId": parent, "content": "x" * 10_000}
        messages[f"side{n}"] = {"id": f"side{n}", "parentId": parent, "content": "y" * 10_000}
    snapshot = {
        "chat": {
            "id": "c",
            "chat": {"title": "T", "history": {"currentId": "m0", "messages": messages}, "messages": [1]},
        }
    }
    kept = evaluations.kept_of(snapshot, {"message_id": "m399"})
    assert kept is not None
    left = kept["chat"]["chat"]["history"]["messages"]
    assert list(left)[-1] == "m399"
    assert all(name.startswith("m") for name in left)
    assert 50 < len(left) < 120
    assert (kept["cut"], kept["chat"]["chat"]["title"], kept["chat"]["chat"]["messages"]) == (True, "T", [])
    assert len(json.dumps(kept)) < 1.2 * evaluations.MAX_SNAPSHOT


@pytest.mark.parametrize(
    "chat", [None, [], "x", {}, {"chat": None}, {"chat": {"history": []}}, {"chat": {"history": {"messages": []}}}]
)
def test_what_is_no_chat_is_not_kept_where_it_is_large(chat: Any) -> None:
    assert evaluations.kept_of({"chat": chat, "more": "x" * 2_000_000}, {"message_id": "a"}) is None
    assert evaluations.kept_of({"chat": chat}, None) == {"chat": chat}


def test_a_circle_of_messages_ends() -> None:
    messages = {
        "a": {"parentId": "b", "content": "x" * 600_000},
        "b": {"parentId": "a", "content": "y" * 390_000},
        "c": {"x": "z" * 500_000},
    }
    kept = evaluations.kept_of({"chat": {"chat": {"history": {"messages": messages, "currentId": "a"}}}}, None)
    assert kept is not None
    assert list(kept["chat"]["chat"]["history"]["messages"]) == ["b", "a"]
