"""Threads of our own for what blocks: the default executor stays free for name lookups and for the user's work."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
_END: object = object()
_NAME = "llamaforge"
_IDLE_SECONDS = 10.0
_Job = Callable[[], object]


class _Threads:
    """Daemon threads, as many as there are jobs at a time. One that has no work for some seconds ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._idle = 0  # threads that wait, less the jobs meant for them

    def start(self, job: _Job) -> None:
        """Run `job`, which must not raise, at once: it never waits for a thread. Raises RuntimeError where none is left."""
        with self._lock:
            fresh = not self._idle
            self._idle -= not fresh
        if fresh:
            threading.Thread(target=self._work, name=_NAME, daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        return
                continue  # a job for it is being put there
            job()
            del job
            with self._lock:
                self._idle += 1


_threads = _Threads()


def _forget_threads() -> None:
    global _threads  # noqa: PLW0603 -- a forked process has none of its parent's threads
    _threads = _Threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def start(job: _Job) -> None:
    """Run `job`, which must not raise, in a thread, and don't wait for it. Raises RuntimeError where there is none left."""
    _threads.start(job)


def is_own() -> bool:
    """Whether this thread is one of those, which serve one caller after the other."""
    return threading.current_thread().name == _NAME


async def call(function: Callable[..., T], *args: Any) -> T:
    """What `function` returns or raises, run in a thread with this task's context variables.

    It begins at once, however many others run. Cancelling returns at once; the function itself runs on to its end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = context.run(function, *args)
        except StopIteration as error:  # which no future can carry
            failure = RuntimeError(f"It raised StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001 -- raised where the result is waited for
            failure = error
        try:
            loop.call_soon_threadsafe(deliver, result, failure)
        except RuntimeError:
            pass  # the loop is closed, and nobody waits any more
        finally:
            del failure  # which holds this frame

    _threads.start(run)
    return await done


async def in_thread(source: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """The items of a blocking iterator made by `source`, each fetched in a thread.

    Cancelling returns at once. What runs cannot be interrupted within an item: its iterator is closed in the background
    as soon as that item is done, and never while it runs.
    """
    iterator = _ThreadedIterator(source)
    try:
        while (item := await call(iterator.next, _END)) is not _END:
            yield cast("T", item)
    finally:
        iterator.close_soon()


class _ThreadedIterator(Generic[T]):
    """A blocking iterator whose steps and closing come from different threads, never two at once."""

    def __init__(self, source: Callable[[], Iterator[T]]) -> None:
        self._source = source
        self._iterator: Iterator[T] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def next(self, end: object) -> T | object:
        """The next item, or `end`. Blocks: call it in a thread."""
        with self._lock:
            if self._iterator is None and not self._closed:
                self._iterator = iter(self._source())
            if self._closed or self._iterator is None:  # perhaps only since the source was asked
                return end
            return next(self._iterator, end)

    def close_soon(self) -> None:
        """Close the iterator now if it rests, else in a thread once its present step is over.

        An iterator with a `cancel` that may be called from any thread is told at once, so that its step ends early.
        """
        self._closed = True
        cancel = getattr(self._iterator, "cancel", None)
        if cancel is not None:
            cancel()
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()
        else:
            start(self._close_when_free)

    def _close_when_free(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
