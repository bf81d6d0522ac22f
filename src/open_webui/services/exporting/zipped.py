"""A ZIP file that is written while it is sent: no more of it is in memory than a piece, and a line for each entry."""

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Final

# ZIP has no dates before, and none after.
_FIRST: Final = (1980, 1, 1, 0, 0, 0)
_LAST: Final = 4_354_819_198


class _Sink:
    """Collects what a ZIP file's writer writes; it can't go back in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        out = b"".join(self._parts)
        self._parts.clear()
        return out


class Zip:
    """Entries, one after the other, and then `end`."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._target = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload]

    async def entry(self, name: str, pieces: AsyncIterator[bytes], at: float) -> AsyncIterator[bytes]:
        """The archive's bytes of an entry. at: when it was changed, in seconds."""
        about = zipfile.ZipInfo(name, max(time.gmtime(min(max(at, 0), _LAST))[:6], _FIRST))
        about.compress_type = zipfile.ZIP_DEFLATED
        about.external_attr = 0o600 << 16
        with self._target.open(about, "w", force_zip64=True) as entry:
            async for piece in pieces:
                await asyncio.to_thread(entry.write, piece)
                if part := self._sink.take():
                    yield part
        if part := self._sink.take():
            yield part

    def end(self) -> bytes:
        """The bytes that close the archive."""
        self._target.close()
        return self._sink.take()
