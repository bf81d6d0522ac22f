"""Jobs that come by themselves: each time once over all processes, and what becomes of times that were missed."""

import asyncio
from typing import Any

import pytest

from open_webui.errors import Unavailable
from open_webui.jobs.kinds import Every, Kind, Retry, Run
from tests.open_webui.jobs.world import START, Work, World

HOUR = 3600
only_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def hourly(world: World, **options: Any) -> Kind[Work]:
    every = Every(HOUR, **{k: options.pop(k) for k in ("phase", "catch_up", "after_start") if k in options})
    return world.kind(every=every, **options)


def test_the_next_time() -> None:
    every = Every(HOUR, phase=600)
    assert every.following(START) == START + 600_000
    assert every.following(START + 600_000) == START + 4_200_000
    assert every.following(START + 600_001) == START + 4_200_000
    assert Every(86_400, phase=3 * HOUR).following(START) == START + 3 * HOUR * 1000


async def test_it_comes_every_hour(world: World) -> None:
    process = await world.process(hourly(world))
    assert await process.go() == HOUR
    for k in range(1, 4):
        world.advance(HOUR)
        assert await process.go() == HOUR
        assert await world.effects() == {"": k}
    assert len(await world.rows()) == 1


async def test_a_start_moves_it_only_where_it_says_so(world: World) -> None:
    await (await world.process(hourly(world))).go()
    assert await (await world.process(hourly(world))).go() == HOUR
    process = await world.process(hourly(world, after_start=10))
    assert await process.go() == 10
    world.advance(10)
    assert await process.go() == HOUR - 10
    assert await world.effects() == {"": 1}


@pytest.mark.parametrize(("catch_up", "done"), [("once", 1), ("skip", 0)])
async def test_times_that_were_missed(world: World, catch_up: str, done: int) -> None:
    one = await world.process(hourly(world, catch_up=catch_up))
    await one.go()
    await one.kill()
    world.advance(5 * HOUR + 1200)
    process = await world.process(hourly(world, catch_up=catch_up))
    assert await process.go() == HOUR - 1200
    assert await world.effects() == ({"": done} if done else {})
    world.advance(HOUR - 1200)
    await process.go()
    assert await world.effects() == {"": done + 1}


async def test_one_that_fails_comes_again_at_its_time(world: World) -> None:
    async def handler(_run: Run, _work: Work) -> None:
        world.begun["x"] += 1
        raise Unavailable("No luck.")

    process = await world.process(hourly(world, handler=handler, retry=Retry(attempts=2, first=10)))
    await process.go()
    for k in range(1, 4):
        world.advance(HOUR - 10 if k > 1 else HOUR)
        assert await process.go() == 10
        world.advance(10)
        assert await process.go() == HOUR - 10
        assert world.begun["x"] == 2 * k
    (job,) = await world.rows()
    assert (job.state, job.error) == ("waiting", "No luck.")


async def test_cancelling_skips_one_time_and_retrying_does_it_now(world: World) -> None:
    process = await world.process(hourly(world))
    (job,) = await world.rows()
    await process.queue.retry(job.id)
    await process.go()
    assert await world.effects() == {"": 1}
    world.advance(HOUR)
    await process.queue.cancel(job.id)
    assert await process.go() == HOUR
    assert await world.effects() == {"": 1}


@only_postgresql
async def test_two_processes_do_it_once(world: World) -> None:
    one, two = await asyncio.gather(world.process(hourly(world)), world.process(hourly(world)))
    assert len(await world.rows()) == 1
    for k in range(1, 6):
        world.advance(HOUR)
        await asyncio.gather(one.go(), two.go())
        assert await world.effects() == {"": k}


async def test_one_that_is_declared_no_longer_ends(world: World) -> None:
    one = await world.process(hourly(world))
    await one.kill()
    process = await world.process(world.kind(name="another"))
    for _ in range(10):
        world.advance(HOUR)
        await process.go()
    (job,) = await world.rows()
    assert job.state == "failed"
    world.advance(8 * 86_400)
    assert await process.go() is None
    assert await world.rows() == []
