"""Blobs as files: `<folder>/aa/bb/<sha256>`, for the server's user only."""

import asyncio
import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final
from uuid import uuid4

from open_webui.storage.base import PIECE, BlobMissing, Stored, check_hash, on_disk

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class DiskStore:
    """A folder of blobs, which several processes of one machine may share.

    A blob is written beside its place, synced and renamed, so a crash leaves a whole blob or a leftover in `new`.
    A blob's modification time is the time of its last `put`. Finishing a put and deleting exclude each other by a lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new = folder / "new"
        self._lock = threading.Lock()

    async def check(self) -> None:
        """See `BlobStore`: a folder that can't be made or filled may be mended while the server runs."""

    async def put(self, content: bytes | AsyncIterator[bytes]) -> Stored:
        if isinstance(content, bytes):
            return await on_disk(self._put_bytes, content)
        digest = hashlib.sha256()
        size = 0
        handle, temporary = await on_disk(self._begin)
        try:
            with handle:
                async for piece in content:
                    size += len(piece)
                    await on_disk(_add, handle, digest, piece)
                await on_disk(_sync, handle)
            await on_disk(self._finish, temporary, digest.hexdigest(), size)
        except (Exception, asyncio.CancelledError):
            # Beside the loop, like all of it: to remove 20 MB that were just synced takes up to 40 ms.
            await asyncio.shield(asyncio.to_thread(temporary.unlink, missing_ok=True))
            raise
        return Stored(digest.hexdigest(), size)

    async def size(self, key: str) -> int | None:
        return await on_disk(self._size, check_hash(key))

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        left = sys.maxsize if length is None else length
        try:
            handle, piece = await _opened(self._path(check_hash(key)), start, min(PIECE, left))
        except FileNotFoundError:
            raise BlobMissing from None
        with handle:
            while piece:
                is_last = len(piece) < min(PIECE, left)
                left -= len(piece)
                yield piece
                if is_last or left == 0:
                    return
                piece = await on_disk(handle.read, min(PIECE, left))

    async def delete(self, key: str, before: float) -> bool:
        return await on_disk(self._delete, check_hash(key), before)

    async def untouched(self, before: float) -> AsyncIterator[list[str]]:
        await on_disk(self._clear_leftovers, before)
        for folder in await on_disk(self._shelves):
            found = await on_disk(_older, folder, before)
            if found:
                yield found

    async def hashes(self) -> AsyncIterator[list[str]]:
        for folder in await on_disk(self._shelves):
            yield await on_disk(os.listdir, folder)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:4] / key

    def _size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def _put_bytes(self, content: bytes) -> Stored:
        key = hashlib.sha256(content).hexdigest()
        if not self._touch(key, len(content)):
            handle, temporary = self._begin()
            try:
                with handle:
                    _write(handle, content)
                    _sync(handle)
                self._finish(temporary, key, len(content))
            finally:
                temporary.unlink(missing_ok=True)
        return Stored(key, len(content))

    def _begin(self) -> tuple[FileIO, Path]:
        _make_folder(self._new)
        temporary = self._new / uuid4().hex
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        # Without a buffer, which closing it would try to write once more on a disk that is full.
        return os.fdopen(handle, "wb", buffering=0), temporary

    def _finish(self, temporary: Path, key: str, size: int) -> None:
        if self._touch(key, size):
            temporary.unlink(missing_ok=True)
            return
        target = self._path(key)
        _make_folder(target.parent)
        with self._locked():
            temporary.replace(target)
            os.utime(target)
        _sync_folder(target.parent)

    def _touch(self, key: str, size: int) -> bool:
        """Marks a blob as put now; False where there is none, or one that is not whole."""
        target = self._path(key)
        with self._locked():
            try:
                if target.stat().st_size != size:
                    return False
                os.utime(target)
            except FileNotFoundError:
                return False
        return True

    def _delete(self, key: str, before: float) -> bool:
        target = self._path(key)
        with self._locked():
            try:
                if target.stat().st_mtime >= before:
                    return False
                target.unlink()
            except FileNotFoundError:
                return True
        return True

    def _clear_leftovers(self, before: float) -> None:
        for name in _older(self._new, before):
            (self._new / name).unlink(missing_ok=True)

    def _shelves(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time in this process and, where the system has flock, among all that share the folder."""
        with self._lock:
            try:
                import fcntl  # noqa: PLC0415 - not on every system
            except ImportError:
                yield
                return
            _make_folder(self._folder)
            handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(FOLDER_MODE)
        _sync_folder(folder.parent)


def _add(handle: FileIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    _write(handle, piece)


def _write(handle: FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[handle.write(left) :]


def _sync(handle: FileIO) -> None:
    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable; systems that can't open a folder have no need to."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


async def _opened(path: Path, start: int, size: int) -> tuple[BufferedReader, bytes]:
    """A file to read, and its first bytes from a position on. Cancelled while a thread opens it, it is closed by then."""
    opening = asyncio.ensure_future(on_disk(_open, path, start, size))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _open(path: Path, start: int, size: int) -> tuple[BufferedReader, bytes]:
    handle = path.open("rb")
    try:
        handle.seek(start)
        return handle, handle.read(size)
    except BaseException:
        handle.close()
        raise


def _close(opening: "asyncio.Future[tuple[BufferedReader, bytes]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


def _older(folder: Path, before: float) -> list[str]:
    """The names of files in a folder that were touched before a moment."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < min(before, time.time()):
                    found.append(entry.name)
    return found
