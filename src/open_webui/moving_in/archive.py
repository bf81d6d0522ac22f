"""Archives of `oui-backend export` as a source: their rows are laid out in a SQLite file beside the data, which goes again.

What is in an archive is believed no more than a foreign database. Names in it are never paths here.
"""

import asyncio
import contextlib
import io
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

import msgspec

from open_webui.errors import StartupError
from open_webui.moving_in.source import LARGEST, SqliteSource
from open_webui.services.exporting.archive import FORMAT, MANIFEST, VERSION
from open_webui.services.exporting.rows import COLUMNS, JSON

# Bytes of a line that is read; a longer one is left.
_LINE: Final = LARGEST + 2**20
_MANIFEST: Final = 2**20
_BUFFER: Final = 2**18
# Lines that are no rows, of which it is said.
_PROBLEMS: Final = 10_000
NOT_ONE: Final = "{} is no archive of `oui-backend export`."
TOO_NEW: Final = "{} was made by a newer release ({}). Upgrade this server first."
_encode = msgspec.json.encode


class _Manifest(msgspec.Struct):
    format: str
    version: int
    release: str = ""
    of: str = ""


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP file."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


class ArchiveSource(SqliteSource):
    """problems: lines that are no rows, as table, place and why."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="import-", dir=folder)))
        except OSError as error:
            raise StartupError(f"The folder {folder} can't be written to ({error.strerror}).") from None
        super().__init__(place / "rows.db")
        self.name = str(path)
        self._archive_path = path
        self.problems: list[tuple[str, str, str]] = []
        self._zip: zipfile.ZipFile | None = None

    async def open(self) -> None:
        await asyncio.to_thread(self._lay_out)
        await super().open()

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(self._stack.close)

    def _lay_out(self) -> None:
        try:
            self._zip = self._stack.enter_context(zipfile.ZipFile(self._archive_path))
            self._bound(self._zip)
            self._check(self._zip)
            with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as rows:
                # It is made anew if anything goes wrong: nothing need survive a crash.
                rows.execute("PRAGMA journal_mode=OFF")
                rows.execute("PRAGMA synchronous=OFF")
                rows.execute("BEGIN")
                for table, columns in COLUMNS.items():
                    self._table(rows, table, columns)
                rows.execute("COMMIT")
        except (
            zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, sqlite3.Error,
        ) as error:  # fmt: skip
            raise StartupError(f"The archive {self.name} can't be read: {error}.") from error

    def _bound(self, archive: zipfile.ZipFile) -> None:
        """Nothing that unpacks to much out of little, and no more rows than there is room for."""
        entries = archive.infolist()
        if any(one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in entries):
            raise StartupError(NOT_ONE.format(self.name))
        need = 2 * sum(one.file_size for one in entries if one.filename.startswith("rows/"))
        if need > shutil.disk_usage(self.path.parent).free:
            raise StartupError(
                f"The archive {self.name} needs {need:,} bytes of room in the data folder, and there are fewer."
            )

    def _check(self, archive: zipfile.ZipFile) -> None:
        try:
            with archive.open(MANIFEST) as entry:
                found = msgspec.json.decode(entry.read(_MANIFEST), type=_Manifest)
        except (KeyError, msgspec.DecodeError, UnicodeError):
            raise StartupError(NOT_ONE.format(self.name)) from None
        if found.format != FORMAT:
            raise StartupError(NOT_ONE.format(self.name))
        if found.version > VERSION:
            raise StartupError(TOO_NEW.format(self.name, found.release[:50]))

    def _table(self, rows: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> None:
        named = ", ".join(f'"{one}"' for one in columns)
        rows.execute(f'CREATE TABLE "{table}" ({named})')
        marks = ", ".join("?" * len(columns))
        statement = f'INSERT INTO "{table}" VALUES ({marks})'  # noqa: S608 - names of ours
        for number, line in enumerate(self._lines(table), 1):
            row = self._row(table, number, line)
            if row is None:
                continue
            try:
                rows.execute(statement, [_cell(table, one, row.get(one)) for one in columns])
            except (OverflowError, sqlite3.Error, UnicodeError):
                self._leave(table, number, "it has a value that no database can hold")
        for one in columns:
            if one == "id" or one.endswith("_id"):
                rows.execute(f'CREATE INDEX "{table}_{one}" ON "{table}" ("{one}")')

    def _lines(self, table: str) -> Iterator[bytes]:
        assert self._zip is not None
        try:
            entry = self._zip.open(f"rows/{table}.jsonl")
        except KeyError:
            return
        with io.BufferedReader(cast("io.RawIOBase", entry), _BUFFER) as buffered:
            number = 0
            while line := buffered.readline(_LINE):
                number += 1
                if not line.endswith(b"\n") and len(line) >= _LINE:
                    self._leave(table, number, f"it has more than {LARGEST:,} bytes")
                    while (more := buffered.readline(_LINE)) and not more.endswith(b"\n"):
                        pass
                    line = b""
                yield line

    def _row(self, table: str, number: int, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._leave(table, number, "it is no JSON object")
            return None
        return row

    def _leave(self, table: str, number: int, why: str) -> None:
        if len(self.problems) < _PROBLEMS:
            self.problems.append((table, f"line {number}", why))

    # Files

    def has(self, name: str) -> bool:
        """Whether a file's bytes are there. name: as its row says."""
        assert self._zip is not None
        return name.startswith("files/") and name in self._zip.NameToInfo

    def size(self, name: str) -> int:
        """Bytes of a file that is there."""
        assert self._zip is not None
        return self._zip.NameToInfo[name].file_size

    def bytes_of(self, name: str) -> BinaryIO:
        """A file that is there, to be read from the beginning. Reading raises zipfile.BadZipFile where it is damaged."""
        assert self._zip is not None
        opened: IO[bytes] = self._zip.open(name)
        return cast("BinaryIO", opened)


def _cell(table: str, column: str, value: Any) -> Any:
    if value is None or (column not in JSON.get(table, ()) and not isinstance(value, dict | list)):
        return value
    return _encode(value).decode()
