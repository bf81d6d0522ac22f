"""Large values out of base64 and JSON, beside the event loop and hardly in its way.

The interpreter's lock is held as long as one call of the library takes: 20 ms for a picture of 4 MB, and five pictures at once
held the loop up for 100. So all this has one thread, which works in slices and lets the lock go after each.
"""

import asyncio
import binascii
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# Characters at once, a multiple of four: a third of a millisecond.
_SLICE: Final = 64 * 1024
_BYTES: Final = _SLICE // 4 * 3
_one: Final = ThreadPoolExecutor(1, thread_name_prefix="decoding")


async def in_turn(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs what holds the interpreter's lock in the one thread for that. Raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_one, lambda: work(*args, **kwargs))


def from_base64(text: str) -> bytearray:
    """The bytes of a text. Raises ValueError for what is not valid."""
    out = bytearray()
    last = max(0, len(text) - 1) // _SLICE * _SLICE
    for at in range(0, len(text), _SLICE):
        part = binascii.a2b_base64(text[at : at + _SLICE], strict_mode=True)
        if at < last and len(part) < _BYTES:
            raise binascii.Error("it ends in the middle")
        out += part
        # Who waits for the lock gets it.
        time.sleep(0)
    return out


def to_base64(data: bytes) -> str:
    """The text of bytes."""
    out = bytearray()
    for at in range(0, len(data), _BYTES):
        out += binascii.b2a_base64(data[at : at + _BYTES], newline=False)
        time.sleep(0)
    return out.decode("ascii")
