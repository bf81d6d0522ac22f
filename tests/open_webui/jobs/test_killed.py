"""Whatever moment a process is killed at, each job is done once by its effect, and none is lost."""

import asyncio

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as fixed
from hypothesis import strategies as st

from open_webui.jobs.kinds import Retry, Run
from open_webui.jobs.runner import LEASE
from tests.open_webui.jobs.world import NOTE, Dead, Process, Work, World

NAMES = ("a", "b", "c")
# Nothing here may use up its attempts: each death is one.
MANY = Retry(attempts=100)


async def put_all(world: World, process: Process) -> set[str]:
    """Puts jobs in, one unit each, until the process dies. Those that are in for certain."""
    there = set()
    for name in NAMES:
        async with process.queue.database.write() as unit:
            await process.queue.enqueue(unit, process.queue.kinds["work"], Work(name), key=name)
        there.add(name)
    return there


@fixed(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(1, 24), max_size=5), concurrency=st.integers(1, 3))
async def test_killed_at_any_moment_none_is_lost_and_none_doubled(
    world: World, deaths: list[int], concurrency: int
) -> None:
    await world.clear()
    kind = world.kind(retry=MANY, concurrency=concurrency)
    first = await world.process(kind)
    await put_all(world, first)
    await first.kill()
    for dies_at in deaths:
        process = Process(world, [kind])
        world.processes.append(process)
        process.mortal.dies_at = dies_at
        try:
            await process.begin()
            await process.go()
        except Dead:
            pass
        await process.kill()
        await world.wait_for_leases()
    last = await world.process(kind)
    await last.go()
    assert await world.effects() == dict.fromkeys(NAMES, 1)
    assert {job.state for job in await world.rows()} == {"done"}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@fixed(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(1, 24), min_size=1, max_size=4), paused=st.booleans())
async def test_two_processes_of_which_one_is_killed(world: World, deaths: list[int], paused: bool) -> None:
    """paused: the one that is taken for dead is only slow, and goes on when its jobs are another's."""
    await world.clear()
    kind = world.kind(retry=MANY, concurrency=2)
    survivor = await world.process(kind)
    await put_all(world, survivor)
    for dies_at in deaths:
        process = await world.process(kind)
        process.mortal.dies_at = process.mortal.steps + dies_at
        results = await asyncio.gather(process.go(), survivor.go(), return_exceptions=True)
        assert all(not isinstance(r, BaseException) or isinstance(r, Dead) for r in results), results
        await process.kill()
        world.advance(LEASE + 1 if not paused else LEASE / 2)
    await world.wait_for_leases()
    await survivor.go()
    assert await world.effects() == dict.fromkeys(NAMES, 1)


async def test_each_step_of_putting_one_in_and_doing_it(world: World) -> None:
    """The same without chance: a process that is killed at its step 1, at 2, and so on to the last."""
    dies_at, is_done = 0, False
    while not is_done:
        dies_at += 1
        process = Process(world, [world.kind(retry=MANY)])
        world.processes.append(process)
        process.mortal.dies_at = dies_at
        acknowledged = False
        try:
            await process.begin()
            async with process.queue.database.write() as unit:
                await process.queue.enqueue(unit, process.queue.kinds["work"], Work("a"))
                await unit.connection.execute(NOTE, {"name": "with it"})
            acknowledged = True
            await process.go()
            is_done = True
        except Dead:
            pass
        is_done &= not process.mortal.is_dead
        await process.kill()
        await world.wait_for_leases()
        await (await world.process()).go()
        found = await world.effects()
        # The caller's row and the job's effect: both or neither.
        assert found in ({"with it": 1, "a": 1}, {}), dies_at
        assert found or not acknowledged
        await world.clear()
    assert dies_at > 10


async def test_a_process_that_was_only_slow_stores_nothing_any_more(world: World) -> None:
    holds, go_on = asyncio.Event(), asyncio.Event()

    async def slow(run: Run, work: Work) -> None:
        if run.job.instance == one.queue.instance:
            holds.set()
            await go_on.wait()
        await world.effect(run, work)

    kind = world.kind(slow)
    one = await world.process(kind)
    job_id = await world.put(one)
    await one.runner.round()
    await holds.wait()
    assert (await world.job(job_id)).instance == one.queue.instance
    await world.wait_for_leases()
    # On SQLite there is one process at a time; here both are in one, and the second takes what the first seems to have left.
    two = await world.process(kind)
    await two.go()
    go_on.set()
    await one.settle()
    assert await world.effects() == {"a": 1}
    assert (await world.job(job_id)).state == "done"
    assert world.begun["a"] == 2
