"""What was said with models on the command line: a SQLite file of its owner's, looked through by words."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llamaforge.exceptions import ConfigError

Json = dict[str, Any]
_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, system TEXT, created REAL NOT NULL, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    role TEXT NOT NULL, content TEXT NOT NULL, created REAL NOT NULL);
CREATE INDEX IF NOT EXISTS of_conversation ON messages (conversation, id);
"""
# An index of words, where SQLite was built with one.
_INDEX = """
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (content, content='messages', content_rowid='id');
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON messages BEGIN
    INSERT INTO words (rowid, content) VALUES (new.id, new.content); END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON messages BEGIN
    INSERT INTO words (words, rowid, content) VALUES ('delete', old.id, old.content); END;
"""
_LIST = """
SELECT c.id, c.model, c.updated, min(m.id) AS first,
    (SELECT count(*) FROM messages WHERE conversation = c.id) AS messages
FROM conversations c JOIN messages m ON m.conversation = c.id {where} GROUP BY c.id ORDER BY c.updated DESC LIMIT ?
"""


class ConversationLog:
    """The conversations in one file, which the first turn makes, with mode 0600. A turn is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        """path: of the file. It is opened for each call only, so several processes may use it."""
        self.path = path

    def add(self, conversation: str | None, turn: Sequence[Json], *, model: str, system: str | None = None) -> str:
        """Add messages of {role, content} to a conversation, or to a new one; its id. Raises ConfigError."""
        now = time.time()
        with self._opened() as db, db:
            found = conversation or secrets.token_hex(4)
            db.execute(
                "INSERT INTO conversations VALUES (?1, ?2, ?3, ?4, ?4) "
                "ON CONFLICT (id) DO UPDATE SET model = ?2, system = ?3, updated = ?4",
                (found, model, system, now),
            )
            rows = [(found, message["role"], message["content"], now) for message in turn]
            db.executemany("INSERT INTO messages (conversation, role, content, created) VALUES (?, ?, ?, ?)", rows)
        return found

    def get(self, conversation: str | None = None) -> Json:
        """{id, model, system, created, updated, messages} of the conversation whose id begins so, or of the latest.

        Raises ConfigError where there is none, or more than one.
        """
        with self._opened() as db:
            rows = db.execute(
                "SELECT * FROM conversations WHERE substr(id, 1, length(?1)) = ?1 ORDER BY updated DESC LIMIT 2",
                (conversation or "",),
            ).fetchall()
            if not rows:
                what = f"conversation '{conversation}'" if conversation else "conversation in the log yet"
                raise ConfigError(f"There is no {what}.")
            if conversation and len(rows) > 1:
                raise ConfigError(f"There is more than one conversation '{conversation}': give more of its id.")
            query = "SELECT role, content FROM messages WHERE conversation = ? ORDER BY id"
            return {**rows[0], "messages": [dict(row) for row in db.execute(query, (rows[0]["id"],))]}

    def list(self, limit: int, words: str | None = None) -> list[Json]:
        """The latest conversations as {id, model, updated, messages, first}: `first` is a message, beginning to end.

        words: only those with a message in which all these words are; `first` is the first such. Raises ConfigError.
        """
        with self._opened() as db:
            where, values = _where(db, words)
            rows = [dict(row) for row in db.execute(_LIST.format(where=where), (*values, limit))]
            for row in rows:
                query = "SELECT content FROM messages WHERE id = ?"
                row["first"] = db.execute(query, (row["first"],)).fetchone()["content"]
            return rows

    def remove(self, conversation: str) -> None:
        """Forget the conversation whose id begins so. Raises ConfigError where there is none, or more than one."""
        if not conversation:
            raise ConfigError("Give the id of a conversation, or the begin of it.")
        found = self.get(conversation)["id"]
        with self._opened() as db, db:
            db.execute("DELETE FROM conversations WHERE id = ?", (found,))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(self.path, timeout=10)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA foreign_keys = ON")
                db.executescript(_TABLES)
                if _has_index(db):
                    db.executescript(_INDEX)
                yield db
        except UnicodeEncodeError as error:
            raise ConfigError("The log of conversations takes and finds only text in UTF-8.") from error
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"The log of conversations, {self.path}, can't be used: {error}.") from error


def _has_index(db: sqlite3.Connection) -> bool:
    return any(row[0] == "ENABLE_FTS5" for row in db.execute("PRAGMA compile_options"))


def _where(db: sqlite3.Connection, words: str | None) -> tuple[str, list[str]]:
    """The part of the query that looks for words, and its values."""
    if not words or not (wanted := words.split()):
        return "", []
    if _has_index(db):
        quoted = " ".join('"{}"'.format(word.replace('"', '""')) for word in wanted)
        return "WHERE m.id IN (SELECT rowid FROM words WHERE words MATCH ?)", [quoted]
    escaped = [word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for word in wanted]
    return "WHERE " + " AND ".join([r"m.content LIKE ? ESCAPE '\'"] * len(wanted)), [f"%{word}%" for word in escaped]
