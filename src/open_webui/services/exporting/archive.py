"""The archive: rows of one state of the database first, then the files' bytes, then what could not be read."""

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from open_webui import __version__
from open_webui.models import exported
from open_webui.services.exporting.rows import Export, chat_lines, lines
from open_webui.services.exporting.zipped import Zip
from open_webui.storage.base import BlobMissing, BlobStore

FORMAT: Final = "oui-backend export"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
_README: Final = """What is in here

Each file in rows/ is a table: a line of JSON for each row. rows/chat.jsonl has a chat a line, with all its messages.
files/ has the files as they were uploaded; rows/file.jsonl says what each is. manifest.json says what this archive is of,
and left_out.txt, if it is there, what could not be read.

`oui-backend import archive FILE` takes it into a server.
"""
_encode = msgspec.json.encode
Say = Callable[[str], None]


async def rows_of(target: Zip, export: Export, of: str, files: IO[bytes], say: Say) -> AsyncIterator[bytes]:
    """The part of the archive for which the database is read. files: where it notes which bytes come after. of: whose it is."""
    at = time.time()
    manifest = {
        "format": FORMAT, "version": VERSION, "release": __version__, "made_at": int(at), "of": of,
        "with_secrets": export.secrets,
    }  # fmt: skip
    for name, text in ((MANIFEST, msgspec.json.format(_encode(manifest)) + b"\n"), ("README.txt", _README.encode())):
        async for piece in target.entry(name, _once(text), at):
            yield piece
    for table in exported.KEPT:
        written = lines(export, table)
        async for piece in target.entry(f"rows/{table}.jsonl", _noted(export, written, table, files, say), at):
            yield piece
    async for piece in target.entry("rows/chat.jsonl", _told(export, chat_lines(export), "chat", say), at):
        yield piece


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text


async def _told(export: Export, written: AsyncIterator[bytes], table: str, say: Say) -> AsyncIterator[bytes]:
    async for piece in written:
        yield piece
        say(f"{table}: {export.counts.get(table, 0):,}")


async def _noted(
    export: Export, written: AsyncIterator[bytes], table: str, files: IO[bytes], say: Say
) -> AsyncIterator[bytes]:
    async for piece in _told(export, written, table, say):
        if table == "file":
            files.write(piece)
        yield piece


async def files_of(target: Zip, export: Export, blobs: BlobStore, files: IO[bytes], say: Say) -> AsyncIterator[bytes]:
    """The rest of the archive, for which no database is needed."""
    files.seek(0)
    for done, line in enumerate(files, 1):
        row = msgspec.json.decode(line)
        async for piece in _bytes_of(target, export, blobs, row):
            yield piece
        say(f"files: {done:,} of {export.counts.get('file', 0):,}")
    if export.left:
        more = f"\nand {export.left - len(export.damaged):,} others" if export.left > len(export.damaged) else ""
        text = "\n".join(export.damaged) + more + "\n"
        async for piece in target.entry("left_out.txt", _once(text.encode()), time.time()):
            yield piece
    yield target.end()


async def _bytes_of(target: Zip, export: Export, blobs: BlobStore, row: dict[str, Any]) -> AsyncIterator[bytes]:
    key, size, at = row.get("sha256"), row.get("size"), row.get("updated_at")
    try:
        if not isinstance(key, str) or await blobs.size(key) != size:
            raise BlobMissing
        when = float(at) if isinstance(at, int | float) else 0.0
        async for piece in target.entry(row["path"], blobs.read(key), when):
            yield piece
    except BlobMissing as error:
        export.leave("file", str(row.get("id")), error.detail)


def noted_files(folder: Path | None = None) -> IO[bytes]:
    """Where the files are noted until their bytes are written. folder: the system's for such things where it is not given."""
    return tempfile.TemporaryFile(dir=folder)
