"""The queue's rules: keys, order, leases, retries, progress, cancelling, and what can't be read."""

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.errors import Conflict, NotFound, Unavailable
from open_webui.internal.db import UnitOfWork
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.runner import LEASE, LEFT, RENEW, UNKNOWN
from open_webui.models import tables
from tests.open_webui.jobs.world import NOTE, START, Work, World

t = tables.job
only_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


async def spoil(world: World, job_id: str | None, **values: Any) -> None:
    async with world.database.write() as unit:
        await unit.connection.execute(t.update().where(t.c.id == job_id).values(values))


class Held:
    """A handler that stands until it is let go."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.runs: list[Run] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.was_cancelled = False

    async def __call__(self, run: Run, work: Work) -> None:
        self.runs.append(run)
        self.began.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        await self._world.effect(run, work)


# In and out


async def test_a_job_is_done_and_kept_for_a_while(world: World) -> None:
    process = await world.process(world.kind(keep=100.0))
    job_id = await world.put(process)
    assert await process.go() == 100.0
    job = await world.job(job_id)
    assert (job.state, job.attempts, job.error, job.progress) == ("done", 1, None, 1.0)
    assert (job.created_at, job.started_at, job.finished_at) == (START, START, START)
    world.advance(99)
    await process.go()
    assert await world.rows() != []
    world.advance(1)
    assert await process.go() is None
    assert await world.rows() == []
    assert await world.effects() == {"a": 1}


async def test_one_that_is_not_kept_goes_with_its_effect(world: World) -> None:
    process = await world.process(world.kind(keep=0))
    await world.put(process)
    assert await process.go() is None
    assert await world.rows() == []
    assert await world.effects() == {"a": 1}


async def test_a_handler_that_does_not_commit_is_done_when_it_returns(world: World) -> None:
    async def handler(_run: Run, _work: Work) -> None:
        world.begun["x"] += 1

    process = await world.process(world.kind(handler))
    job_id = await world.put(process)
    await process.go()
    assert (await world.job(job_id)).state == "done"
    assert world.begun["x"] == 1


async def test_what_is_rolled_back_was_never_there(world: World) -> None:
    process = await world.process()
    woken = []
    process.queue.listen(woken.append)

    async def fail() -> None:
        async with process.queue.database.write() as unit:
            await process.queue.enqueue(unit, process.queue.kinds["work"], Work("a"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await world.rows() == []
    assert woken == []
    await world.put(process)
    assert woken == [None]


async def test_nothing_waits_and_nothing_is_asked_again(world: World) -> None:
    process = await world.process()
    assert await process.runner.round() is None
    await world.put(process, run_at=START / 1000 + 90)
    assert await process.runner.round() == 90.0
    world.advance(90)
    await process.go()
    assert await world.effects() == {"a": 1}


async def test_the_most_urgent_goes_first_then_the_eldest(world: World) -> None:
    order: list[str] = []

    async def handler(_run: Run, work: Work) -> None:
        order.append(work.name)

    process = await world.process(world.kind(handler))
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)):
        await world.put(process, name, priority=priority)
        world.advance(0.001)
    await process.go()
    assert order == ["b", "e", "a", "c", "d"]


async def test_so_many_of_a_kind_run_at_once(world: World) -> None:
    held = Held(world)
    other: list[str] = []

    async def quick(_run: Run, work: Work) -> None:
        other.append(work.name)

    process = await world.process(world.kind(held, concurrency=2), world.kind(quick, name="quick"))
    for k in range(5):
        await world.put(process, f"n{k}")
    await world.put(process, "q", kind="quick")
    await process.runner.round()
    await asyncio.sleep(0)
    # A kind at its bound keeps none from another.
    assert other == ["q"]
    assert len(held.runs) == 2
    held.go_on.set()
    await process.settle()
    await process.go()
    assert await world.effects() == {f"n{k}": 1 for k in range(5)}


# Keys


async def test_one_of_a_key_waits_or_runs(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    first = await world.put(process, "a", key="k")
    assert first is not None
    assert await world.put(process, "b", key="k") is None
    assert await world.put(process, "c", key="another", run_at=START / 1000 + 1000) is not None
    await process.runner.round()
    await held.began.wait()
    assert await world.put(process, "d", key="k") is None
    held.go_on.set()
    await process.settle()
    assert await world.put(process, "e", key="k") is not None
    await process.go()
    assert await world.effects() == {"a": 1, "e": 1}


async def test_of_many_at_once_one_has_the_key(world: World) -> None:
    process = await world.process()
    found = await asyncio.gather(*(world.put(process, f"n{k}", key="k") for k in range(8)))
    assert len([job_id for job_id in found if job_id is not None]) == 1
    await process.go()
    assert len(await world.effects()) == 1


# Failing


async def test_it_is_tried_again_with_growing_pauses_and_then_fails(world: World) -> None:
    async def handler(run: Run, _work: Work) -> None:
        raise Unavailable(f"No luck at attempt {run.job.attempts}.")

    process = await world.process(world.kind(handler, retry=Retry(attempts=4, first=10, longest=30)))
    job_id = await world.put(process)
    waits = []
    while (await world.job(job_id)).state != "failed":
        wait = await process.go()
        assert wait is not None
        waits.append(wait)
        world.advance(wait)
    job = await world.job(job_id)
    assert waits[:3] == [10, 20, 30]
    assert (job.attempts, job.error) == (4, "No luck at attempt 4.")


def test_a_pause_is_spread_and_bounded() -> None:
    retry = Retry(first=10, longest=100)
    assert [retry.pause(1, spread) for spread in (0.0, 0.5, 1.0)] == [10, 7.5, 5]
    assert retry.pause(10_000, 0.0) == 100


async def test_one_that_gives_up_is_not_tried_again(world: World) -> None:
    async def handler(_run: Run, _work: Work) -> None:
        raise GiveUp("This can't be done.")

    process = await world.process(world.kind(handler))
    job_id = await world.put(process)
    await process.go()
    job = await world.job(job_id)
    assert (job.state, job.attempts, job.error) == ("failed", 1, "This can't be done.")


async def test_what_nobody_had_foreseen_is_a_sentence_without_details(world: World) -> None:
    async def handler(_run: Run, _work: Work) -> None:
        raise KeyError("a secret")

    process = await world.process(world.kind(handler))
    job_id = await world.put(process)
    await process.go()
    job = await world.job(job_id)
    assert (job.state, job.error) == ("waiting", "Something went wrong (KeyError). The log has the details.")


async def test_a_time_limit_ends_an_attempt(world: World) -> None:
    async def handler(_run: Run, _work: Work) -> None:
        await asyncio.Event().wait()

    process = await world.process(world.kind(handler, time_limit=0.01))
    job_id = await world.put(process)
    await process.go()
    job = await world.job(job_id)
    assert (job.state, job.error) == ("waiting", "It took longer than 0.01 seconds.")


async def test_what_fails_after_its_commit_is_done(world: World) -> None:
    async def handler(run: Run, work: Work) -> None:
        await world.effect(run, work)
        raise KeyError

    process = await world.process(world.kind(handler))
    job_id = await world.put(process)
    await process.go()
    assert (await world.job(job_id)).state == "done"
    assert await world.effects() == {"a": 1}


async def test_one_that_failed_is_done_anew_when_an_administrator_says_so(world: World) -> None:
    broken = True

    async def handler(run: Run, work: Work) -> None:
        if broken:
            raise GiveUp("Not yet.")
        await world.effect(run, work)

    process = await world.process(world.kind(handler))
    job_id = await world.put(process, key="k")
    await process.go()
    broken = False
    assert job_id is not None
    job = await process.queue.retry(job_id)
    assert (job.state, job.error, job.finished_at) == ("waiting", None, None)
    assert await world.put(process, "b", key="k") is None
    await process.go()
    assert (await world.job(job_id)).state == "done"
    with pytest.raises(Conflict, match="done"):
        await process.queue.retry(job_id)
    with pytest.raises(NotFound):
        await process.queue.retry("none")


async def test_not_when_another_about_the_same_waits(world: World) -> None:
    process = await world.process()
    job_id = await world.put(process, key="k")
    assert job_id is not None
    await process.queue.cancel(job_id)
    assert await world.put(process, "b", key="k") is not None
    with pytest.raises(Conflict, match="waiting or being done"):
        await process.queue.retry(job_id)
    assert (await world.job(job_id)).state == "cancelled"
    await process.go()
    assert await world.effects() == {"b": 1}


async def test_a_job_that_ends_its_process_ends_only_so_many(world: World) -> None:
    held = Held(world)
    kind = world.kind(held, retry=Retry(attempts=3))
    job_id = None
    for k in range(3):
        process = await world.process(kind)
        job_id = job_id or await world.put(process)
        await process.runner.round()
        assert len(held.runs) == k + 1
        await process.kill()
        await world.wait_for_leases()
    process = await world.process(kind)
    await process.go()
    job = await world.job(job_id)
    assert (job.state, job.error) == ("failed", LEFT.format(3))
    assert len(held.runs) == 3


# What can't be read


async def test_a_kind_is_told_what_it_gives_up(world: World) -> None:
    """In the unit that stores it: by its handler, with its processes, and by an administrator."""
    told: list[tuple[str, str]] = []

    async def given_up(unit: UnitOfWork, work: Work, reason: str) -> None:
        told.append((work.name, reason))
        await unit.connection.execute(NOTE, {"name": f"no {work.name}"})

    async def handler(_run: Run, work: Work) -> None:
        if work.name == "passing":
            raise Unavailable("Not now.")
        if work.name == "killed":
            await asyncio.Event().wait()
        raise GiveUp("This can't be done.")

    def kind(**options: Any) -> Kind[Work]:
        return world.kind(handler, given_up=given_up, retry=Retry(attempts=2, first=1.0), keep=0, **options)

    process = await world.process(kind())
    for name in ("final", "passing"):
        await world.put(process, name)
    await process.go()
    assert told == [("final", "This can't be done.")]
    world.advance(2)
    await process.go()
    assert told[1:] == [("passing", "Not now.")]
    cancelled = await world.put(process, "cancelled", run_at=world.at / 1000 + 50)
    await process.queue.cancel(cancelled or "")
    assert told[2:] == [("cancelled", "It was cancelled.")]
    await world.put(process, "killed")
    for _ in range(2):
        await process.runner.round()
        await process.kill()
        await world.wait_for_leases()
        process = await world.process(kind())
    await process.go()
    assert told[3:] == [("killed", LEFT.format(2))]
    assert await world.effects() == {f"no {name}": 1 for name, _ in told}


@pytest.mark.parametrize("payload", ["", "nonsense", "[]", '{"name": 5}', "[" * 100_000])
async def test_a_payload_that_cannot_be_read_fails_alone(world: World, payload: str) -> None:
    process = await world.process()
    bad = await world.put(process, "bad", priority=9)
    await world.put(process, "good")
    await spoil(world, bad, payload=payload)
    await process.go()
    job = await world.job(bad)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.startswith("What this job was to do can't be read")
    assert await world.effects() == {"good": 1}


async def test_a_kind_that_nobody_knows_is_tried_a_few_times_and_fails(world: World) -> None:
    process = await world.process()
    bad = await world.put(process, "bad", priority=9)
    await spoil(world, bad, kind="of tomorrow")
    await world.put(process, "good")
    rounds = 0
    while (await world.job(bad)).state == "waiting":
        wait = await process.go()
        assert (await world.job(bad)).error == UNKNOWN.format("of tomorrow")
        assert wait is not None
        assert wait > 0
        world.advance(wait)
        rounds += 1
    assert (await world.job(bad)).state == "failed"
    assert rounds == 5
    assert await world.effects() == {"good": 1}
    assert bad is not None
    # It can be cancelled and retried all the same.
    await process.queue.retry(bad)
    assert (await process.queue.cancel(bad)).state == "cancelled"


# Leases, and which clock


async def test_a_lease_is_prolonged_while_it_runs(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    job_id = await world.put(process)
    await process.runner.round()
    for _ in range(10):
        world.advance(RENEW)
        await process.runner.tend()
        assert (await world.job(job_id)).due_at == world.at + LEASE * 1000
        await process.runner.round()
    assert len(held.runs) == 1
    held.go_on.set()
    await process.go()
    assert await world.effects() == {"a": 1}


async def test_one_whose_lease_ran_out_unseen_goes_on_where_it_runs(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    job_id = await world.put(process)
    await process.runner.round()
    await world.wait_for_leases()
    await process.runner.round()
    assert len(held.runs) == 1
    assert (await world.job(job_id)).attempts == 1
    held.go_on.set()
    await process.go()
    assert await world.effects() == {"a": 1}


async def test_a_process_without_its_database_stops_what_may_be_anothers(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    await world.put(process)
    await process.runner.round()
    await held.began.wait()
    process.mortal.is_dead = True
    for _ in range(4):
        world.advance(RENEW)
        await process.runner.tend()
    assert not held.was_cancelled
    world.advance(RENEW)
    await process.runner.tend()
    await process.settle()
    assert held.was_cancelled


@only_postgresql
async def test_another_process_takes_over_when_the_lease_is_over(world: World) -> None:
    held = Held(world)
    kind = world.kind(held)
    one, two = await world.process(kind), await world.process(kind)
    job_id = await world.put(one)
    await one.runner.round()
    await held.began.wait()
    # A process of whatever host clock: its lease is the database's.
    world.advance(LEASE - 1)
    assert await two.runner.round() == 1.0
    world.advance(1)
    await two.runner.round()
    assert (await world.job(job_id)).instance == two.queue.instance
    world.advance(RENEW)
    # The first hears that it has lost it.
    await one.runner.tend()
    await one.settle()
    assert held.was_cancelled
    held.go_on.set()
    await two.settle()
    assert await world.effects() == {"a": 1}


async def test_a_hosts_clock_that_is_wrong_does_not_matter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await world.process()
    monkeypatch.setattr("time.time", lambda: 1.0)
    await world.put(process)
    await process.go()
    assert await world.effects() == {"a": 1}


# Progress


async def test_progress_is_stored_when_it_is_looked_after(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    job_id = await world.put(process)
    await process.runner.round()
    await held.began.wait()
    for k in range(100):
        held.runs[0].progress(k / 200, f"step {k}\x00")
    steps = process.mortal.steps
    await process.runner.tend()
    job = await world.job(job_id)
    assert (job.progress, job.note) == (0.495, "step 99")
    assert process.mortal.steps - steps == 3
    # Nothing new: nothing is written.
    await process.runner.tend()
    assert process.mortal.steps - steps == 3


async def test_what_is_left_to_do_is_stored_with_what_is_done(world: World) -> None:
    seen: list[str] = []

    async def handler(run: Run, work: Work) -> None:
        seen.append(work.name)
        if work.name == "first":
            async with world.database.write() as unit:
                await unit.connection.execute(NOTE, {"name": "first"})
                await run.checkpoint(unit, Work("second"))
            raise Unavailable("In between.")
        await world.effect(run, work)

    process = await world.process(world.kind(handler))
    job_id = await world.put(process, "first")
    wait = await process.go()
    assert json.loads((await world.job(job_id)).payload) == {"name": "second"}
    assert wait is not None
    world.advance(wait)
    await process.go()
    assert seen == ["first", "second"]
    assert await world.effects() == {"first": 1, "second": 1}


# Cancelling


async def test_one_that_waits_is_cancelled(world: World) -> None:
    process = await world.process()
    job_id = await world.put(process)
    assert job_id is not None
    assert (await process.queue.cancel(job_id)).state == "cancelled"
    await process.go()
    assert await world.effects() == {}
    with pytest.raises(Conflict, match="over already"):
        await process.queue.cancel(job_id)
    with pytest.raises(NotFound):
        await process.queue.cancel("none")


async def test_one_that_runs_here_is_cancelled(world: World) -> None:
    held = Held(world)
    process = await world.process(world.kind(held))
    job_id = await world.put(process)
    await process.runner.round()
    await held.began.wait()
    assert job_id is not None
    await process.queue.cancel(job_id)
    await process.settle()
    assert held.was_cancelled
    assert (await world.job(job_id)).state == "cancelled"
    assert await world.effects() == {}


async def test_one_that_raises_something_else_when_it_is_cancelled_is_cancelled(world: World) -> None:
    began = asyncio.Event()

    async def handler(_run: Run, _work: Work) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError

    process = await world.process(world.kind(handler))
    job_id = await world.put(process)
    await process.runner.round()
    await began.wait()
    assert job_id is not None
    await process.queue.cancel(job_id)
    await process.settle()
    assert (await world.job(job_id)).state == "cancelled"


@only_postgresql
@pytest.mark.parametrize("is_heard", [True, False])
async def test_one_that_runs_elsewhere_is_cancelled(world: World, is_heard: bool) -> None:
    held = Held(world)
    kind = world.kind(held)
    one, two = await world.process(kind), await world.process(kind)
    job_id = await world.put(one)
    await one.runner.round()
    await held.began.wait()
    assert job_id is not None
    if not is_heard:
        await one.bus.close()
    await two.queue.cancel(job_id)
    await asyncio.sleep(0)
    if not is_heard:
        # With its next sign of life.
        world.advance(RENEW)
        await one.runner.tend()
    await one.settle()
    assert held.was_cancelled
    assert (await world.job(job_id)).state == "cancelled"


async def test_one_whose_process_died_is_cancelled_by_who_finds_it(world: World) -> None:
    held = Held(world)
    kind = world.kind(held)
    one = await world.process(kind)
    job_id = await world.put(one)
    await one.runner.round()
    await one.kill()
    await spoil(world, job_id, is_cancelled=True)
    await world.wait_for_leases()
    await (await world.process(kind)).go()
    assert (await world.job(job_id)).state == "cancelled"
    assert len(held.runs) == 1


# The end of a process


async def test_a_process_that_ends_gives_back_what_it_runs(world: World) -> None:
    held = Held(world)
    kind = world.kind(held, retry=Retry(attempts=1))
    one = await world.process(kind)
    job_id = await world.put(one)
    await one.runner.round()
    await held.began.wait()
    await one.runner.close()
    assert held.was_cancelled
    job = await world.job(job_id)
    # It was not the job's fault.
    assert (job.state, job.due_at, job.instance, job.allowed) == ("waiting", world.at, None, 2)
    held.go_on.set()
    await (await world.process(kind)).go()
    assert await world.effects() == {"a": 1}


async def test_it_runs_by_itself(world: World) -> None:
    """The loop: it sleeps until something is put in, and until something is due."""
    process = await world.process()
    await process.runner.open()
    try:
        job_id = await world.put(process)
        async with asyncio.timeout(30):
            while (await world.job(job_id)).state != "done":  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        assert await world.effects() == {"a": 1}
    finally:
        await process.runner.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_one_process_at_rest_asks_nothing(world: World) -> None:
    process = await world.process()
    await process.runner.open()
    try:
        await asyncio.sleep(0.05)
        steps = process.mortal.steps
        await asyncio.sleep(0.2)
        assert process.mortal.steps == steps
        assert process.runner._tending is None
    finally:
        await process.runner.close()


async def test_the_databases_own_clock(world: World) -> None:
    from open_webui.models import jobs

    async with world.database.write() as unit:
        at = await jobs.clock(unit.connection)
        shown = await unit.connection.scalar(sa.text("SELECT CURRENT_TIMESTAMP"))
    assert at > START
    assert shown is not None


@pytest.mark.parametrize("turns", range(6))
async def test_it_closes_also_where_it_was_just_woken(world: World, turns: int) -> None:
    """`wait_for` of Python 3.11 forgets a cancellation that comes in the turn after what it waited for."""
    runner = (await world.process()).runner
    await runner.open()
    async with asyncio.timeout(30):
        while not runner._awake._waiters:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    runner._told(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await runner.close()
