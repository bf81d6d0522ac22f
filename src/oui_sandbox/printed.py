"""What code prints, kept within bounds: its beginning and its end. Pure."""

import errno
import io
from collections import deque
from typing import Final

# Characters that are kept of the beginning, and as many of the end.
KEPT: Final = 20_000
# Characters that may be printed at all.
MOST: Final = 16 * 2**20


class Printed(io.TextIOBase):
    """Stands for a stream that is written to. Raises OSError when far too much is."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque()
        self._room = KEPT
        self._held = self._count = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Never."""
        return False

    def write(self, text: str) -> int:
        """Raises OSError."""
        size = len(text)
        self._count += size
        if self._room:
            head = text[: self._room]
            self._first.append(head)
            self._room -= len(head)
            text = text[len(head) :]
        if text:
            self._last.append(text[-KEPT:])
            self._held += len(self._last[-1])
            while self._held - len(self._last[0]) >= KEPT:
                self._held -= len(self._last.popleft())
        if self._count > MOST:
            raise OSError(errno.EFBIG, f"Code may print {MOST // 2**20} million characters, and no more.")
        return size

    def text(self) -> str:
        """What was kept, with a line where something was left out."""
        last = "".join(self._last)[-KEPT:]
        left = self._count - (KEPT - self._room) - len(last)
        return "".join(self._first) + (f"\n… {left:,} characters are left out …\n" if left > 0 else "") + last


def bounded(text: str) -> str:
    """A text as it would be kept if it were printed."""
    if len(text) <= 2 * KEPT:
        return text
    return f"{text[:KEPT]}\n… {len(text) - 2 * KEPT:,} characters are left out …\n{text[-KEPT:]}"
