"""Keeps long pure work from holding the event loop: small work runs at once, large work in a thread that gives up the GIL."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# Items of some microseconds each; a thread costs about a tenth of a millisecond.
SMALL: Final = 300


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work. size: how many items it goes through. It must touch nothing that others change."""
    if size <= SMALL:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
