"""Child processes of the product as forks of one that has their modules: imports are most of what such a child does in a test.

Started with `python -m`, a process for MCP imports for a second and a half, and a reader of files for a third of one.
"""

import atexit
import contextlib
import functools
import importlib
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.process import clean_environment

# Each has a process of its own that it is forked from: a reader is bounded in memory.
MODULES = ("open_webui.tools.mcp", "open_webui.retrieval.parsing.reader")
_STUB = Path(__file__).with_name("forked_stub.py")
_LENGTH = struct.Struct("<I")


@functools.cache
def listening() -> dict[str, str]:
    """The sockets, by modules, of processes that end with this one. They are started, and import while others go on."""
    folder = Path(tempfile.mkdtemp(prefix="oui-forks-"))
    return {module: _begin(module, folder / module) for module in MODULES}


def commands(
    original: Callable[[str], tuple[str, ...]], sockets: Callable[[], Mapping[str, str]] = listening
) -> Callable[[str], tuple[str, ...]]:
    """In place of `open_webui.internal.child.spawn.command`. sockets: asked for when a child is first started."""

    def command(module: str) -> tuple[str, ...]:
        if module not in MODULES:
            return original(module)
        return sys.executable, "-I", "-S", str(_STUB), sockets()[module], module

    return command


def _begin(module: str, path: Path) -> str:
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(path))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.support.forked", str(listener.fileno()), module],
            pass_fds=[listener.fileno()], env=clean_environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
            stdin=subprocess.PIPE,
        )  # fmt: skip
    atexit.register(_end, process, path)
    return str(path)


def _end(process: "subprocess.Popen[bytes]", path: Path) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


class _Forks:
    """The process that is forked."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: dict[int, socket.socket] = {}
        self._wake, woken = socket.socketpair()
        self._woken = woken
        for each in (self._wake, woken):
            each.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken.fileno())

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([0, self._listener, self._wake, *self._children.values()], [], [])
            if 0 in ready:  # whoever has begun it is gone: nothing is ever written to it
                return
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
            self._bury()
            for pid, told in list(self._children.items()):
                if told in ready:  # its stub has ended: it never says anything
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    self._children.pop(pid).close()
            if self._listener in ready:
                self._fork()

    def _bury(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if (told := self._children.pop(ended[0], None)) is not None:
                    with told, contextlib.suppress(OSError):
                        told.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())

    def _fork(self) -> None:
        told, _ = self._listener.accept()
        files: list[int] = []
        try:
            data, files, *_ = socket.recv_fds(told, 1 << 16, 3)
            while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack(data[:4])[0]:
                if not (more := told.recv(1 << 16)):
                    raise ConnectionError("the stub was killed before it had said all")
                data += more
            module, folder, *environment = data[4:].decode().split("\0")
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    status = self._become(module, folder, dict(each.split("=", 1) for each in environment), files)
                finally:  # whatever it raised: there is one process that is forked
                    os._exit(status)
            self._children[pid] = told
        except OSError:
            told.close()
        finally:
            for file in files:
                os.close(file)

    def _become(self, module: str, folder: str, environment: dict[str, str], files: list[int]) -> int:
        """The child: a process as `python -m` makes it. Returns its exit status."""
        os.setsid()
        os.chdir(folder)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(environment | {"OUI_PARENT": str(os.getppid())})
        sys.argv = [module]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:  # noqa: BLE001 - as the interpreter ends a program
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            return 1
        return 0


if __name__ == "__main__":
    importlib.import_module(sys.argv[2] + (".client" if sys.argv[2].endswith(".mcp") else ""))
    _Forks(socket.socket(fileno=int(sys.argv[1]))).serve()
