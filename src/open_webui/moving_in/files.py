"""Uploaded files: their bytes come out of the uploads folder, and what is in them is taken out anew."""

import asyncio
import os
import re
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from open_webui.errors import BadRequest
from open_webui.models import files, moved
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.services.ingestion import ask_for
from open_webui.services.uploads import file_name
from open_webui.storage.base import PIECE, Stored
from open_webui.utils.pictures import media_type

# Bytes of one file.
LARGEST: Final = 2 * 2**30
NO_BYTES: Final = "its bytes are not in the uploads folder"
DAMAGED: Final = "its bytes in the archive are damaged"
# Kept in a file's note about what the other server did with it.
_MAX_NOTE: Final = 64_000


@dataclass
class Found:
    """A file to store. path: where its bytes are, and inside: where in an archive; None of both where only its text is known.
    text: that. wanted: what its bytes' hash has to be, where that is known.
    """

    values: dict[str, Any]
    path: Path | None
    text: bytes | None
    is_read: bool
    inside: str | None = None
    wanted: str | None = None


async def file(move: Move, row: Row) -> Found:
    file_id = row.need_id()
    owner = await _owner(move, row, file_id)
    try:
        name = file_name(row.text("filename", 2_000) or "")
    except BadRequest:
        name = "file"
        row.mended.append("its name was none")
    data, meta = row.object("data", 2**28) or {}, row.object("meta") or {}
    text = data.get("content") if isinstance(data.get("content"), str) else None
    inside = _inside(move, row)
    path = None
    if move.archive is None:
        path = await asyncio.to_thread(locate, move.uploads, row.text("path", 10_000) or "", file_id, name)
    if path is None and inside is None:
        if not text:
            raise Left(NO_BYTES)
        row.mended.append(f"{NO_BYTES}; what was taken out of it is the file now")
    noted = meta.get("data")
    kind = meta.get("content_type")
    values = {
        "id": file_id,
        "user_id": owner,
        "filename": name,
        "embedded": False,
        "hash": None,
        "status": None,
        "data": {},
        "meta": {
            "name": name,
            "content_type": kind[:255] if isinstance(kind, str) and kind.isprintable() else None,
            "data": noted if isinstance(noted, dict) and len(str(noted)) < _MAX_NOTE else {},
        },
    } | row.times(move.at)
    if move.archive is not None and row.flag("embedded"):
        # It came inside a document, and goes with it.
        values |= {"embedded": True, "meta": row.object("meta"), "data": None}
        return Found(values, None, None, False, inside, row.text("sha256", 64))
    is_read = bool(text) or isinstance(data.get("status"), str)
    known = None if path is not None or inside is not None or text is None else text.encode()
    return Found(values, path, known, is_read, inside, row.text("sha256", 64))


def _inside(move: Move, row: Row) -> str | None:
    """Where a file's bytes are in the archive. Raises Left."""
    named = row.text("path", 10_000) or ""
    if move.archive is None or not move.archive.has(named):
        return None
    if move.archive.size(named) > LARGEST:
        raise Left(f"it has more than {LARGEST // 2**30} GB")
    return named


async def _owner(move: Move, row: Row, file_id: str) -> str | None:
    """None: of nobody, but in a knowledge base."""
    owner = move.people.get(row.id("user_id") or "")
    if owner is None and move.archive is not None and row.flag("embedded"):
        return None
    if owner is None and not await move.source.select("knowledge_file", "file_id", [file_id], limit=1, only=["id"]):
        move.owner(row)
    return owner


def locate(folder: Path | None, stored: str, file_id: str, name: str) -> Path | None:
    """A plain file in the uploads folder itself, by the last part of the path that the row has. Raises Left for another thing.

    Neither the path nor a link leads out of the folder.
    """
    if folder is None:
        return None
    for candidate in (re.split(r"[/\\]", stored)[-1], f"{file_id}_{name}"):
        if candidate in {"", ".", ".."} or "/" in candidate or "\\" in candidate or "\x00" in candidate:
            continue
        path = folder / candidate
        try:
            found = path.lstat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(found.st_mode):
            raise Left("what lies under its name in the uploads folder is a link, or no file")
        if found.st_size > LARGEST:
            raise Left(f"it has more than {LARGEST // 2**30} GB")
        return path
    return None


def _open(path: Path) -> BinaryIO:
    """Raises Left for what has become a link since it was looked at, and for what can't be read."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Left(f"its bytes can't be read ({error.strerror})") from None
    opened = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        opened.close()
        raise Left("what lies under its name in the uploads folder is a link, or no file")
    return opened


async def _pieces(opened: BinaryIO, head: bytes) -> AsyncIterator[bytes]:
    size = len(head)
    yield head
    while piece := await asyncio.to_thread(opened.read, PIECE):
        size += len(piece)
        if size > LARGEST:
            raise Left(f"it has more than {LARGEST // 2**30} GB")
        yield piece


async def _kept(move: Move, made: Found) -> tuple[bytes, Stored]:
    """The first bytes of a file, and where the store has all. Raises Left."""
    if made.inside is None and made.path is None:
        head = made.text or b""
        return head, await move.blobs.put(head)
    try:
        if made.inside is not None and move.archive is not None:
            opened = await asyncio.to_thread(move.archive.bytes_of, made.inside)
        else:
            assert made.path is not None
            opened = await asyncio.to_thread(_open, made.path)
        with closing(opened):
            head = await asyncio.to_thread(opened.read, PIECE)
            small = len(head) < PIECE
            stored = await move.blobs.put(head if small else _pieces(opened, head))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError):
        raise Left(DAMAGED) from None
    if made.wanted and stored.hash != made.wanted:
        raise Left(DAMAGED)
    return head, stored


async def store_file(move: Move, made: Found) -> bool:
    head, stored = await _kept(move, made)
    mime = media_type(head[:512])
    values = dict(made.values)
    meta = values["meta"]
    if not values["embedded"]:
        values["meta"] = meta | {
            "content_type": meta["content_type"] or mime, "size": stored.size, "file_hash": stored.hash,
        }  # fmt: skip
    values |= {"blob": stored.hash, "status": "pending" if made.is_read else None}
    async with move.database.write() as unit:
        await files.add_blob(unit.connection, stored.hash, stored.size, mime, move.at)
        if not await moved.insert(unit.connection, "file", values):
            return False
        if made.is_read:
            await ask_for(unit.connection, values["id"])
    return True


FILES: Final = Part("file", "file", ("id", "filename"), file, store_file, at_once=1)
