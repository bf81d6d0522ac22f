"""The gate's budget: what API keys may spend, asked before each call that costs tokens (see `calls.Budget`).

A request and what it may cost are counted in the database before the call. When it is over, what it cost takes that place; a call
that failed before an answer began is given back. Of a process that is killed meanwhile, what it had set aside stays counted until
the period is over: a budget is never spent twice.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from open_webui.connections.calls import Call, Estimate, Reservation
from open_webui.errors import Forbidden, TooManyRequests
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import budgets
from open_webui.models.budgets import Budget, Period, Used
from open_webui.principal import Principal

log = get_logger(__name__)
USED_UP: Final = "The budget '{}' is used up for {}. It begins anew in {}."
TOO_LITTLE: Final = "This call may cost {:,} tokens, and the budget '{}' has {:,} left for {}. It begins anew in {}."
GONE: Final = "The budget that this API key counts in is gone. Give the key another one."


def day_of(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def month_of(at: datetime) -> str:
    return at.strftime("%Y-%m")


def periods_of(budget: Budget, at: datetime) -> tuple[Period, Period]:
    """The day and the month of a moment."""
    return (
        Period(day_of(at), budget.requests_a_day, budget.tokens_a_day),
        Period(month_of(at), budget.requests_a_month, budget.tokens_a_month),
    )


class Spending:
    """`calls.Budget` for keys that are in one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._settling: set[asyncio.Task[None]] = set()

    def concerns(self, principal: Principal) -> bool:
        return principal.key is not None and bool(principal.key.budgets)

    async def reserve(self, principal: Principal, call: Call, estimate: Estimate) -> Reservation:  # noqa: ARG002
        """Raises TooManyRequests."""
        ids = () if principal.key is None else principal.key.budgets
        tokens = estimate.prompt + (estimate.completion or 0)
        at = datetime.fromtimestamp(time.time(), UTC)
        # What is refused is rolled back with what was counted before it.
        async with self._database.write(aside=True) as unit:
            for budget_id in sorted(ids):
                budget = await budgets.get(unit.connection, budget_id)
                if budget is None:
                    raise Forbidden(GONE, status=403)
                for period in periods_of(budget, at):
                    found = await budgets.take(unit.connection, budget_id, period, tokens)
                    if found is not None:
                        raise _refusal(budget, period, found, tokens, at)
        return _Held(self, sorted(ids), (day_of(at), month_of(at)), tokens)

    def change(self, held: "_Held", requests: int, tokens: int) -> None:
        """Takes back so much, soon."""
        task = asyncio.create_task(self._change(held, requests, tokens), name="settle a budget")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _change(self, held: "_Held", requests: int, tokens: int) -> None:
        try:
            async with self._database.write(aside=True) as unit:
                await budgets.give_back(unit.connection, held.ids, held.periods, requests, tokens)
        except (SQLAlchemyError, OSError) as error:
            log.warning("what a call cost could not be told to its budget", error=str(error))

    async def close(self) -> None:
        """Finishes what is being written."""
        await asyncio.gather(*self._settling)


class _Held:
    """`calls.Reservation`."""

    __slots__ = ("_spending", "ids", "periods", "tokens")

    def __init__(self, spending: Spending, ids: list[str], periods: tuple[str, str], tokens: int) -> None:
        self._spending, self.ids, self.periods, self.tokens = spending, ids, periods, tokens

    def settle(self, counts: dict[str, int | None] | None) -> None:
        told = None if counts is None else (counts["prompt_tokens"], counts["completion_tokens"])
        if told is None or told == (None, None):
            # Nobody knows what it cost: what was set aside stays.
            return
        cost = sum(count or 0 for count in told)
        if cost != self.tokens:
            self._spending.change(self, 0, self.tokens - cost)

    def release(self) -> None:
        self._spending.change(self, 1, self.tokens)


def _refusal(budget: Budget, period: Period, found: Used, tokens: int, at: datetime) -> TooManyRequests:
    is_day = period.name == day_of(at)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    until = midnight + timedelta(days=1) if is_day else (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    seconds = max(1, int((until - at).total_seconds()) + 1)
    named, wait = ("today" if is_day else "this month"), _words(seconds)
    left = 0 if period.tokens is None else max(0, period.tokens - found.tokens)
    if left == 0 or (period.requests is not None and found.requests >= period.requests):
        sentence = USED_UP.format(budget.name, named, wait)
    else:
        sentence = TOO_LITTLE.format(tokens, budget.name, left, named, wait)
    return TooManyRequests(sentence, headers={"Retry-After": str(seconds)})


def _words(seconds: int) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds // 86_400} days"
    return f"{seconds // 3_600} hours" if seconds >= 2 * 3_600 else f"{max(1, seconds // 60)} minutes"
