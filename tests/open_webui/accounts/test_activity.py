"""The report about one's own use."""

import pytest

from open_webui.constants import MESSAGE_BITS
from open_webui.errors import BadRequest
from open_webui.models import tables, usages
from open_webui.services import activity
from tests.support.live import Actor, Live
from tests.support.plans import SqlitePlans, reopen

DAY = 86_400
# Thursday, 2026-11-19, noon UTC.
NOON = 1_795_089_600
USAGE = "/api/v1/users/usage"


async def write(live: Live, owner: Actor) -> None:
    """Two days with a day between: one chat of four messages, one of two, and their tokens."""
    made = [(1, NOON - 2 * DAY, 4, "echo"), (2, NOON, 2, "other")]
    async with live.app.state.oui.database.write() as unit:
        for chat, at, count, model in made:
            chat_id = f"{owner.id}-{chat}"
            row = {"id": chat_id, "user_id": owner.id, "title": "t", "body": {}, "meta": {}}
            insert = tables.chat.insert().values(**row, created_at=at, updated_at=at).returning(tables.chat.c.n)
            number = await unit.connection.scalar(insert)
            assert number is not None
            rows = [
                {"n": (number << MESSAGE_BITS) + i, "chat_id": chat_id, "id": str(i), "owner": "o", "content": "c",
                 "role": "assistant" if i % 2 else "user", "model_id": model if i % 2 else None, "body": {},
                 "created_at": at + i * 10, "updated_at": at}
                for i in range(count)
            ]  # fmt: skip
            await unit.connection.execute(tables.message.insert(), rows)
            used = {"user_id": owner.id, "model_id": model, "connection": "x", "kind": "chat", "status": 200,
                    "chat_id": None, "message_id": None, "cached_tokens": None, "reasoning_tokens": None}  # fmt: skip
            tokens = {"prompt_tokens": 10 * chat, "completion_tokens": 5, "duration_ms": 1, "created_at": at}
            nothing = {"prompt_tokens": None, "completion_tokens": None, "duration_ms": 1, "created_at": at}
            await usages.add(unit.connection, [used | tokens, used | nothing])


async def test_what_one_did_is_counted_by_day(live: Live, user: Actor, other: Actor) -> None:
    await write(live, user)
    await write(live, other)
    body = (await user.client.get(f"{USAGE}?days=7&end_date={NOON + 100}")).json()
    assert body["totals"] == {
        "lifetime_tokens": 40, "input_tokens": 30, "output_tokens": 10, "peak_daily_tokens": 25,
        "longest_chat_seconds": 30, "current_streak": 1, "longest_streak": 1, "total_chats": 2, "active_days": 2,
        "models_used": 2, "messages": 6, "user_messages": 3, "assistant_messages": 3,
    }  # fmt: skip
    assert [d["date"][-2:] for d in body["heatmap"]] == ["13", "14", "15", "16", "17", "18", "19"]
    assert body["heatmap"][4] == {"date": "2026-11-17", "messages": 4, "chats": 1, "tokens": 15, "models": {"echo": 2}}
    assert [w["date"] for w in body["weekly_heatmap"]] == ["2026-11-09", "2026-11-16"]
    assert body["weekly_heatmap"][1]["models"] == {"echo": 2, "other": 1}
    assert [d["messages"] for d in body["cumulative_heatmap"]] == [0, 0, 0, 0, 4, 4, 6]
    assert body["top_models"][0] == {
        "model_id": "echo", "messages": 2, "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
    }  # fmt: skip
    assert body["insights"] == {
        "most_used_model": "echo", "average_tokens_per_chat": 20.0, "average_messages_per_active_day": 3.0,
        "user_message_share": 50.0, "assistant_message_share": 50.0,
    }  # fmt: skip
    assert body["period"] == {"start_date": NOON + 100 - 6 * DAY, "end_date": NOON + 100, "days": 7}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_sqlite_reads_ones_own_and_no_table_from_end_to_end(live: Live, user: Actor) -> None:
    await write(live, user)
    noted = SqlitePlans(live.settings.database_url.removeprefix("sqlite:///"))
    noted.watch(live.app.state.oui.database._readers.sync_engine)
    await reopen(live.app.state.oui.database)
    assert (await user.client.get(USAGE)).status_code == 200
    assert any("chat_message" in query for query in noted.statements)
    assert list(noted.scans({"chat", "chat_message", "usage", "usage_day"})) == []


async def test_nothing_done_is_zero_everywhere(user: Actor) -> None:
    body = (await user.client.get(USAGE)).json()
    assert set(body["totals"].values()) == {0}
    assert (len(body["heatmap"]), body["period"]["days"], body["top_models"]) == (730, 730, [])
    assert body["insights"]["most_used_model"] is None


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("days=6", 422), ("days=733", 422), ("days=x", 422), ("start_date=-1", 422), (f"end_date={10**30}", 422),
        ("start_date=0", 400), ("end_date=0", 400), ("start_date=200000&end_date=1", 400), ("days=732", 200),
        ("start_date=0&end_date=0", 200),
    ],
)  # fmt: skip
async def test_the_time_is_bounded(user: Actor, query: str, status: int) -> None:
    assert (await user.client.get(f"{USAGE}?{query}")).status_code == status


@pytest.mark.parametrize(
    ("active", "streaks"),
    [("", (0, 0)), ("1", (1, 1)), ("0", (0, 0)), ("1101", (1, 2)), ("110", (2, 2)), ("1100", (0, 2)), ("011", (2, 2))],
)
def test_streaks(active: str, streaks: tuple[int, int]) -> None:
    assert activity._streaks([c == "1" for c in active]) == streaks


def test_a_time_that_ends_before_it_begins() -> None:
    with pytest.raises(BadRequest):
        activity.period(None, 5 * DAY, DAY)
