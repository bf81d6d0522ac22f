"""How many values a JSON text holds, found out before it is decoded: decoding and checking millions of them stops the loop."""

import asyncio
from typing import Final

# Decoded and checked in less than a tenth of a second, whatever they are.
MAX_VALUES: Final = 100_000
# So much is looked at between two turns of the loop.
SLICE: Final = 256 * 1024


async def too_many(data: bytes, limit: int = MAX_VALUES) -> bool:
    """Whether a JSON text holds more values than the limit, by the commas between them: those that stand in its strings,
    such as a table's, do not count.
    """
    if len(data) <= limit:
        return False
    commas, at, inside = 0, 0, False
    while at < len(data) and commas < limit:
        piece = data[at : at + SLICE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            # An escape is not cut in two.
            piece = data[at : at + SLICE + 1]
        at += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        commas += b"".join(parts[1 if inside else 0 :: 2]).count(b",")
        inside ^= len(parts) % 2 == 0
        await asyncio.sleep(0)
    return commas >= limit
