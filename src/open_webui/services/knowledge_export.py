"""A knowledge base as a ZIP file, written while it is sent: never more of it is in memory than a piece of a file."""

import asyncio
import re
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Final

from open_webui.internal.log import get_logger
from open_webui.models import knowledge, knowledge_directories, knowledge_files
from open_webui.models.knowledge import Knowledge
from open_webui.models.knowledge_files import HeldFile
from open_webui.principal import Principal
from open_webui.services.knowledge_places import Deps
from open_webui.services.knowledge_tree import path_of
from open_webui.storage.base import BlobMissing

log = get_logger(__name__)
# Files that are read from the database at once.
_AT_ONCE: Final = 500
_MAX_PART: Final = 150
# ZIP has no dates before.
_FIRST_DATE: Final = (1980, 1, 1, 0, 0, 0)
MISSING: Final = "These files could not be read, so they are not in here:\n\n"


async def base_of(deps: Deps, principal: Principal, knowledge_id: str) -> Knowledge:
    """A base that the caller may read. Raises NotFound."""
    async with deps.database.read() as connection:
        return await knowledge.repository.require(connection, principal, knowledge_id)


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


async def archive(deps: Deps, base: Knowledge) -> AsyncIterator[bytes]:
    """The bytes of the ZIP file: the files as they were uploaded, in their directories."""
    sink, names, missing = _Sink(), Names(), []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:  # type: ignore[call-overload]
        async for held, folder in _all(deps, base.id):
            name = names.unique(folder, held.filename)
            try:
                async for part in _entry(deps, target, sink, name, held):
                    yield part
            except BlobMissing:
                log.warning("a file of a knowledge base can't be exported", file=held.id)
                missing.append(name)
        if missing:
            target.writestr(names.unique((), "MISSING.txt"), MISSING + "\n".join(missing))
    yield sink.take()


async def _entry(deps: Deps, target: zipfile.ZipFile, sink: _Sink, name: str, held: HeldFile) -> AsyncIterator[bytes]:
    if await deps.blobs.size(held.blob) != held.size:
        raise BlobMissing
    about = zipfile.ZipInfo(name, max(time.gmtime(held.updated_at)[:6], _FIRST_DATE))
    about.compress_type = zipfile.ZIP_DEFLATED
    about.external_attr = 0o600 << 16
    with target.open(about, "w", force_zip64=held.size >= 2**31) as entry:
        async for piece in deps.blobs.read(held.blob):
            await asyncio.to_thread(entry.write, piece)
            if part := sink.take():
                yield part
    yield sink.take()


async def _all(deps: Deps, knowledge_id: str) -> AsyncIterator[tuple[HeldFile, tuple[str, ...]]]:
    """The files of a base, each with the names of the directories that it lies in."""
    after = ""
    while True:
        async with deps.database.read() as connection:
            there = await knowledge_directories.all_of(connection, knowledge_id)
            found = await knowledge_files.all_of(connection, knowledge_id, after=after, limit=_AT_ONCE)
        for held in found:
            yield held, tuple(d.name for d in path_of(there, held.directory_id))
        if len(found) < _AT_ONCE:
            return
        after = found[-1].id


class Names:
    """Names inside a ZIP file: none leads out of the folder that it is unpacked in, none is there twice, in any case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, folder: tuple[str, ...], filename: str) -> str:
        path = [_safe(part) for part in (*folder, filename)]
        stem, dot, ending = path[-1].rpartition(".")
        if not stem:
            stem, dot, ending = path[-1], "", ""
        name, count = "/".join(path), 1
        while name.casefold() in self._taken:
            count += 1
            name = "/".join([*path[:-1], f"{stem} ({count}){dot}{ending}"])
        self._taken.add(name.casefold())
        return name


def _safe(part: str) -> str:
    """A name that any system takes: without separators, control characters, and dots or blanks at its ends."""
    kept = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", part).strip(". ")
    return kept[:_MAX_PART].rstrip(". ") or "_"
