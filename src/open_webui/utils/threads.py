"""Keeps work from holding the event loop: small work runs at once, large in a thread, very long in a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# Items of some microseconds each; a thread costs about a tenth of a millisecond.
SMALL: Final = 300
# Bytes of JSON that are copied, decoded or encoded in a few milliseconds.
LARGE: Final = 4 * 2**20


async def let_others(size: int) -> None:
    """Ends this turn of the loop where so many bytes were handled in it: the next step with them gets a turn of its own."""
    if size > LARGE:
        await asyncio.sleep(0)


async def in_thread_if_large(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work. size: how many items it goes through. It must touch nothing that others change."""
    if size <= SMALL:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def in_own_thread(work: Callable[[], T]) -> T:
    """The result of work that takes minutes. Its thread takes no place in the pool, and does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - it is raised where the work is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="own thread", daemon=True).start()
    return await done
