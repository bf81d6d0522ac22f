"""One worker process with one model: started, listened to, and ended without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llamaforge.exceptions import (
    BackendNotFoundError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    ParameterError,
)
from llamaforge.memory.devices import RAM, Memory
from llamaforge.pool.spec import Spec
from llamaforge.pool.supervisor import MARK, Supervisor

LOG_LINES = 40
"""How many of the worker's last lines on stderr are kept for the log of a crash."""

_GRACE = 3.0
_LINE = 2**20
_POLL = 0.01
_KINDS: dict[str, type[LlamaForgeError]] = {
    cls.__name__: cls for cls in (BackendNotFoundError, ModelLoadError, ModelNotFoundError, ParameterError)
}
log = logging.getLogger(__name__)


class WorkerProcess:
    """A worker process, made and started by the constructor, which needs a running event loop.

    ready: the future of its load, with its exception. gone: set when the process has ended and is reaped. crashed: why it
    ended unasked, else None. leases: requests that run in it. retired: takes no more. missed: health checks in a row
    without an answer. url, key: of its HTTP server, once it is ready. alive_path: see `BaseBackend.alive_path`. started:
    when, on the monotonic clock.
    """

    def __init__(
        self,
        spec: Spec,
        supervisor: Supervisor,
        *,
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
    ) -> None:
        """supervisor: ends what the process leaves behind. environment: that of the process; this one's where None.
        niceness: added to this process's own.
        """
        self.spec = spec
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.crashed: ModelLoadError | None = None
        self.leases = 0
        self.retired = False
        self.missed = 0
        self.url = self.key = ""
        self.alive_path: str | None = None
        self.probing = False
        self.started = self.since = time.monotonic()
        self.progress = 0.0
        self.checking = False
        self.next_check = 0.0
        self.on_gone: Callable[[WorkerProcess], object] | None = None
        self._supervisor = supervisor
        self._engines: list[int] = []  # processes that the worker's backend has started
        self._elsewhere: Memory = {}  # what it takes on other devices
        self._environment = dict(os.environ if environment is None else environment)
        self._niceness = niceness
        self._mark = secrets.token_hex(16)
        self._process: asyncio.subprocess.Process | None = None
        self.stopping = False
        self._errors: deque[str] = deque(maxlen=LOG_LINES)
        self._refusal: LlamaForgeError | None = None
        self._task = asyncio.create_task(self._run(), name=f"model {spec.name}")
        self._task.add_done_callback(self._finish)
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return None if self._process is None or self.gone.is_set() else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""
        return self.ready.done() and not self.stopping and not self.gone.is_set() and not self.ready.exception()

    def memory(self) -> int:
        """Bytes of RAM resident, mapped weights and engines' processes included; 0 where the system does not tell."""
        return sum(_resident(pid) for pid in (self.pid, *self._engines) if pid is not None)

    def computed(self) -> float | None:
        """Seconds of CPU that it and its engines have used; None where the system does not tell."""
        spent = [_cpu_seconds(pid) for pid in (self.pid, *self._engines) if pid is not None]
        return None if None in spent else sum(one for one in spent if one is not None)

    def reserved(self) -> Memory:
        """Bytes by device: what is expected of it, or what is measured where that is more."""
        measured = {RAM: self.memory(), **self._elsewhere}
        devices = measured.keys() | self.spec.memory_by_device.keys()
        return {name: max(measured.get(name, 0), self.spec.memory_by_device.get(name, 0)) for name in devices}

    async def stop(self, grace: float = _GRACE) -> None:
        """End it: asked for `grace` seconds, then killed. Cancelling kills at once."""
        self.stopping = True
        if self._process is None:
            self._task.cancel()
        elif self._process.stdin is not None:
            self._process.stdin.close()
        try:
            if not grace:
                self.kill()
            async with asyncio.timeout(grace or None):
                await self.gone.wait()
        except TimeoutError:
            log.warning("The process of the model '%s' did not end when asked, and is killed.", self.spec.name)
        finally:
            self.kill()
        await self.gone.wait()

    def kill(self) -> None:
        """SIGKILL to the process and its group. Does nothing once it is gone."""
        process = self._process
        if process is None or self.gone.is_set():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)  # the group has its number, and may outlive it
            else:
                process.kill()

    def fail(self, why: str) -> None:
        """Kill it as one that crashed."""
        self.crashed = ModelLoadError(why)
        self.kill()

    async def healthy(self, timeout: float) -> bool:
        """Whether its HTTP server answers within `timeout` seconds."""
        try:
            return b" 200 " in await self._ask("/health", timeout)
        except OSError:  # among them TimeoutError
            return False

    async def hangs(self, timeout: float) -> bool:
        """Whether its engine has something to do and gets no step further within `timeout` seconds."""
        if self.alive_path is not None:
            try:
                await self._ask(self.alive_path, timeout)
            except TimeoutError:
                return True
            except OSError:  # it ends, or has no more connections: `healthy` finds that out
                pass
        return False

    async def _ask(self, path: str, timeout: float) -> bytes:
        """The first line of what its HTTP server answers. Raises OSError, TimeoutError."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.key}\r\nConnection: close\r\n\r\n"
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(head.encode())
                return await reader.readline()
            finally:
                writer.close()

    # ---- its life

    async def _run(self) -> None:
        stderr: asyncio.Task[None] | None = None
        try:
            self._process = process = await self._spawn()
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            self._supervisor.watch(process.pid, self._mark)
            stderr = asyncio.create_task(self._read_errors(process.stderr))
            with contextlib.suppress(OSError):
                process.stdin.write(self._greeting())
                await process.stdin.drain()
            # The end of this pipe is that of the process: nothing that the process starts inherits it.
            while line := await process.stdout.readline():
                self._receive(line)
            async with asyncio.timeout(_GRACE):
                await self._ended()
        except asyncio.CancelledError:
            self.stopping = True
            raise
        except TimeoutError:
            log.warning("The process of the model '%s' has closed its pipe and did not end.", self.spec.name)
        except (OSError, ValueError) as error:
            self._refusal = ModelLoadError(f"The process for the model '{self.spec.name}' can't be run: {error}")
        finally:
            await self._reap(stderr)

    async def _spawn(self) -> asyncio.subprocess.Process:
        own = {"PYTHONPATH": os.pathsep.join(_import_path()), MARK: self._mark}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "llamaforge.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
            env=self._environment | own,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, which lets answers end first
        )

    def _greeting(self) -> bytes:
        spec = self.spec
        greeting = {
            "name": spec.name,
            "path": spec.path,
            "backend": spec.backend,
            "parameters": dict(spec.parameters),
            "slots": spec.slots,
            "niceness": self._niceness,
            "parent": os.getpid(),
        }
        return json.dumps(greeting).encode() + b"\n"

    def _receive(self, line: bytes) -> None:
        message: dict[str, Any] = json.loads(line)
        match message.get("event"):
            case "progress":
                self.progress = max(self.progress, min(float(message["value"]), 1.0))
            case "ready":
                self.url, self.key = message["url"].rstrip("/"), message["key"]
                self.alive_path = message["alive"]
                self._engines, self._elsewhere = message["processes"], message["memory"]
                self.since, self.progress = time.monotonic(), 1.0
                if not self.ready.done():
                    self.ready.set_result(None)
            case "failed":
                self._refusal = _KINDS.get(message["kind"], ModelLoadError)(message["error"])

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while data := await stream.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-4096:]
            self._errors += [line.decode(errors="replace").rstrip() for line in lines if line.strip()]
        if rest.strip():
            self._errors.append(rest.decode(errors="replace"))

    async def _reap(self, stderr: asyncio.Task[None] | None) -> None:
        """End the process and all that it has started, and read what it wrote last."""
        self.kill()
        try:
            if self._process is not None:
                self._supervisor.end(self._process.pid)
                await asyncio.shield(self._ended())
            if stderr is not None:
                await asyncio.wait({stderr}, timeout=0.5)
        finally:
            if stderr is not None:
                stderr.cancel()

    async def _ended(self) -> None:
        """Until the process has ended. Its own `wait` waits for its pipes, too, which engines may hold."""
        while self._process is not None and self._process.returncode is None:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(_POLL)

    def _finish(self, task: asyncio.Task[None]) -> None:
        """Note the end. A callback, so that it happens even to a task that was cancelled before its first step."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Watching the process of the model '%s' failed.", self.spec.name, exc_info=error)
        self._report_end()
        self.gone.set()
        if self.on_gone is not None:
            self.on_gone(self)

    def _report_end(self) -> None:
        """Log how it ended, and tell who waits for it to be ready."""
        if not self.stopping and self._refusal is None and self.crashed is None:
            self.crashed = ModelLoadError(self._exit_reason())
        if self.crashed is not None:
            log.error("%s Its last lines:\n%s", self.crashed, "\n".join(self._errors) or "(none)")
        elif self._refusal is not None:
            log.warning("%s\n%s", self._refusal, "\n".join(self._errors))
        if not self.ready.done():
            stopped = ModelLoadError(f"The model '{self.spec.name}' was unloaded before it was ready.")
            self.ready.set_exception(self._refusal or self.crashed or stopped)

    def _exit_reason(self) -> str:
        when = "" if self.ready.done() else " while it was loading"
        code = None if self._process is None else self._process.returncode
        if code is None or code >= 0:
            return f"The process of the model '{self.spec.name}' ended{when} (status {code})."
        name = signal.Signals(-code).name
        hint = " The system may have run out of memory." if name == "SIGKILL" else ""
        return f"The process of the model '{self.spec.name}' crashed{when} ({name}).{hint}"


def _import_path() -> list[str]:
    """That of this process in its order, with whole paths, without the working directory that '' stands for."""
    return [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100 -- not every entry is a path


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None
