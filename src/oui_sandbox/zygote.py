"""The process that the server starts: it has the usual libraries loaded, and forks a worker in a few milliseconds.

It runs nothing foreign, has one thread, and none of the server's files, secrets or variables. The server speaks to it over
a socket of messages (JSON): `fork`, with the worker's files, and `kill`. It answers `ready`, `forked` and `ended`. When the
server is gone, it ends, and the system ends the workers with it.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any, Final

from oui_sandbox import confine, kernel, sockets, worker
from oui_sandbox.protocol import CONTROL, MAX_MESSAGE

# What plugins import most. What isn't there is left out.
USUAL: Final = ("pydantic", "aiohttp", "fastapi", "fastapi.responses", "httpx2", "httpx", "requests", "loguru")
BARE: Final = "bare"


class _Zygote:
    """The workers of one process, and the socket to the server."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        # By the file number that tells of their end.
        self._workers: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Until the server is gone."""
        self._tell(
            {
                "event": "ready",
                "modules": sorted({name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names),
            }
        )
        while True:
            for file, _ in self._poll.poll():
                if file != self._control.fileno():
                    self._reap(file)
                elif not self._obey():
                    self._end()
                    return

    def _end(self) -> None:
        for watch, (_, pid) in self._workers.items():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(watch, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _obey(self) -> bool:
        try:
            message, files, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 8)
        except OSError:
            # It went with an event of ours unread.
            return False
        if not message:
            return False
        order = json.loads(message)
        try:
            if order["order"] == "fork":
                self._fork(order, files)
            else:
                self._kill(order["id"])
        finally:
            for file in files:
                with contextlib.suppress(OSError):
                    os.close(file)
        return True

    def _fork(self, order: dict[str, Any], files: list[int]) -> None:
        try:
            uid = order["uid"]
            if uid is not None:
                os.chown(order["scratch"], uid, uid)
            pid = os.fork()
        except OSError as error:
            self._tell({"event": "ended", "id": order["id"], "status": None, "why": error.strerror or str(error)})
            return
        if pid == 0:
            _become_worker(order, files)
        watch = os.pidfd_open(pid)
        self._workers[watch] = (order["id"], pid)
        self._poll.register(watch, select.POLLIN)
        self._tell({"event": "forked", "id": order["id"], "pid": pid})

    def _kill(self, number: int) -> None:
        for watch, (known, _) in self._workers.items():
            if known == number:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(watch, signal.SIGKILL)

    def _reap(self, watch: int) -> None:
        number, pid = self._workers.pop(watch)
        self._poll.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(pid, 0)
        self._tell({"event": "ended", "id": number, "status": os.waitstatus_to_exitcode(status), "why": ""})

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(event).encode())
        except OSError:
            os._exit(0)


def main(arguments: list[str]) -> None:
    """Never returns before the server is gone. arguments: the file number of its end of the control socket, and "bare" for a
    Python without the usual libraries.
    """
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.disable()
    sockets.install()
    if BARE not in arguments:
        for name in USUAL:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    worker.prepare()
    # The server's own source is out of reach from here on.
    sys.path[:] = [entry for entry in sys.path[1:] if entry]
    confine.settle()
    _Zygote(control).run()


def _become_worker(order: dict[str, Any], files: list[int]) -> None:
    """In the child: binds it, and runs what the server sends. Never returns."""
    code = 1
    try:
        frames, log, *network = _take(files)
        bounds = confine.Bounds(
            order["uid"], order["scratch"], tuple(order["readable"]), order["memory"], **order.get("more", {})
        )
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir("/")
        os.setsid()
        confined = confine.confine(bounds)
        os.chdir(order["scratch"])
        if confined.safe or order["unsafe"]:
            worker.run(frames, network[0] if network else None, order, confined)
            code = 0
        else:
            worker.refuse(frames, confined)
    finally:
        os._exit(code)


def _take(files: list[int]) -> list[int]:
    """Closes all files but these, and makes them 3 and the following."""
    kept = [os.dup(file) for file in files]
    high = max(kept) + 1
    moved = [os.dup2(file, high + i) for i, file in enumerate(kept)]
    placed = [os.dup2(file, CONTROL + i) for i, file in enumerate(moved)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(CONTROL + len(placed), 2**20)
    return placed
