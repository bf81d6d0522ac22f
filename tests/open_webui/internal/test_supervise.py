"""A long-lived task that fails is logged, counted and started again; one that is done or cancelled is not."""

import asyncio

import pytest

from open_webui.internal import supervise as module
from open_webui.internal.supervise import restarts, supervise


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)


async def test_a_task_that_fails_is_started_again_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Semaphore(0)
    tries: list[int] = []

    async def work() -> None:
        tries.append(len(tries))
        begun.release()
        if len(tries) < 4:
            raise ValueError("a bug")
        await asyncio.Event().wait()

    before = restarts["counted"]
    task = supervise("counted", work)
    for _ in range(4):
        await begun.acquire()
    assert restarts["counted"] - before == 3
    assert "a bug" in caplog.text, "the log has the traceback"
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(tries) == 4


async def test_a_task_that_is_done_stays_done() -> None:
    tries = []

    async def work() -> None:
        tries.append(1)

    await supervise("once", work)
    assert (tries, restarts["once"]) == ([1], 0)


async def test_one_that_keeps_failing_is_tried_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            raise asyncio.CancelledError
        await sleep(0)

    monkeypatch.setattr(module, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(module.asyncio, "sleep", noted)

    async def work() -> None:
        raise RuntimeError

    with pytest.raises(asyncio.CancelledError):
        await supervise("never", work)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == module.LONGEST_PAUSE
