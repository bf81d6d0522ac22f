"""System calls that Python has no function for, by ctypes: prctl, Landlock, capabilities. Linux on x86-64 and ARM64."""

import ctypes
import functools
import os
import platform
import sys
from typing import Final

ARCHITECTURE: Final = {"x86_64": 0, "AMD64": 0, "aarch64": 1, "arm64": 1}.get(platform.machine())
IS_KNOWN: Final = sys.platform == "linux" and ARCHITECTURE is not None
LANDLOCK_CREATE: Final = 444
LANDLOCK_ADD: Final = 445
LANDLOCK_RESTRICT: Final = 446
CAPSET: Final = (126, 91)
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """Raises OSError."""
    checked(_libc().prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def syscall(number: int, *arguments: object) -> int:
    """What the system call returned. Raises OSError."""
    return checked(_libc().syscall(ctypes.c_long(number), *arguments))


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Raises OSError."""
    checked(_libc().mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))


def unshare(flags: int) -> None:
    """Raises OSError."""
    checked(_libc().unshare(flags))


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
