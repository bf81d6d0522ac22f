"""A small process beside a pool that ends what the workers have started, however this process or a worker ends.

A worker may die before it can end its engine: killed for memory, or with its parent. This file is run by path with the
standard library alone, so that it takes little memory and starts at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

MARK = "LLAMAFORGE_WORKER"
"""The variable by which a worker's processes are known, also those that have left its process group."""


class Supervisor:
    """The pool's end of it. The process is started with the first worker, and anew if it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._watched: dict[int, str] = {}

    def watch(self, pid: int, mark: str) -> None:
        """End the process group `pid` and all processes with that mark when this process ends."""
        self._watched[pid] = mark
        self._say(f"+ {pid} {mark}\n")

    def end(self, pid: int) -> None:
        """End what is left of a worker's processes now."""
        mark = self._watched.pop(pid, None)
        if mark is not None:
            self._say(f"- {pid} {mark}\n")

    def close(self) -> None:
        """End the process, which takes some milliseconds; what it still watches ends with it."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait()

    __del__ = close

    def _say(self, line: str) -> None:
        if sys.platform == "win32":
            return
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _start()
            line = "".join(f"+ {pid} {mark}\n" for pid, mark in self._watched.items()) + line
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just ended; the next worker starts another
            self._process.stdin.write(line.encode())


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- this very file
        [sys.executable, "-I", "-S", __file__, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != MARK},
        start_new_session=True,
    )


# ---- the process itself


def main() -> None:
    """Watch until stdin or the parent ends."""
    parent = int(sys.argv[1])
    watched: dict[int, str] = {}
    sources = [0]
    # A process that the parent forks holds our stdin open: its death is seen by itself, too.
    with contextlib.suppress(OSError, AttributeError):
        sources.append(os.pidfd_open(parent))
    rest = b""
    while os.getppid() == parent:
        ready = select.select(sources, [], [])[0]
        data = os.read(0, 65536) if ready == [0] else b""
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            sign, pid, mark = line.decode().split()
            watched[int(pid)] = mark
            if sign == "-":
                _end(int(pid), watched.pop(int(pid)))
    for number, mark in watched.items():
        _end(number, mark)


def _end(group: int, mark: str) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    needle = f"{MARK}={mark}\0".encode()
    for _ in range(10):  # one that forks meanwhile is found in the next round
        found = [pid for pid in _processes() if needle in _environment(pid)]
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _processes() -> list[int]:
    try:
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:  # no such system: the group alone is ended
        return []


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return b""


if __name__ == "__main__":
    main()
