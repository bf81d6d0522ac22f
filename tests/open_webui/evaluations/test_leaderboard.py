"""The leaderboard over the API: counted from all ratings, kept until one changes, and no burden to others meanwhile."""

import array
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.errors import ProviderError
from open_webui.models import feedbacks, tables
from open_webui.services import leaderboard, ratings
from tests.open_webui.evaluations.test_feedback import BASE, ONE, form, rate
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.turns import slowness, watched_turns

BOARD = f"{BASE}/leaderboard"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """What is SQL's runs on both."""
    return str(getattr(request, "param", "sqlite"))


async def entries(actor: Actor, query: str = "") -> list[dict[str, Any]]:
    reply = await actor.client.get(BOARD, params={"query": query} if query else {})
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["entries"]
    return found


@BOTH
async def test_the_board_follows_the_ratings(admin: Actor, user: Actor) -> None:
    assert await entries(admin) == []
    made = await rate(user, model="a", sibling_model_ids=["b"], tags=["cooking"])
    first = await entries(admin)
    assert list(first[0]) == ["model_id", "rating", "won", "lost", "count", "top_tags", "rating_low", "rating_high"]
    assert [(e["model_id"], e["rating"], e["won"], e["lost"], e["count"]) for e in first] == [
        ("a", 1016, 1, 0, 1),
        ("b", 984, 0, 1, 1),
    ]
    assert first[0]["top_tags"] == [{"tag": "cooking", "count": 1}]
    # A change within the same second is seen, and a removal too.
    changed = form(rating=-1, model="a", sibling_model_ids=["b"])
    assert (await say(user, "POST", f"{ONE}/{made['id']}", changed))[0] == 200
    assert [e["model_id"] for e in await entries(admin)] == ["b", "a"]
    assert await say(user, "DELETE", f"{ONE}/{made['id']}") == (200, True)
    assert await entries(admin) == []


@BOTH
async def test_the_oldest_rating_counts_first(live: Live, admin: Actor, user: Actor) -> None:
    rows = [
        {"id": f"r{n}", "user_id": user.id, "type": "rating", "created_at": at, "updated_at": 1}
        | feedbacks.stamped({"data": {"rating": 1, "model_id": model, "sibling_model_ids": [other]}})
        for n, (at, model, other) in enumerate([(30, "a", "b"), (10, "b", "c"), (20, "c", "a")])
    ]
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.feedback.insert(), rows)
    games = [
        ratings.Comparison(*game)
        for game in (("b", True, ("c",), ()), ("c", True, ("a",), ()), ("a", True, ("b",), ()))
    ]
    wanted = {entry.model_id: entry.rating for entry in ratings.leaderboard(games)}
    assert {e["model_id"]: e["rating"] for e in await entries(admin)} == wanted


