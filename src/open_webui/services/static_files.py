"""Folders of files for browsers: found without ever leaving the folder, described for caching, text compressed once."""

import asyncio
import gzip
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

# Worth compressing, by file ending. Pictures and fonts are compressed already.
TEXT: Final = frozenset({".css", ".html", ".js", ".json", ".md", ".mjs", ".svg", ".txt", ".webmanifest", ".xml"})
MIN_BYTES: Final = 1_000
# Larger files (a WebAssembly engine, a map of names) are sent as they are: compressing takes longer than sending.
MAX_BYTES: Final = 4_000_000
# Compressed bytes that are kept. A page's scripts fit several times.
CACHE_BYTES: Final = 8_000_000


class StaticFile(msgspec.Struct, frozen=True):
    """A regular file inside a folder."""

    path: Path
    status: os.stat_result

    @property
    def compressible(self) -> bool:
        return self.path.suffix in TEXT and MIN_BYTES <= self.status.st_size <= MAX_BYTES


class StaticFolder:
    """A folder whose files anybody may read."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._compressed: dict[tuple[Path, int], bytes] = {}
        self._held = 0

    async def find(self, name: str) -> StaticFile | None:
        """The file of a URL path ("js/main.js"), None when there is none inside this folder."""
        return await asyncio.to_thread(self._find, name)

    def _find(self, name: str) -> StaticFile | None:
        if any(part.startswith(".") for part in name.split("/")):
            return None
        try:
            # Resolved first, so that neither "..", an absolute name, a drive nor a link leads outside.
            path = (self.root / name).resolve()
            if not path.is_relative_to(self.root):
                return None
            status = path.stat()
        except (OSError, ValueError):  # not there, too long, or with a NUL inside
            return None
        return StaticFile(path, status) if stat.S_ISREG(status.st_mode) else None

    async def compressed(self, found: StaticFile) -> bytes:
        """The file's bytes as gzip, compressed at the first request for this state of the file."""
        key = (found.path, found.status.st_mtime_ns)
        body = self._compressed.get(key)
        if body is None:
            body = await asyncio.to_thread(_compress, found.path)
            if self._held + len(body) > CACHE_BYTES:
                self._compressed.clear()
                self._held = 0
            self._compressed[key] = body
            self._held += len(body)
        return body


def _compress(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
