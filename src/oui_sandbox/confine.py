"""What a worker gives up before any foreign line runs in it: its user, files, network, other processes, endless memory."""

import contextlib
import ctypes
import functools
import gc
import os
import resource
import signal
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Final, NamedTuple

from oui_sandbox import kernel, landlock, seccomp

# Users that nobody else has: none is in any /etc/passwd, and systemd gives out none of them.
FIRST_UID: Final = 61_184
LAST_UID: Final = 65_519
MB: Final = 2**20
# Megabytes and files of a scratch folder.
SCRATCH_MB: Final = 128
SCRATCH_FILES: Final = 8_192
_CAP_DAC_READ_SEARCH: Final = 2
_CLONE_NEWNS: Final = 0x20000
# What a Python needs besides itself. Certificates, but no keys.
# What Python needs to import anything.
_PYTHON: Final = (sys.prefix, sys.base_prefix, __file__)
_SYSTEM: Final = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates", "/usr/share/ca-certificates",
    "/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/usr/share/mime", "/dev/urandom", "/dev/zero",
)  # fmt: skip
_DEVICES: Final = ("/dev/null",)


class Bounds(NamedTuple):
    """What one worker may have. memory: MB of addresses beyond those it begins with. file, scratch: MB of one file, of all.
    files: open ones. threads: where it has a user of its own. cpu: seconds in its life.
    """

    uid: int | None
    scratch: str
    readable: tuple[str, ...]
    memory: int
    file: int = 64
    scratch_size: int = SCRATCH_MB
    files: int = 256
    threads: int = 128
    cpu: int = 7_200


class Confined(NamedTuple):
    """What came of it. limits: sentences about what is not enforced. safe: whether a stranger's code may run. own_space:
    whether the system bounds the scratch folder.
    """

    limits: tuple[str, ...]
    safe: bool
    own_space: bool


def confine(bounds: Bounds) -> Confined:
    """Binds this process for good. It must have one thread."""
    limits: list[str] = []
    own_space = _own_space(bounds)
    if not own_space:
        limits.append("The size of a plugin's scratch folder is looked at each second, not bound by the system.")
    _limit(bounds)
    own_user = _become(bounds, limits)
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    sees_files = _see_few_files(bounds, limits)
    calls = _make_few_calls()
    if not calls:
        limits.append(
            "System calls are not filtered here: a plugin may start processes and use the network in spite of the settings."
        )
    if not sees_files:
        limits.append(
            "Files are not hidden here: a plugin may read what its user may read"
            + (", which is nothing of the server's own." if own_user else ", and that is all that the server may read.")
        )
    return Confined(tuple(limits), calls and (sees_files or own_user), own_space)


@functools.cache
def readable_paths() -> tuple[str, ...]:
    """What any Python of this installation reads."""
    own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own |= {str(Path(prefix) / "lib") for prefix in (sys.prefix, sys.base_prefix)}
    own |= {entry for entry in sys.path if "site-packages" in entry or "dist-packages" in entry}
    return (*sorted(own), str(Path(__file__).parent), *_SYSTEM)


def _own_space(bounds: Bounds) -> bool:
    """Puts a file system of a fixed size where the scratch folder is, seen by this process alone. False: not allowed here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    options = (
        f"size={bounds.scratch_size}m,nr_inodes={SCRATCH_FILES},mode=0700,uid={bounds.uid or 0},gid={bounds.uid or 0}"
    )
    try:
        kernel.unshare(_CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")
        kernel.mount("tmpfs", bounds.scratch, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
    except OSError:
        return False
    return True


def _limit(bounds: Bounds) -> None:
    limits = {
        "AS": _addresses() + bounds.memory * MB,
        "FSIZE": bounds.file * MB,
        "NOFILE": bounds.files,
        "CORE": 0,
        "CPU": bounds.cpu,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "SIGPENDING": 128,
    }
    if bounds.uid is not None:
        limits["NPROC"] = bounds.threads
    for name, most in limits.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        _, hard = resource.getrlimit(number)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)


def _addresses() -> int:
    """Bytes of addresses that the process has by now."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY)
        try:
            return int(os.read(file, 200).split()[0]) * resource.getpagesize()
        finally:
            os.close(file)
    except (OSError, ValueError):
        return 512 * MB


def _become(bounds: Bounds, limits: list[str]) -> bool:
    """Becomes a user that has nothing but its scratch folder. False: it stays the server's."""
    # What Python imports must be within reach. Where it lies in a folder that only the server may enter, one privilege is
    # kept: to read all files; which those are is Landlock's to say then.
    within = (*_PYTHON, *bounds.readable)
    needs_reach = landlock.version() > 0 and _has(_CAP_DAC_READ_SEARCH) and not all(map(_is_open, within))
    kept = 1 << _CAP_DAC_READ_SEARCH if needs_reach else 0
    if bounds.uid is None or os.geteuid() != 0:
        limits.append("Plugins run as the server's own user: what they may not do is up to Landlock and seccomp alone.")
        _keep(kept)
        return False
    if not needs_reach and not all(map(_is_open, within)):
        limits.append(f"Plugins run as root: Python lies in a folder that no other user may enter ({sys.prefix}).")
        return False
    try:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if needs_reach else 0)
        with contextlib.suppress(OSError):
            # Until the first that the kernel does not have.
            for capability in range(64):
                kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        os.setgroups([])
        os.setresgid(bounds.uid, bounds.uid, bounds.uid)
        os.setresuid(bounds.uid, bounds.uid, bounds.uid)
    except OSError as error:
        limits.append(f"Plugins run as the server's own user: the system lets it take no other ({error.strerror}).")
        return False
    _keep(kept)
    return not needs_reach


@functools.cache
def _has(capability: int) -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        permitted = next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:"))
    except (OSError, StopIteration):
        return False
    return bool(permitted >> capability & 1)


def _keep(capabilities: int) -> None:
    """Gives up all other privileges."""
    if kernel.ARCHITECTURE is None or not kernel.IS_KNOWN:
        return
    head = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=IIIIII", capabilities, capabilities, 0, 0, 0, 0)
    kernel.syscall(kernel.CAPSET[kernel.ARCHITECTURE], head, ctypes.create_string_buffer(data, len(data)))


@functools.cache
def _is_open(path: str) -> bool:
    """Whether every user may read there."""
    there = Path(path).resolve()
    try:
        return all(
            folder.stat().st_mode & 0o005 == 0o005 or folder == there for folder in (there, *there.parents)
        ) and bool(there.stat().st_mode & 0o004)
    except OSError:
        return False


def _see_few_files(bounds: Bounds, limits: list[str]) -> bool:
    if landlock.version() == 0:
        return False
    readable = (*readable_paths(), *bounds.readable)
    try:
        limits += landlock.restrict(readable, (bounds.scratch, *_DEVICES))
    except OSError:
        return False
    return True


def _make_few_calls() -> bool:
    if not kernel.IS_KNOWN:
        return False
    try:
        seccomp.install()
    except OSError:
        return False
    return True


def prepare() -> None:
    """Looks at what is the same for all workers: each of them would copy the pages that it takes to look."""
    readable_paths()
    if sys.platform == "linux":
        _has(_CAP_DAC_READ_SEARCH)
        landlock.version()
    for path in _PYTHON:
        _is_open(path)


def settle() -> None:
    """What is loaded by now is shared with the workers: the collector leaves it alone, for a look at it would copy it.

    Nothing is collected before: the holes would be filled by the workers, each of which would copy the pages around them.
    """
    gc.freeze()
    gc.enable()
