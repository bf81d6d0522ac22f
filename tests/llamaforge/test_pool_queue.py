"""Slots and the line for them: turns of users, positions, and waiters that go away."""

import asyncio
import functools

import pytest

from llamaforge.exceptions import ModelBusyError
from llamaforge.pool.queue import FairQueue


class Line:
    """Waiters of one queue, in the order in which they got their slot."""

    def __init__(self, slots=1, limit=100):
        self.queue = FairQueue(slots, limit)
        self.served = []
        self.positions = {}

    async def wait(self, user, name):
        self.positions[name] = []
        await self.queue.acquire(user, self.positions[name].append)
        self.served.append(name)

    async def join(self, *names):
        """Waiters called by their user and a number, such as "a1"."""
        tasks = []
        for name in names:
            tasks.append(asyncio.create_task(self.wait(name[0], name)))
            await settle()
        return tasks

    async def serve(self, count):
        for _ in range(count):
            self.queue.release()
            await settle()


async def settle():
    for _ in range(4):
        await asyncio.sleep(0)


async def test_a_free_slot_is_taken_without_waiting():
    line = Line(slots=2)
    await line.join("a1", "a2")
    assert line.served == ["a1", "a2"]
    assert line.positions == {"a1": [], "a2": []}
    assert (line.queue.in_use, line.queue.waiting) == (2, 0)


async def test_users_take_turns_when_all_slots_are_taken():
    line = Line()
    await line.join("x0", "a1", "a2", "a3", "b1", "b2", "c1")
    await line.serve(6)
    assert line.served == ["x0", "a1", "b1", "c1", "a2", "b2", "a3"]


async def test_positions_are_told_whenever_they_change_and_only_then():
    line = Line()
    await line.join("x0", "a1", "a2", "b1")
    assert line.positions == {"x0": [], "a1": [1], "a2": [2, 3], "b1": [2]}
    await line.serve(1)
    # a1 runs, and it is the turn of b.
    assert line.positions == {"x0": [], "a1": [1], "a2": [2, 3, 2], "b1": [2, 1]}


async def test_a_cancelled_waiter_leaves_no_trace():
    line = Line()
    _, first, second = await line.join("x0", "a1", "b1")
    first.cancel()
    await settle()
    assert (line.queue.in_use, line.queue.waiting) == (1, 1)
    assert line.positions["b1"] == [2, 1]
    await line.serve(1)
    assert line.served == ["x0", "b1"]
    await second
    await line.serve(1)
    assert (line.queue.in_use, line.queue.waiting) == (0, 0)


async def test_a_slot_granted_to_a_waiter_that_is_cancelled_meanwhile_goes_to_the_next():
    line = Line()
    _, first, _ = await line.join("x0", "a1", "b1")
    line.queue.release()  # granted to a1, which has not run since
    first.cancel()
    await settle()
    assert line.served == ["x0", "b1"]
    assert (line.queue.in_use, line.queue.waiting) == (1, 0)


async def test_too_many_are_sent_away():
    line = Line(limit=2)
    await line.join("x0", "a1", "a2")
    with pytest.raises(ModelBusyError, match="2 requests wait already"):
        await line.queue.acquire("b")


async def test_everybody_is_sent_away_at_the_end():
    line = Line()
    _, first, second = await line.join("x0", "a1", "b1")
    line.queue.fail(ModelBusyError("closed"))
    for task in (first, second):
        with pytest.raises(ModelBusyError, match="closed"):
            await task
    assert (line.queue.in_use, line.queue.waiting) == (1, 0)


async def test_more_slots_serve_those_who_wait_and_fewer_take_none_away():
    line = Line()
    await line.join("x0", "a1", "a2", "a3")
    line.queue.resize(3)
    await settle()
    assert line.served == ["x0", "a1", "a2"]
    line.queue.resize(1)
    await line.serve(2)
    assert line.served == ["x0", "a1", "a2"]
    await line.serve(1)
    assert line.served == ["x0", "a1", "a2", "a3"]


async def test_what_a_callback_raises_hits_nobody_else():
    queue = FairQueue(1, 10)
    await queue.acquire("x")
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))

    def fail(_position):
        raise LookupError("the listener's own")

    waiter = asyncio.create_task(queue.acquire("a", fail))
    await settle()
    queue.release()
    await waiter
    assert [str(error) for error in told] == ["the listener's own"]
    assert queue.in_use == 1


# ---- patient requests


async def test_patient_requests_wait_for_all_others() -> None:
    queue, order = FairQueue(1, 10), []

    async def ask(name: str, *, patient: bool = False) -> None:
        give_way = (lambda: None) if patient else None
        await queue.acquire(name, None, give_way)
        order.append(name)
        await asyncio.sleep(0)
        queue.release(give_way)

    await queue.acquire("first")
    tasks = [asyncio.create_task(ask("patient", patient=True))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(ask(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    queue.release()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "patient"]
    assert queue.in_use == 0


async def test_a_patient_request_gives_way_once_to_who_has_to_wait() -> None:
    queue, asked = FairQueue(2, 10), []
    give_way = functools.partial(asked.append, "asked")
    await queue.acquire("x", None, give_way)
    await queue.acquire("y")
    assert asked == []  # there was a slot for each
    waiting = asyncio.create_task(queue.acquire("z"))
    second = asyncio.create_task(queue.acquire("w"))
    await asyncio.sleep(0)
    assert asked == ["asked"]
    queue.release(give_way)
    await waiting
    queue.release()
    await second
    assert queue.in_use == 2


async def test_a_patient_request_that_goes_or_is_sent_away_holds_nothing() -> None:
    queue = FairQueue(1, 1)
    await queue.acquire("x")
    patient = asyncio.create_task(queue.acquire("p", None, print))
    await asyncio.sleep(0)
    with pytest.raises(ModelBusyError):
        await queue.acquire("q", None, print)
    patient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await patient
    again = asyncio.create_task(queue.acquire("p", None, print))
    await asyncio.sleep(0)
    queue.fail(ModelBusyError("unloaded"))
    with pytest.raises(ModelBusyError, match="unloaded"):
        await again
    queue.release()
    await queue.acquire("p", None, print)
    assert queue.in_use == 1
