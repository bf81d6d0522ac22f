"""Coroutines run to their end from synchronous code, wherever that runs, also inside an event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

_idle: list[_Loop] = []
_lock = threading.Lock()


def run(awaitable: Awaitable[Any], timeout: float) -> Any:
    """The result of `awaitable`, run on a loop in a thread of its own, in the caller's context (contextvars).

    The caller's thread waits. What can only go on once that thread does (its own event loop, say) would wait for ever:
    after `timeout` seconds it is cancelled and TimeoutError raised. A coroutine may itself call `run`.
    """
    loop = _borrow()
    future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), loop.loop)
    try:
        return future.result(timeout)
    except FutureTimeoutError:
        if future.done():
            raise  # the coroutine's own
        raise TimeoutError(f"It was not done after {timeout:g} s.") from None
    finally:
        if future.done():
            with _lock:
                _idle.append(loop)
        else:  # given up, or interrupted; what runs there may block, so the thread is not used again
            future.cancel()
            loop.end()


class _Loop:
    """A thread that runs an event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._ended = False
        self.thread = threading.Thread(target=self._serve, name="synthora-handlers", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        self.loop.run_forever()
        if self._ended:
            self.loop.close()

    def end(self) -> None:
        """Stop and free the loop once its present step is over, whenever that is."""
        self._ended = True
        self.loop.call_soon_threadsafe(self.loop.call_soon, self.loop.stop)

    def close(self) -> None:
        """Stop now and free the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=1)
        if not self.thread.is_alive():
            self.loop.close()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _borrow() -> _Loop:
    with _lock:
        if _idle:
            return _idle.pop()
    # Only as many as are in use at once: one, unless threads run side by side or handlers run models of their own.
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    return _Loop()


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


def _forget_threads() -> None:
    """After os.fork() the loops' threads are gone, and one of them may have held the lock."""
    global _lock  # noqa: PLW0603 -- a lock that is held can't be freed by anybody else
    _idle.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
