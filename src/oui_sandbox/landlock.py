"""Which files a process may see: Landlock, by which it binds itself for good. Linux 5.13 and newer."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

from oui_sandbox import kernel

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE, _DEVICE = 1 << 1, 1 << 14, 1 << 15
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE, _MAKE_LINK, _MOVE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12, 1 << 13
_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = (
    _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_LINK | _MOVE
)
# What a rule for something that is no folder may have.
_OF_FILES: Final = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE
# All that each version of it knows.
_FILES: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP: Final = 3
_SCOPES: Final = 3


def version() -> int:
    """That of the kernel; 0 where it has none, or it is switched off."""
    if not kernel.IS_KNOWN:
        return 0
    try:
        return kernel.syscall(kernel.LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Iterable[str]) -> list[str]:
    """From here on the process sees these files and folders only. What is not there is left out.

    Returns sentences about what this kernel can't enforce. Raises OSError where it can enforce nothing. The process must be
    allowed no new privileges.
    """
    abi = version()
    handled = _FILES[min(max(abi, 1), 5)]
    attributes = struct.pack("=QQQ", handled, _TCP, _SCOPES)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = kernel.syscall(kernel.LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for paths, access in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    _allow(rules, path, access & handled)
        kernel.syscall(kernel.LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
    finally:
        os.close(rules)
    limits = []
    if abi < 3:
        limits.append("This kernel's Landlock can't keep files from being truncated that may be read only.")
    return limits


def _allow(rules: int, path: str, access: int) -> None:
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - an open and a stat, and nothing else loaded
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, file)
        kernel.syscall(kernel.LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0))
    finally:
        os.close(file)
