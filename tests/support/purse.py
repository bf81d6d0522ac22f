"""A budget for the tests: it notes what is asked of it, and how each reservation ends."""

import asyncio
from collections.abc import Callable
from typing import Any

from open_webui.connections.calls import Call, Estimate
from open_webui.errors import TooManyRequests
from open_webui.principal import Principal

USED_UP = "You have used up your tokens for today. Ask again in an hour."


class Held:
    """calls.Reservation: how it ended, once."""

    def __init__(self, call: Call, estimate: Estimate) -> None:
        self.call = call
        self.estimate = estimate
        self.ends: list[Any] = []

    def settle(self, counts: dict[str, int | None] | None) -> None:
        self.ends.append(counts)

    def release(self) -> None:
        self.ends.append("released")


class Purse:
    """calls.Budget: has tokens, but for the calls that it is told to refuse."""

    def __init__(self, refuses: Callable[[Call], bool] = lambda _call: False) -> None:
        self.refuses = refuses
        self.refused: list[tuple[Principal, Call]] = []
        self.held: list[Held] = []

    def concerns(self, _principal: Principal) -> bool:
        return True

    async def reserve(self, principal: Principal, call: Call, estimate: Estimate) -> Held:
        await asyncio.sleep(0)
        if self.refuses(call):
            self.refused.append((principal, call))
            raise TooManyRequests(USED_UP, headers={"Retry-After": "3600"})
        self.held.append(Held(call, estimate))
        return self.held[-1]

    def ends(self) -> list[Any]:
        """How all reservations ended: each has, and once."""
        assert [len(held.ends) for held in self.held] == [1] * len(self.held)
        return [held.ends[0] for held in self.held]
