"""Whose fault an error of the database is: its own (it is away, or full), the values', or else a bug of ours."""

import re
import socket
from typing import Final

import sqlalchemy as sa

# Primary result codes: busy, locked, no memory, read-only, I/O error, corrupt, full, can't open, protocol, not a database.
_SQLITE_AWAY: Final = frozenset({5, 6, 7, 8, 10, 11, 13, 14, 15, 26})
# Classes of SQLSTATE: connection, authorization, no such database, rolled back (deadlock), resources, in use,
# intervention (shut down, cancelled), system.
_STATES_AWAY: Final = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
# Of class 25: a server that only reads for now, and a transaction in which nothing happened for too long.
_OTHERS_AWAY: Final = frozenset({"25006", "25P03"})
_AGAIN: Final = "Nothing was stored; try again in a while."
NO_DATABASE: Final = f"The database can't be reached or written to at the moment. {_AGAIN}"
_NO_CONNECTION: Final = f"More requests want the database at once than there are connections to it. {_AGAIN}"
# By SQLSTATE: what a person reads.
_SENTENCES: Final = {
    "57014": f"This took the database longer than it may take. {_AGAIN}",
    "55P03": f"What this wants to change is being changed by something else for long. {_AGAIN}",
}
_DATA: Final = "22"
_UNIQUE: Final = "23505"


def is_away(error: BaseException) -> bool:
    """Whether the database can't be reached or written to now, so that the same may succeed later."""
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.TimeoutError | ConnectionError | socket.gaierror)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_AWAY
    state = _state(error)
    if state:
        return state[:2] in _STATES_AWAY or state in _OTHERS_AWAY
    return error.connection_invalidated or isinstance(error, sa.exc.OperationalError)


def sentence(error: BaseException) -> str:
    """What a person is told of an error that `is_away`."""
    if isinstance(error, sa.exc.TimeoutError):
        return _NO_CONNECTION
    return _SENTENCES.get(_state(error), NO_DATABASE) if isinstance(error, sa.exc.DBAPIError) else NO_DATABASE


def is_unstorable(error: BaseException) -> bool:
    """Whether it is a value that the database can't hold: NUL in a text, a number beyond 64 bits, half a character."""
    if isinstance(error, sa.exc.DBAPIError):
        return _state(error).startswith(_DATA) or isinstance(error, sa.exc.DataError)
    return isinstance(error, OverflowError) and "SQLite" in str(error)


def is_taken(error: sa.exc.IntegrityError, column: str) -> bool:
    """Whether another row has this value of a unique column, and not another rule of the database was broken."""
    said = str(error.orig).splitlines()[0]
    is_unique = _state(error) == _UNIQUE if _state(error) else "UNIQUE constraint failed" in said
    return is_unique and re.search(rf"[._]{column}\b", said) is not None


def _state(error: sa.exc.DBAPIError) -> str:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else ""