async def test_a_board_is_counted_once_until_something_changes(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    real = leaderboard.Leaderboard._counted

    async def note(self: Any, query: str) -> Any:
        counted.append(query)
        return await real(self, query)

    monkeypatch.setattr(leaderboard.Leaderboard, "_counted", note)
    await rate(user, model="a", sibling_model_ids=["b"])
    await asyncio.gather(*(entries(admin) for _ in range(5)))
    await entries(admin, "cooking")
    await entries(admin, "  cooking  ")
    assert counted == ["", "cooking"]
    await rate(user, model="a", sibling_model_ids=["b"])
    await entries(admin)
    assert counted == ["", "cooking", ""]
    for n in range(leaderboard.MAX_KEPT + 5):
        await entries(admin, f"topic {n}")
    assert len(live.app.state.oui.leaderboard._kept) == leaderboard.MAX_KEPT


async def test_a_topic_by_letters(live: Live, admin: Actor, user: Actor) -> None:
    await rate(user, model="a", sibling_model_ids=["b"], tags=["Cooking"])
    await rate(user, model="b", sibling_model_ids=["a"], tags=["Sailing"])
    found = {e["model_id"]: (e["won"], e["lost"]) for e in await entries(admin, "cooking")}
    assert found == {"a": (1, 0), "b": (0, 1)}
    assert await entries(admin, "zzzz") == []
    assert (await admin.client.get(BOARD, params={"query": "x" * 501})).status_code == 422


class FakeEmbedder:
    """Two directions: the sea, and everything else."""

    signature = "fake"

    def __init__(self) -> None:
        self.fails = False
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        self.asked.append([*texts, *(["?"] if query else [])])
        if self.fails:
            raise ProviderError("The engine is away.")
        return [array.array("f", (1, 0) if text in {"Sailing", "boats"} else (0, 1)).tobytes() for text in texts]

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_topic_by_vectors_and_by_letters_where_the_engine_is_away(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rate(user, model="a", sibling_model_ids=["b"], tags=["Cooking"])
    await rate(user, model="b", sibling_model_ids=["a"], tags=["Sailing"])
    embedder = FakeEmbedder()
    monkeypatch.setattr(live.app.state.oui.retrieval, "embedder", lambda: embedder)
    found = {e["model_id"]: (e["won"], e["lost"]) for e in await entries(admin, "boats")}
    assert found == {"b": (1, 0), "a": (0, 1)}
    assert embedder.asked[0] == ["boats", "?"]
    embedder.fails = True
    assert [e["model_id"] for e in await entries(admin, "cooking")] == ["a", "b"]
    assert await entries(admin, "ships") == []
    # What was said without it is not kept until a rating changes.
    embedder.fails = False
    assert [e["model_id"] for e in await entries(admin, "ships")] == ["a", "b"]


@BOTH
async def test_a_models_history(live: Live, admin: Actor, user: Actor) -> None:
    await rate(user, rating=-1, model="with/slash", sibling_model_ids=None)
    today = {time.strftime("%Y-%m-%d", time.gmtime())}
    status, found = await say(admin, "GET", f"{BOARD}/with/slash/history?days=30")
    assert (status, found["model_id"], len(found["history"])) == (200, "with/slash", 30)
    assert found["history"][-1] | {"date": ""} == {"date": "", "won": 0, "lost": 1}
    assert {(day["won"], day["lost"]) for day in found["history"][:-1]} == {(0, 0)}
    # It may be midnight.
    assert found["history"][-1]["date"] in today | {time.strftime("%Y-%m-%d", time.gmtime())}
    assert len((await say(admin, "GET", f"{BOARD}/with/slash/history"))[1]["history"]) == 30
    # All there is: one day.
    assert len((await say(admin, "GET", f"{BOARD}/with/slash/history?days=0"))[1]["history"]) == 1
    assert len((await say(admin, "GET", f"{BOARD}/nobody/history?days=0"))[1]["history"]) == 1
    for days in ("-1", "x", "100000"):
        assert (await say(admin, "GET", f"{BOARD}/echo/history?days={days}"))[0] == 422


@BOTH
async def test_a_hundred_thousand_ratings_hold_nobody_up(live: Live, admin: Actor, user: Actor) -> None:
    rows = [
        {"id": f"r{n}", "user_id": user.id, "type": "rating", "created_at": n, "updated_at": n}
        | feedbacks.stamped(
            {
                "data": {
                    "rating": n % 2 or -1,
                    "model_id": f"m{n % 17}",
                    "sibling_model_ids": [f"m{n % 13}"],
                    "tags": [f"t{n % 40}"],
                }
            }
        )
        for n in range(100_000)
    ]
    async with live.app.state.oui.database.write() as unit:
        for k in range(0, len(rows), 5_000):
            await unit.connection.execute(tables.feedback.insert(), rows[k : k + 5_000])
    slow = slowness()
    with watched_turns() as turns:
        assert len(await entries(admin, "t7")) == 17
    assert turns.longest < 0.3 * max(slow, slowness()), turns
    # It is kept.
    began = time.process_time()
    await entries(admin, "t7")
    assert time.process_time() - began < 0.5 * max(slow, slowness())


@BOTH
async def test_only_the_newest_of_very_many_count(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "MAX_RATINGS", 3)
    monkeypatch.setattr(feedbacks, "BOARD_BATCH", 2)
    rows = [
        {"id": f"r{n}", "user_id": user.id, "type": "rating", "created_at": n, "updated_at": n}
        | feedbacks.stamped({"data": {"rating": 1, "model_id": f"m{n}", "sibling_model_ids": ["x"]}})
        for n in range(5)
    ]
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.feedback.insert(), rows)
    assert {e["model_id"] for e in await entries(admin)} == {"m2", "m3", "m4", "x"}


async def test_a_rating_that_another_process_stored_is_seen(live: Live, admin: Actor, user: Actor) -> None:
    """Nobody is told of it: what differs is in the database."""
    await rate(user, model="a", sibling_model_ids=["b"])
    before = await entries(admin)
    async with live.app.state.oui.database.write() as unit:
        changed = feedbacks.stamped({"data": {"rating": -1, "model_id": "a", "sibling_model_ids": ["b"]}})
        await unit.connection.execute(sa.update(tables.feedback).values(changed))
    assert await entries(admin) != before
