"""Figures of all people for administrators, as the contract's samples have them: what is counted, for whom, and when."""

import uuid
from typing import Any

import pytest

from open_webui.constants import MESSAGE_BITS
from open_webui.models import messages, tables, usages
from open_webui.models.base import now
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live, sign_up

BASE = "/api/v1/analytics"
DAY = 86_400
# Thursday, 2026-11-19, noon UTC.
NOON = 1_795_089_600
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


async def write(
    live: Live,
    owner: Actor,
    at: int,
    model: str,
    *,
    answers: int = 1,
    tokens: tuple[int, int] | None = None,
    hidden: bool = False,
) -> str:
    """A chat of questions and answers, ten seconds apart, and what its first answer used."""
    chat_id = str(uuid.uuid4())
    async with live.app.state.oui.database.write() as unit:
        row = {"id": chat_id, "user_id": owner.id, "title": f"With {model}", "body": {}, "meta": {}}
        insert = tables.chat.insert().values(**row, created_at=at, updated_at=at, hidden_at=at if hidden else None)
        number = await unit.connection.scalar(insert.returning(tables.chat.c.n))
        assert number is not None
        rows = [
            {"n": (number << MESSAGE_BITS) + i, "chat_id": chat_id, "id": f"m{i}", "owner": messages.owner_word(owner.id),
             "content": f"words {i}", "role": "assistant" if i % 2 else "user", "model_id": model if i % 2 else None,
             "body": {"usage": {"total_tokens": 1}} if i % 2 else {}, "created_at": at + i * 10, "updated_at": at,
             "parent_id": f"m{i - 1}" if i else None}
            for i in range(2 * answers)
        ]  # fmt: skip
        await unit.connection.execute(tables.message.insert(), rows)
        if tokens is not None:
            used = {"user_id": owner.id, "model_id": model, "connection": "x", "kind": "chat", "status": 200, "chat_id": chat_id,
                    "message_id": "m1", "cached_tokens": None, "reasoning_tokens": None, "duration_ms": 1}  # fmt: skip
            counts = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "created_at": at + 10}
            # What is no answer of a page is not counted.
            await usages.add(
                unit.connection, [used | counts, used | counts | {"kind": "task"}, used | counts | {"kind": "api"}]
            )
    return chat_id


async def get(actor: Actor, path: str, **query: Any) -> Any:
    reply = await actor.client.get(f"{BASE}/{path}", params={k: v for k, v in query.items() if v is not None})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def fill(live: Live, user: Actor, other: Actor) -> dict[str, str]:
    return {
        "old": await write(live, user, NOON - 40 * DAY, "echo", tokens=(1, 2)),
        "two": await write(live, user, NOON - 2 * DAY, "echo", answers=3, tokens=(10, 20)),
        "one": await write(live, other, NOON - DAY, "fixed", tokens=(100, 200)),
        "now": await write(live, other, NOON, "echo"),
        "hidden": await write(live, other, NOON, "ghost", hidden=True, answers=5),
    }


