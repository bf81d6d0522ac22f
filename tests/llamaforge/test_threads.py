"""What blocks runs on threads of our own: no call waits for another's thread, and the default executor stays free."""

import asyncio
import concurrent.futures
import contextvars
import os
import threading
import time

import pytest

from llamaforge import threads

NAME = contextvars.ContextVar("NAME", default="nobody")


class Gated:
    """An iterator of which each step waits for `gate`."""

    def __init__(self, gate, begun):
        self.gate, self.begun = gate, begun
        self.left = 2

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        self.begun.release()
        assert self.gate.wait(10)
        return self.left


async def test_a_call_gives_back_what_the_function_does():
    assert await threads.call(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.call(divmod, 7, 0)


async def test_a_call_sees_the_context_of_its_task():
    NAME.set("me")
    assert await threads.call(NAME.get) == "me"


async def test_a_stop_iteration_is_an_error_and_no_end():
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(next, iter(()))


async def test_a_cancelled_call_returns_at_once_and_its_function_runs_on():
    gate, over = threading.Event(), threading.Event()

    def work():
        gate.wait(10)
        over.set()

    waiting = asyncio.ensure_future(threads.call(work))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not over.is_set()
    gate.set()
    assert await asyncio.to_thread(over.wait, 10)


async def test_any_number_of_streams_run_at_once_and_the_default_executor_is_free():
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    gate, begun = threading.Event(), threading.Semaphore(0)
    streams = [threads.in_thread(lambda: Gated(gate, begun)) for _ in range(40)]
    first = [asyncio.ensure_future(anext(stream)) for stream in streams]

    def all_run():
        return all(begun.acquire(timeout=10) for _ in streams)

    assert await threads.call(all_run)
    async with asyncio.timeout(30):
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert await asyncio.to_thread(int, "7") == 7
    gate.set()
    assert await asyncio.gather(*first) == [1] * 40
    assert [[item async for item in stream] for stream in streams] == [[0]] * 40


async def test_threads_are_used_again_and_end_when_there_is_no_work(monkeypatch):
    made = threads._Threads()
    monkeypatch.setattr(threads, "_threads", made)
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.2)
    before = threading.active_count()
    for _ in range(20):
        await threads.call(time.sleep, 0)
        await asyncio.sleep(0.002)  # until the thread waits again
    assert threading.active_count() - before <= 2
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert made._idle == 0
    assert await threads.call(int, "3") == 3


async def test_jobs_given_just_as_threads_end_are_all_done(monkeypatch):
    monkeypatch.setattr(threads, "_threads", threads._Threads())
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.001)
    for number in range(300):
        async with asyncio.timeout(10):
            assert await threads.call(int, number) == number
        await asyncio.sleep(0.001)


def test_a_call_whose_loop_is_closed_ends_quietly(recwarn):
    gate, over = threading.Event(), threading.Event()

    def work():
        gate.wait(10)
        over.set()

    async def leave():
        asyncio.ensure_future(threads.call(work))  # noqa: RUF006 -- left behind on purpose
        await asyncio.sleep(0.01)

    begun = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - begun < 5  # the default executor would be waited for
    gate.set()
    assert over.wait(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    asyncio.run(threads.call(int, "1"))  # leaves an idle thread
    child = os.fork()
    if not child:
        try:
            answer = asyncio.run(asyncio.wait_for(threads.call(int, "2"), 10))
            os._exit(0 if answer == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_a_stream_cancelled_while_it_is_made_never_begins():
    made, go_on, steps, closed = asyncio.Event(), threading.Event(), [], threading.Event()
    loop = asyncio.get_running_loop()

    class Steps:
        def __iter__(self):
            return self

        def __next__(self):
            steps.append(1)
            raise StopIteration

        def close(self):
            closed.set()

    def source():
        loop.call_soon_threadsafe(made.set)
        go_on.wait(10)
        return Steps()

    async def read():
        async for _ in threads.in_thread(source):
            pass

    task = asyncio.create_task(read())
    await made.wait()
    task.cancel()
    await asyncio.wait({task})
    go_on.set()
    assert await threads.call(closed.wait, 10)
    assert steps == []
