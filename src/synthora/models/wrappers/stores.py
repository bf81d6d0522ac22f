"""Where a cache keeps its answers: in memory, or in a SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from os import PathLike, fspath
from typing import Protocol


class Store(Protocol):
    """Texts by key, from any thread."""

    def get(self, key: str) -> str | None:
        """The text, None where there is none."""

    def set(self, key: str, value: str) -> None:
        """Keep a text."""


class MemoryStore:
    """The most recently used answers."""

    def __init__(self, max_entries: int = 1024) -> None:
        """max_entries: more than these are not kept."""
        self._max_entries = max_entries
        self._values: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """The text, None where there is none."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def set(self, key: str, value: str) -> None:
        """Keep a text, instead of the least recently used one if there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._max_entries:
                self._values.popitem(last=False)


class SQLiteStore:
    """Answers in a file that several processes of its owner may use. It grows until it is deleted."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """path: of the file, made when it is missing, with mode 0600. Raises sqlite3.Error where it can't be."""
        if fspath(path) != ":memory:":
            with contextlib.suppress(OSError):  # the database says it better
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    def get(self, key: str) -> str | None:
        """The text, None where there is none."""
        with self._lock:
            row = self._database.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Keep a text."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
