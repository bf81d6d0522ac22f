"""What keys spend, counted in the database: never more than there is, whoever asks at once, and whatever becomes of a call."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.connections.calls import Call, Estimate
from open_webui.env import Settings
from open_webui.errors import Forbidden, TooManyRequests
from open_webui.internal.db import Database, open_database
from open_webui.models import budgets, tables
from open_webui.principal import KeyLimits, Principal
from open_webui.services import spending as module
from open_webui.services.spending import Spending

CALL = Call(user_id="ann", model_id="echo", connection="c", kind="api", started=0.0)
NOON = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()


def caller(*ids: str) -> Principal:
    key = KeyLimits(id="k", budgets=ids)
    return Principal(id="ann", role="user", name="Ann", email="ann@example.com", via="api_key", key=key)


class Processes:
    """Two processes on one database."""

    def __init__(self, databases: list[Database]) -> None:
        self.databases = databases
        self.spendings = [Spending(database) for database in databases]

    async def budget(self, name: str = "B", **limits: int) -> str:
        async with self.databases[0].write() as unit:
            given = [limits.get(limit) for limit in budgets.LIMITS]
            return await budgets.put(unit.connection, None, None, name, given)

    async def used(self, budget_id: str) -> dict[str, tuple[int, int]]:
        for one in self.spendings:
            await one.close()
        t = tables.budget_use
        async with self.databases[1].read() as connection:
            rows = await connection.execute(sa.select(t).where(t.c.budget_id == budget_id))
            return {row.period: (row.requests, row.tokens) for row in rows}

    async def let_in(self, many: int, estimate: Estimate, *ids: str) -> int:
        """How many of so many at once, in both processes, are let in."""

        async def one(n: int) -> bool:
            try:
                await self.spendings[n % 2].reserve(caller(*ids), CALL, estimate)
            except TooManyRequests:
                return False
            return True

        return sum(await asyncio.gather(*(one(n) for n in range(many))))


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[Processes]:
    made = Processes([open_database(settings) for _ in range(2)])
    yield made
    for each in made.spendings:
        await each.close()
    for database in made.databases:
        await database.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(at=NOON)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: made.at))
    return made


async def test_of_many_at_once_as_many_are_let_in_as_there_is_room_for(both: Processes) -> None:
    by_requests = await both.budget(requests_a_day=17)
    assert await both.let_in(40, Estimate(5, None), by_requests) == 17
    assert set((await both.used(by_requests)).values()) == {(17, 85)}
    by_tokens = await both.budget("Tokens", tokens_a_month=1_000)
    assert await both.let_in(40, Estimate(20, 40), by_tokens) == 16
    assert set((await both.used(by_tokens)).values()) == {(16, 960)}


async def test_what_a_call_cost_takes_the_place_of_what_was_set_aside(both: Processes) -> None:
    one = await both.budget(tokens_a_day=1_000)
    spending = both.spendings[0]
    for end, left in (
        ({"prompt_tokens": 7, "completion_tokens": 20}, (1, 27)),
        ({"prompt_tokens": None, "completion_tokens": 300}, (2, 327)),
        # Nobody told: what was set aside stays.
        ({"prompt_tokens": None, "completion_tokens": None}, (3, 437)),
        (None, (4, 547)),
        ("release", (4, 547)),
    ):  # fmt: skip
        held = await spending.reserve(caller(one), CALL, Estimate(10, 100))
        if end == "release":
            held.release()
        else:
            held.settle(end)  # type: ignore[arg-type]
        assert set((await both.used(one)).values()) == {left}, end
    # More than was set aside is counted, too, and the next one is refused.
    held = await spending.reserve(caller(one), CALL, Estimate(10, 100))
    held.settle({"prompt_tokens": 900, "completion_tokens": 900})
    assert set((await both.used(one)).values()) == {(5, 2_347)}
    with pytest.raises(TooManyRequests, match="used up for today"):
        await spending.reserve(caller(one), CALL, Estimate(1, None))


async def test_what_a_killed_process_had_set_aside_stays(both: Processes) -> None:
    """It is not spent twice: nobody knows what the provider did."""
    one = await both.budget(requests_a_day=2, tokens_a_day=100)
    await both.spendings[0].reserve(caller(one), CALL, Estimate(10, 50))
    # The first process is gone, without a word.
    with pytest.raises(TooManyRequests, match=r"may cost 41 tokens, and the budget 'B' has 40 left for today"):
        await both.spendings[1].reserve(caller(one), CALL, Estimate(41, None))
    await both.spendings[1].reserve(caller(one), CALL, Estimate(40, None))
    assert set((await both.used(one)).values()) == {(2, 100)}


async def test_days_and_months(both: Processes, clock: SimpleNamespace) -> None:
    one = await both.budget(requests_a_day=1, requests_a_month=2)
    spending = both.spendings[0]

    async def refused() -> tuple[str, int]:
        with pytest.raises(TooManyRequests) as error:
            await spending.reserve(caller(one), CALL, Estimate(1, None))
        return str(error.value.detail), int(error.value.headers["Retry-After"])

    await spending.reserve(caller(one), CALL, Estimate(1, None))
    sentence, seconds = await refused()
    assert sentence == "The budget 'B' is used up for today. It begins anew in 12 hours."
    assert seconds == 12 * 3600 + 1
    # It is the last day of the month.
    clock.at += seconds
    await spending.reserve(caller(one), CALL, Estimate(1, None))
    clock.at += 86_400
    await spending.reserve(caller(one), CALL, Estimate(1, None))
    clock.at += 86_400
    sentence, seconds = await refused()
    assert "used up for this month. It begins anew in 29 days" in sentence
    assert datetime.fromtimestamp(clock.at + seconds, UTC).strftime("%Y-%m-%d") == "2027-02-01"
    assert sorted(await both.used(one)) == ["2026-12", "2026-12-31", "2027-01", "2027-01-01", "2027-01-02"]


async def test_a_key_in_two_budgets_counts_in_both_or_in_none(both: Processes) -> None:
    wide, narrow = await both.budget("Wide", requests_a_day=100), await both.budget("Narrow", requests_a_day=1)
    for ids in ((wide, narrow), (narrow, wide)):
        await both.let_in(1, Estimate(1, None), *ids)
    assert set((await both.used(wide)).values()) == {(1, 1)} == set((await both.used(narrow)).values())


async def test_a_budget_that_is_gone_lets_nobody_in(both: Processes) -> None:
    with pytest.raises(Forbidden, match="is gone"):
        await both.spendings[0].reserve(caller("gone"), CALL, Estimate(1, None))


async def test_who_is_cancelled_counts_nothing(both: Processes) -> None:
    one = await both.budget(requests_a_day=5)
    async with both.databases[1].write() as unit:
        await unit.connection.execute(tables.budget.update().values(updated_at=int(time.time())))
        task = asyncio.create_task(both.spendings[0].reserve(caller(one), CALL, Estimate(1, None)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await both.used(one) == {}


def test_whom_it_concerns(both: Any) -> None:
    """Sessions, and keys in no budget, cost no statement."""
    spending = both.spendings[0]
    person = Principal(id="ann", role="user", name="Ann", email="ann@example.com")
    assert [spending.concerns(one) for one in (person, caller(), caller("b"))] == [False, False, True]


async def test_what_was_spent_long_ago_goes(both: Processes) -> None:
    database, t = both.databases[0], tables.budget_use
    spent = {"requests": 1, "tokens": 1}
    periods = ["2024-12", "2025-11-30", "2025-12", "2025-12-01", "2027-01", "2027-01-31"]
    async with database.write() as unit:
        budget_id = await budgets.put(unit.connection, None, None, "B", [None] * 4)
        rows = [{"budget_id": budget_id, "period": period, **spent} for period in periods]
        await unit.connection.execute(t.insert(), rows)
        await budgets.forget_old(unit.connection, datetime(2027, 1, 31, tzinfo=UTC))
        assert sorted(await unit.connection.scalars(sa.select(t.c.period))) == periods[2:]
