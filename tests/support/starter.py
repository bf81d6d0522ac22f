"""A process that has the server's modules and starts servers as children of itself: some 2 s of CPU less for each of them.

Run as a program by `Starter`; such a server is the real one, but that its modules were there before its environment was.
"""

import atexit
import contextlib
import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import forked

_PR_SET_PDEATHSIG = 1
_MOST = 1 << 20


class Started:
    """A server's process. What it offers of `subprocess.Popen` does what that does."""

    def __init__(self, told: socket.socket, args: list[str]) -> None:
        """told: says the process' number, and its exit status when it has ended."""
        self.args = args
        self.returncode: int | None = None
        with told:
            self._told = told.makefile("rb", buffering=0)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._read()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read(self) -> None:
        # Nothing is said any more where the starter itself was killed, and its children with it.
        self.returncode = int(self._told.readline() or -signal.SIGKILL)
        self._told.close()


class Starter:
    """Starts the program below when it is first needed; that ends when its socket is closed, with the process that has it.

    The system's signal for the end of a parent would come with that of the thread that happened to need it first.
    """

    def __init__(self) -> None:
        self._control: socket.socket | None = None

    def start(
        self, module: str, arguments: list[str], folder: Path, environment: Mapping[str, str], log: int
    ) -> Started:
        """`python -m MODULE` with these arguments in this folder. log: a file to write to."""
        if self._control is None:
            self._control = self._begin(environment)
        mine, its = socket.socketpair()
        with its:
            order = {"module": module, "arguments": arguments, "folder": str(folder), "environment": dict(environment)}
            socket.send_fds(self._control, [json.dumps(order).encode()], [log, its.fileno()])
        return Started(mine, [module, *arguments])

    def _begin(self, environment: Mapping[str, str]) -> socket.socket:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in environment.items() if name in {"PATH", "HOME", "PYTHONPATH"}}
        with its:
            process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "tests.support.starter", str(its.fileno()), json.dumps(forked.listening())],
                pass_fds=[its.fileno()], env=kept | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        atexit.register(_end, mine, process)
        return mine


def _end(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    control.close()
    process.kill()
    process.wait()


def _die_with_parent() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _preload() -> None:
    """Imports the modules of a server, as `serve` does."""
    from open_webui.internal.lean_imports import lean

    with lean():
        import open_webui.internal.private
        import open_webui.main
        import open_webui.serving
        import open_webui.socket.frames
        import open_webui.socket.incoming
    import open_webui.cli  # noqa: F401
    from open_webui.internal.child import spawn

    sockets = json.loads(sys.argv[2])
    spawn.command = forked.commands(spawn.command, lambda: sockets)


def _run(order: dict[str, Any], log: int) -> int:
    """Becomes the server, in a child. Returns its exit status."""
    _die_with_parent()
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    os.chdir(order["folder"])
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 64)
    sys.argv = ["oui-backend", *order["arguments"]]
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    # It is run as a program is, though it has been imported.
    sys.modules.pop(order["module"], None)
    status = 0
    try:
        runpy.run_module(order["module"], run_name="__main__")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends a program
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    return status


def _serve(control: socket.socket) -> None:
    """Starts what is asked for, and tells how each has ended."""
    _preload()
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if control in ready:
            data, handles, *_ = socket.recv_fds(control, _MOST, 2)
            if not data:
                return
            log, told = handles
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(_run(json.loads(data), log))
            os.close(log)
            children[pid] = socket.socket(fileno=told)
            children[pid].sendall(f"{pid}\n".encode())
        with contextlib.suppress(BlockingIOError):
            wake.recv(4096)
        _bury(children)


def _bury(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if (told := children.pop(pid, None)) is not None:
            with told, contextlib.suppress(OSError):
                told.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
