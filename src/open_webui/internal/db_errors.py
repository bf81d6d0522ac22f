"""Whose fault an error of the database is: its own (it is away, or full), the values', or else a bug of ours."""

import socket
from typing import Final

import sqlalchemy as sa

# Primary result codes: busy, locked, no memory, read-only, I/O error, corrupt, full, can't open, protocol, not a database.
_SQLITE_AWAY: Final = frozenset({5, 6, 7, 8, 10, 11, 13, 14, 15, 26})
# Classes of SQLSTATE: connection, authorization, no such database, rolled back (deadlock), resources, in use,
# intervention (shut down, cancelled), system.
_STATES_AWAY: Final = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
_READ_ONLY: Final = "25006"
_DATA: Final = "22"


def is_away(error: BaseException) -> bool:
    """Whether the database can't be reached or written to now, so that the same may succeed later."""
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.TimeoutError | ConnectionError | socket.gaierror)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_AWAY
    state = _state(error)
    if state:
        return state[:2] in _STATES_AWAY or state == _READ_ONLY
    return error.connection_invalidated or isinstance(error, sa.exc.OperationalError)


def is_unstorable(error: BaseException) -> bool:
    """Whether it is a value that the database can't hold: NUL in a text, a number beyond 64 bits, half a character."""
    if isinstance(error, sa.exc.DBAPIError):
        return _state(error).startswith(_DATA) or isinstance(error, sa.exc.DataError)
    return isinstance(error, OverflowError) and "SQLite" in str(error)


def _state(error: sa.exc.DBAPIError) -> str:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else ""
