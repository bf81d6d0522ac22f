"""What a plugin prints: kept for the server's log, a bounded end of it, and bounded in each call."""

import errno
import io
import os
from typing import Final

from oui_sandbox.channel import CALL

# Bytes that one call may print, and after which the file begins anew.
MAX_CALL: Final = 8 * 2**20
MAX_FILE: Final = 256 * 1024


class Output(io.TextIOBase):
    """Stands for stdout and stderr, both of which are one file of the server's."""

    def __init__(self) -> None:
        self._call: int | None = None
        self._printed = 0
        self._in_file = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Raises OSError where a call prints too much."""
        data = text.encode("utf-8", "replace")
        call = CALL.get()
        if call != self._call:
            self._call, self._printed = call, 0
        self._printed += len(data)
        if self._printed > MAX_CALL:
            raise OSError(errno.EFBIG, f"A plugin may print {MAX_CALL // 2**20} MB in a call.")
        if self._in_file + len(data) > MAX_FILE:
            os.ftruncate(1, 0)
            os.lseek(1, 0, os.SEEK_SET)
            self._in_file = 0
            data = data[-MAX_FILE:]
        self._in_file += len(data)
        os.write(1, data)
        return len(text)

    def fileno(self) -> int:
        """The file's number."""
        return 1

    def isatty(self) -> bool:
        """Never."""
        return False
