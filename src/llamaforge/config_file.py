"""A file of JSON that several processes read and write: locked while it is changed, replaced as a whole, for its owner only."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamaforge.exceptions import ConfigError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Json = dict[str, Any]
_MISSING = object()


def read(path: Path) -> Json:
    """The object in the file, or an empty one where there is no file. Raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}.") from error
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: {error.msg}. Mend the file or move it away.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deep.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}, line 1: a configuration is a JSON object, in braces.")
    return found


def stamp_of(path: Path) -> tuple[int, ...]:
    """What differs after each `write`; of a file that can't be seen, nothing."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def write(path: Path, content: Json) -> None:
    """Put `content` in the place of the file; readers see the old or the new. Mode 0600. Raises ConfigError."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"The configuration has a value that JSON can't hold: {error}.") from error
    target = path.resolve()  # a link keeps pointing at its file
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
        temporary = None
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with the file among all who ask this way; waits for the others. The lock is a file beside it.

    Two names of one file, such as a link and its target, have one lock.
    """
    try:
        real = path.resolve()
        beside = real.with_name(f"{real.name}.lock")
        beside.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    except (OSError, RuntimeError) as error:  # a RuntimeError for links in a circle
        raise ConfigError(f"{path} can't be written: {getattr(error, 'strerror', None) or error}.") from error
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # lets go of the lock, too


def apply_changes(target: Json, before: Json, after: Json) -> None:
    """Do to `target`, in place, what made `after` of `before`: values set and names removed, object by object."""
    for name in before.keys() - after.keys():
        target.pop(name, None)
    for name, value in after.items():
        old = before.get(name, _MISSING)
        if value == old and isinstance(value, bool) == isinstance(old, bool):
            continue
        present = target.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and isinstance(present, dict | None):
            apply_changes(target.setdefault(name, {}) if present is None else present, old, value)
        else:
            target[name] = copy.deepcopy(value)


def replace(target: Json, content: Json) -> None:
    """Make `target` equal to `content`, keeping the identity of objects that are in both."""
    for name in target.keys() - content.keys():
        del target[name]
    for name, value in content.items():
        present = target.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            replace(present, value)
        else:
            target[name] = value
