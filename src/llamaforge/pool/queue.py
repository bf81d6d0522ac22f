"""A fixed number of slots and a line of those who wait for one, in which users take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from llamaforge.exceptions import LlamaForgeError, ModelBusyError

OnWait = Callable[[int], object]
GiveWay = Callable[[], object]


@dataclass(slots=True, eq=False)
class _Waiter:
    granted: asyncio.Future[None]
    on_wait: OnWait | None
    position: int = 0

    def move(self, position: int) -> None:
        if position != self.position:
            self.position = position
            if self.on_wait is not None:
                # From the loop: what the callback raises must not hit whoever gave a slot back.
                self.granted.get_loop().call_soon(self._tell, self.on_wait, position)

    def _tell(self, on_wait: OnWait, position: int) -> None:
        if not self.granted.done():
            on_wait(position)


class FairQueue:
    """Slots for requests. When all are taken, users are served in turn, each one's requests in their order.

    Patient requests are served when nobody else waits, and are told to give way when somebody does.
    """

    def __init__(self, slots: int, limit: int) -> None:
        """limit: how many may wait."""
        self.slots = slots
        self.in_use = 0
        self.waiting = 0
        self._limit = limit
        self._lines: dict[str, deque[_Waiter]] = {}  # the user whose turn is next comes first
        self._patient: deque[_Waiter] = deque()
        self._givers: list[GiveWay] = []  # of the patient ones that have a slot

    async def acquire(self, user: str, on_wait: OnWait | None = None, give_way: GiveWay | None = None) -> None:
        """Take a slot, waiting for it if need be. `on_wait` gets the position in the line, from 1, whenever it changes.

        give_way: makes the request a patient one; called, at most once, when the slot is wanted by another.
        Raises ModelBusyError when too many wait.
        """
        if give_way is not None:
            await self._acquire_patiently(give_way)
            return
        if self.in_use < self.slots and not self.waiting:
            self.in_use += 1
            return
        if self.waiting >= self._limit:
            raise ModelBusyError(f"The model is busy: {self.waiting} requests wait already. Try again later.")
        waiter = _Waiter(asyncio.get_running_loop().create_future(), on_wait)
        self._lines.setdefault(user, deque()).append(waiter)
        self.waiting += 1
        if self._givers:
            self._givers.pop()()
        self._tell()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._leave(user, waiter)
            elif waiter.granted.exception() is None:  # cancelled between being granted the slot and taking it
                self.release()
            raise

    async def _acquire_patiently(self, give_way: GiveWay) -> None:
        if self.in_use < self.slots and not self.waiting:
            self.in_use += 1
        elif len(self._patient) >= self._limit:
            raise ModelBusyError("The model is busy. Try again later.")
        else:
            waiter = _Waiter(asyncio.get_running_loop().create_future(), None)
            self._patient.append(waiter)
            try:
                await waiter.granted
            except asyncio.CancelledError:
                if waiter.granted.cancelled():
                    if waiter in self._patient:
                        self._patient.remove(waiter)
                elif waiter.granted.exception() is None:
                    self.release()
                raise
        self._givers.append(give_way)

    def release(self, give_way: GiveWay | None = None) -> None:
        """Give a slot back. give_way: as it was given for it."""
        if give_way in self._givers:
            self._givers.remove(give_way)
        self.in_use -= 1
        self._grant()

    def resize(self, slots: int) -> None:
        """Change the number of slots; those taken beyond it stay until they are given back."""
        self.slots = slots
        self._grant()

    def fail(self, error: LlamaForgeError) -> None:
        """Send everybody away who waits."""
        for waiter in (*self._order(), *self._patient):
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
        self._lines.clear()
        self._patient.clear()
        self.waiting = 0

    def _grant(self) -> None:
        while self.in_use < self.slots and self._lines:
            user, line = next(iter(self._lines.items()))
            waiter = line.popleft()
            del self._lines[user]
            if line:
                self._lines[user] = line
            self.waiting -= 1
            if not waiter.granted.done():
                self.in_use += 1
                waiter.granted.set_result(None)
        while self.in_use < self.slots and self._patient:
            waiter = self._patient.popleft()
            if not waiter.granted.done():
                self.in_use += 1
                waiter.granted.set_result(None)
        self._tell()

    def _leave(self, user: str, waiter: _Waiter) -> None:
        line = self._lines.get(user)
        if line is None or waiter not in line:
            return
        line.remove(waiter)
        if not line:
            del self._lines[user]
        self.waiting -= 1
        self._tell()

    def _order(self) -> list[_Waiter]:
        rounds = zip_longest(*self._lines.values())
        return [waiter for turn in rounds for waiter in turn if waiter is not None]

    def _tell(self) -> None:
        for position, waiter in enumerate(self._order(), 1):
            waiter.move(position)