@BOTH
async def test_what_all_people_did(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    assert await get(admin, "summary") == {"total_messages": 6, "total_chats": 4, "total_models": 2, "total_users": 2}
    assert await get(admin, "models") == {
        "models": [
            {"model_id": "echo", "count": 5, "unique_users": 2, "unique_chats": 3},
            {"model_id": "fixed", "count": 1, "unique_users": 1, "unique_chats": 1},
        ]
    }
    assert await get(admin, "tokens") == {
        "models": [
            {"model_id": "fixed", "input_tokens": 100, "output_tokens": 200, "total_tokens": 300, "message_count": 1},
            {"model_id": "echo", "input_tokens": 11, "output_tokens": 22, "total_tokens": 33, "message_count": 5},
        ],
        "total_input_tokens": 111,
        "total_output_tokens": 222,
        "total_tokens": 333,
    }
    ann = {
        "user_id": user.id,
        "name": user.name,
        "email": user.email,
        "input_tokens": 11,
        "output_tokens": 22,
        "total_tokens": 33,
    }
    bob = {
        "user_id": other.id,
        "name": other.name,
        "email": other.email,
        "input_tokens": 100,
        "output_tokens": 200,
        "total_tokens": 300,
    }
    assert await get(admin, "users") == {"users": [ann | {"count": 8}, bob | {"count": 4}]}
    assert await get(admin, "users", metric="tokens") == {"users": [bob | {"count": 2}, ann | {"count": 4}]}
    assert await get(admin, "users", metric="tokens", limit=1) == {"users": [bob | {"count": 2}]}
    assert await get(admin, "users", limit=1) == {"users": [ann | {"count": 8}]}


@BOTH
async def test_a_time_has_both_its_ends(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    # The first answer comes ten seconds after the question.
    span = {"start_date": NOON - DAY + 10, "end_date": NOON + 9}
    assert (await get(admin, "summary", **span))["total_messages"] == 1
    assert [m["model_id"] for m in (await get(admin, "models", **span))["models"]] == ["fixed"]
    assert (await get(admin, "tokens", **span))["total_tokens"] == 300
    assert (await get(admin, "tokens", start_date=NOON - DAY + 11))["total_tokens"] == 0
    assert (await get(admin, "tokens", end_date=NOON - 3 * DAY))["total_tokens"] == 3
    # Whole days between two parts of days.
    assert (await get(admin, "tokens", start_date=NOON - 40 * DAY + 10, end_date=NOON - 2 * DAY + 10))[
        "total_tokens"
    ] == 33
    assert (await get(admin, "tokens", start_date=NOON - 40 * DAY + 11, end_date=NOON - 2 * DAY + 9))[
        "total_tokens"
    ] == 0


@BOTH
async def test_a_group_is_counted_alone(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    group = (await say(admin, "POST", "/api/v1/groups/create", {"name": "G", "description": ""}))[1]["id"]
    assert (await say(admin, "POST", f"/api/v1/groups/id/{group}/users/add", {"user_ids": [other.id]}))[0] == 200
    assert (await get(admin, "summary", group_id=group))["total_users"] == 1
    assert (await get(admin, "summary", group_id=group))["total_messages"] == 2
    assert [m["count"] for m in (await get(admin, "models", group_id=group))["models"]] == [1, 1]
    assert (await get(admin, "tokens", group_id=group))["total_tokens"] == 300
    for metric in ("messages", "tokens"):
        assert [u["user_id"] for u in (await get(admin, "users", group_id=group, metric=metric))["users"]] == [other.id]
        days = (await get(admin, "daily", group_id=group, metric=metric))["data"]
        assert {model for day in days for model in day["models"]} <= {"echo", "fixed"}
    empty = {"total_messages": 0, "total_chats": 0, "total_models": 0, "total_users": 0}
    assert await get(admin, "summary", group_id="nobody") == empty


@BOTH
async def test_days_and_hours(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    blank = {"start": None, "end": None, "previous": None}
    assert await get(admin, "daily") == {
        "data": [
            {"date": "2026-10-10", "models": {"echo": 1}, **blank},
            {"date": "2026-11-17", "models": {"echo": 3}, **blank},
            {"date": "2026-11-18", "models": {"fixed": 1}, **blank},
            {"date": "2026-11-19", "models": {"echo": 1}, **blank},
        ]
    }
    span = {"start_date": NOON - 2 * DAY, "end_date": NOON + 100}
    assert (await get(admin, "daily", **span))["data"] == [
        {"date": "2026-11-17", "models": {"echo": 3}, **blank},
        {"date": "2026-11-18", "models": {"fixed": 1}, **blank},
        {"date": "2026-11-19", "models": {"echo": 1}, **blank},
    ]
    assert [day["models"] for day in (await get(admin, "daily", metric="tokens", **span))["data"]] == [
        {"echo": 30},
        {"fixed": 300},
        {},
    ]
    hours = (await get(admin, "daily", granularity="hourly", **span))["data"]
    assert (len(hours), hours[0]["date"], hours[0]["models"]) == (49, "2026-11-17 12:00", {"echo": 3})
    used = (await get(admin, "daily", granularity="hourly", metric="tokens", **span))["data"]
    assert [hour["models"] for hour in used if hour["models"]] == [{"echo": 30}, {"fixed": 300}]
    assert [len((await get(admin, "daily", granularity=g, **span))["data"]) for g in ("10m", "3h", "6h")] == [
        289,
        17,
        9,
    ]
    assert (await get(admin, "daily", granularity="10m", start_date=NOON, end_date=NOON))["data"][0][
        "date"
    ] == "2026-11-19 12:00"


@BOTH
async def test_beside_it_the_time_before(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    day = NOON // DAY * DAY
    data = (await get(admin, "daily", compare="true", start_date=day, end_date=day + DAY - 1))["data"]
    assert data == [
        {
            "date": "2026-11-19",
            "models": {"echo": 1},
            "start": "2026-11-19T00:00:00+00:00",
            "end": "2026-11-20T00:00:00+00:00",
            "previous": {
                "models": {"fixed": 1},
                "start": "2026-11-18T00:00:00+00:00",
                "end": "2026-11-19T00:00:00+00:00",
            },
        }
    ]
    used = (await get(admin, "daily", compare="true", metric="tokens", start_date=day, end_date=day + DAY - 1))["data"]
    assert (used[0]["models"], used[0]["previous"]["models"]) == ({}, {"fixed": 300})


@BOTH
async def test_the_chats_of_a_model(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    made = await fill(live, user, other)
    found = await get(admin, "models/echo/chats")
    assert found["total"] == 3
    assert found["chats"][0] == {
        "chat_id": made["now"], "user_id": other.id, "user_name": other.name, "first_message": "With echo", "updated_at": NOON,
    }  # fmt: skip
    assert [c["chat_id"] for c in found["chats"]] == [made["now"], made["two"], made["old"]]
    assert [
        c["chat_id"] for c in (await get(admin, "models/echo/chats", direction="asc", limit=1, skip=1))["chats"]
    ] == [made["two"]]
    assert (await get(admin, "models/echo/chats", start_date=NOON))["total"] == 1
    assert await get(admin, "models/ghost/chats") == {"chats": [], "total": 0}
    async with live.app.state.oui.database.write() as unit:
        for chat_id, owner in ((made["two"], user), (made["now"], other)):
            tag = {"id": "sea", "user_id": owner.id, "name": "Sea"}
            await unit.connection.execute(tables.tag.insert().values(tag))
            await unit.connection.execute(
                tables.chat_tag.insert().values(chat_id=chat_id, tag_id="sea", user_id=owner.id)
            )
    overview = await get(admin, "models/echo/overview", days=60)
    assert overview["tags"] == [{"tag": "sea", "count": 2}]
    assert (await get(admin, "models/echo/overview", days=1))["tags"] == []
    overview = await get(admin, "models/echo/overview")
    assert (len(overview["history"]), overview["history"][0].keys()) == (31, {"date", "won", "lost"})


@BOTH
async def test_messages_of_somebody(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    made = await fill(live, user, other)
    assert await get(admin, "messages") == []
    found = await get(admin, "messages", model_id="echo")
    assert [m["chat_id"] for m in found] == [made["now"], *[made["two"]] * 3, made["old"]]
    assert found[0] | {"created_at": 0, "updated_at": 0} == {
        "id": f"{made['now']}-m1", "chat_id": made["now"], "user_id": other.id, "role": "assistant", "parent_id": "m0",
        "content": "words 1", "output": None, "model_id": "echo", "files": None, "sources": None, "embeds": None, "meta": None,
        "done": True, "status_history": None, "error": None, "usage": {"total_tokens": 1}, "context_summary": None,
        "created_at": 0, "updated_at": 0,
    }  # fmt: skip
    assert len(await get(admin, "messages", user_id=user.id)) == 8
    assert len(await get(admin, "messages", chat_id=made["two"], skip=4, limit=5)) == 2
    assert len(await get(admin, "messages", chat_id=made["two"], end_date=NOON - 2 * DAY + 10)) == 2
    assert await get(admin, "messages", user_id="nobody") == []
    assert await get(admin, "messages", chat_id=made["hidden"]) == []


@SQLITE
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("summary?start_date=-1", 422), (f"summary?start_date={10**30}", 422), ("models?end_date=x", 422),
        ("daily?start_date=300000000000&end_date=300000000001", 422), (f"daily?compare=true&start_date={2**37}", 200),
        ("summary?start_date=10&end_date=9", 400), ("daily?granularity=weekly", 422), ("daily?metric=money", 422),
        ("daily?granularity=10m&start_date=1000000000&end_date=1795000000", 400), ("users?limit=0", 422),
        ("users?limit=1001", 422),
        ("users?metric=x", 422), ("messages?limit=101&chat_id=c", 422), ("messages?skip=-1&chat_id=c", 422),
        ("models/echo/chats?limit=101", 422), ("models/echo/overview?days=-1", 422), ("models/echo/overview?days=0", 200),
        (f"summary?group_id={'x' * 256}", 422), ("models/echo/chats?order_by=;drop&direction=sideways", 200),
        ("models/a/b/c/chats", 200), ("daily?start_date=0&end_date=0", 200), ("daily?compare=maybe", 422),
    ],
)  # fmt: skip
async def test_questions_are_bounded(admin: Actor, path: str, status: int) -> None:
    reply = await admin.client.get(f"{BASE}/{path}")
    assert reply.status_code == status, reply.text
    if status != 200:
        assert reply.json()["detail"]


@BOTH
async def test_a_time_that_no_date_has_stops_no_report(live: Live, admin: Actor, user: Actor) -> None:
    """Chats say themselves when their messages were written, and anybody may bring chats along."""
    await write(live, user, 300_000_000_000, "echo")
    await write(live, user, NOON, "fixed")
    for granularity in ("daily", "hourly"):
        reply = await admin.client.get(f"{BASE}/daily?granularity={granularity}")
        assert reply.status_code == 200, reply.text
        assert [list(one["models"]) for one in reply.json()["data"]] == [["fixed"]]


@SQLITE
async def test_nothing_done_is_nothing_everywhere(admin: Actor) -> None:
    assert await get(admin, "summary") == {"total_messages": 0, "total_chats": 0, "total_models": 0, "total_users": 0}
    assert await get(admin, "models") == {"models": []}
    assert await get(admin, "users") == {"users": []}
    assert await get(admin, "users", metric="tokens") == {"users": []}
    assert await get(admin, "daily") == {"data": []}
    assert (await get(admin, "tokens"))["total_tokens"] == 0
    assert len((await get(admin, "daily", start_date=now() - 7 * DAY))["data"]) == 8


@SQLITE
async def test_only_administrators_look(user: Actor) -> None:
    for path in (
        "summary",
        "models",
        "users",
        "messages",
        "daily",
        "tokens",
        "models/echo/chats",
        "models/echo/overview",
    ):
        reply = await user.client.get(f"{BASE}/{path}")
        assert (reply.status_code, list(reply.json())) == (401, ["detail"]), path


@SQLITE
async def test_the_operators_switches(make_live: Any, connections: None) -> None:
    live = await make_live(enable_admin_chat_access=False)
    admin = await sign_up(live, "Admin One")
    chat_id = await write(live, admin, NOON, "echo")
    assert (await get(admin, "models/echo/chats"))["chats"][0]["first_message"] is None
    assert (await admin.client.get(f"{BASE}/messages?chat_id={chat_id}")).status_code == 401
    assert (await get(admin, "summary"))["total_messages"] == 1
    await admin.client.aclose()
    live = await make_live(enable_admin_analytics=False)
    async with live.client() as anonymous:
        session = (
            await anonymous.post(
                "/api/v1/auths/signin", json={"email": admin.email, "password": "correct horse battery"}
            )
        ).json()
    async with live.client(session["token"]) as again:
        assert (await again.get("/api/config")).json()["features"]["enable_admin_analytics"] is False
        for path in (
            "summary",
            "models",
            "users",
            "messages",
            "daily",
            "tokens",
            "models/echo/chats",
            "models/echo/overview",
        ):
            assert (await again.get(f"{BASE}/{path}")).status_code == 403, path


@BOTH
async def test_tokens_outlive_an_account_and_its_chats(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await fill(live, user, other)
    assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
    gone = [row for row in (await get(admin, "users", metric="tokens"))["users"] if row["user_id"] == user.id]
    assert gone == [
        {
            "user_id": user.id,
            "name": None,
            "email": None,
            "count": 0,
            "input_tokens": 11,
            "output_tokens": 22,
            "total_tokens": 33,
        }
    ]
    assert (await get(admin, "summary"))["total_users"] == 1
