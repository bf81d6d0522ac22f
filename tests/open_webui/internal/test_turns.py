"""The event loop's turns are measured by their CPU time, on uvloop and on asyncio's own loop."""

import asyncio
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import uvloop

from open_webui.internal import turns as module
from open_webui.internal.turns import BOUNDS, Turns

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
POST = {"method": "POST", "path": "/work"}


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "log", SimpleNamespace(info=lambda _event, **fields: lines.append(fields)))
    return lines


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def run(make_loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[Turns], Any]) -> Turns:
    turns = Turns()

    async def main() -> None:
        with turns.watched():
            await asyncio.sleep(0)
            await work(turns)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    return turns


def test_a_long_turn_is_counted_and_told_once(make_loop: Any, said: list[dict[str, Any]]) -> None:
    async def work(turns: Turns) -> None:
        turns.note(POST)
        burn(0.13)
        await asyncio.sleep(0)

    turns = run(make_loop, work)
    assert sum(turns.counts[BOUNDS.index(0.1) + 1 :]) == 1
    assert turns.longest >= 0.13
    assert turns.total >= turns.longest
    (line,) = said
    assert line["requests"] == ["POST /work"]
    assert line["cpu_seconds"] == round(turns.longest, 3)


def test_the_work_of_several_turns_is_not_one_long_turn(make_loop: Any, said: list[dict[str, Any]]) -> None:
    async def work(_turns: Turns) -> None:
        for _ in range(20):
            burn(0.008)
            await asyncio.sleep(0)

    turns = run(make_loop, work)
    assert turns.total >= 0.16
    assert turns.longest < 0.05
    assert said == []


def test_waiting_is_no_turn(make_loop: Any, said: list[dict[str, Any]]) -> None:
    async def work(_turns: Turns) -> None:
        await asyncio.sleep(0.2)
        await asyncio.to_thread(burn, 0.1)

    turns = run(make_loop, work)
    assert turns.longest < 0.05
    assert said == []


def test_it_names_those_of_the_turn_alone(make_loop: Any, said: list[dict[str, Any]]) -> None:
    async def work(turns: Turns) -> None:
        turns.note({"method": "GET", "path": "/before"})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(50):
            turns.note(POST)
        turns.note({"type": "websocket", "path": "/ws"})
        burn(0.07)

    run(make_loop, work)
    assert [line["requests"] for line in said] == [["POST /work", " /ws"]]


def test_an_idle_loop_has_no_turns_and_ends_by_itself(make_loop: Any) -> None:
    seen: list[int] = []

    async def work(turns: Turns) -> None:
        seen.append(sum(turns.counts))
        await asyncio.sleep(0.3)
        seen.append(sum(turns.counts))

    run(make_loop, work)
    assert seen[1] - seen[0] <= 3


def test_nothing_is_counted_afterwards(make_loop: Any) -> None:
    turns = Turns()

    async def main() -> None:
        with turns.watched():
            await asyncio.sleep(0)
        before = list(turns.counts)
        for _ in range(5):
            await asyncio.sleep(0)
        assert turns.counts == before

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("first_ends_first", [False, True])
def test_two_applications_in_one_loop(make_loop: Any, first_ends_first: bool) -> None:
    async def main() -> list[float]:
        one, two = Turns(), Turns()
        watches = [one.watched(), two.watched()]
        for watch in watches:
            watch.__enter__()
        await asyncio.sleep(0)
        burn(0.03)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for watch in watches if first_ends_first else watches[::-1]:
            watch.__exit__(None, None, None)
        await asyncio.sleep(0)
        return [one.longest, two.longest]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert min(runner.run(main())) >= 0.03


async def test_a_uvloop_of_another_make_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("uvloop.loop")
    other.__file__ = uvloop.loop.__file__
    monkeypatch.setitem(module.sys.modules, "uvloop.loop", other)
    warned: list[str] = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=warned.append))
    module._on_uvloop(asyncio.get_running_loop(), lambda _: None)()
    assert len(warned) == 1


def test_metrics_are_what_prometheus_reads() -> None:
    turns = Turns()
    turns.counts[0], turns.counts[3], turns.counts[-1] = 5, 2, 1
    turns.longest, turns.total = 1.25, 3.5
    lines = [line for line in turns.metrics().splitlines() if not line.startswith("#")]
    assert lines == [
        'oui_loop_turn_cpu_seconds_bucket{le="0.01"} 5',
        'oui_loop_turn_cpu_seconds_bucket{le="0.025"} 5',
        'oui_loop_turn_cpu_seconds_bucket{le="0.05"} 5',
        'oui_loop_turn_cpu_seconds_bucket{le="0.1"} 7',
        'oui_loop_turn_cpu_seconds_bucket{le="0.25"} 7',
        'oui_loop_turn_cpu_seconds_bucket{le="1.0"} 7',
        'oui_loop_turn_cpu_seconds_bucket{le="+Inf"} 8',
        "oui_loop_turn_cpu_seconds_sum 3.500000",
        "oui_loop_turn_cpu_seconds_count 8",
        "oui_loop_longest_turn_cpu_seconds 1.250000",
    ]
