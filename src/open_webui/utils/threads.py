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
# How large the next thread's stack is, is said for the whole process.
_stacks: Final = threading.Lock()


async def let_others(size: int) -> None:
    """Ends this turn of the loop where so many bytes were handled in it: the next step with them gets a turn of its own."""
    if size > LARGE:
        await asyncio.sleep(0)


async def in_thread_if_large(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work. size: how many items it goes through. It must touch nothing that others change."""
    if size <= SMALL:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def with_deep_stack(size: int, work: Callable[[], T]) -> T:
    """The result of work that may call itself very often, in a thread with so many bytes for that. This one waits for it."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as raised:  # noqa: BLE001 - it is raised where the work is waited for
            errors.append(raised)

    thread = threading.Thread(target=run, name="deep stack", daemon=True)
    with _stacks:
        before = threading.stack_size(size)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


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
