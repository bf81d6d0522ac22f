"""The process that forks workers, as the server sees it: started when it is first needed, ended when nobody has for a while."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import oui_sandbox
from open_webui.errors import Unavailable
from open_webui.internal.log import get_logger
from oui_sandbox.protocol import MAX_MESSAGE

log = get_logger(__name__)
START_SECONDS: Final = 20.0
FORK_SECONDS: Final = 10.0
_GRACE: Final = 2.0
# What it gets of the server's environment, and the workers after it: nothing that is secret.
_KEPT: Final = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
# One heap for all threads: with one for each the bound on addresses would mean little.
_GIVEN: Final = {
    "PATH": "/usr/bin:/bin",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
}
Ended = Callable[[int | None], None]


class Zygote:
    """One such process. To be used from one event loop."""

    def __init__(self, *, bare: bool, gone: Callable[[], None]) -> None:
        """bare: without the usual libraries. gone: called once it has ended, after the ends of all its workers were told."""
        # What it has loaded, and every worker after it.
        self.modules: frozenset[str] = frozenset()
        self._bare = bare
        self._gone = gone
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[None] | None = None
        self._forking: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, Ended] = {}

    @property
    def pid(self) -> int | None:
        """Its number, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_idle(self) -> bool:
        """Whether it has no worker."""
        return not self._ended

    async def start(self) -> None:
        """Raises Unavailable."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control, self._ready = ours, loop.create_future()
        arguments = [str(theirs.fileno()), *(["bare"] if self._bare else [])]
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-s", str(Path(oui_sandbox.__file__).parent), *arguments,
                    pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                    env=_GIVEN | {name: os.environ[name] for name in _KEPT if name in os.environ},
                    cwd="/", start_new_session=True,
                )  # fmt: skip
            loop.add_reader(ours.fileno(), self._read)
            async with asyncio.timeout(START_SECONDS):
                await self._ready
        except (OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable(
                f"The process that runs plugins can't be started: {str(error) or 'it did not begin'}."
            ) from error
        except asyncio.CancelledError:
            await self.close()
            raise

    async def fork(self, number: int, order: dict[str, Any], files: list[int], ended: Ended) -> int:
        """A new worker's process number. ended: told how it ended, None where it can't be started. Raises Unavailable."""
        assert self._control is not None
        pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forking[number] = pid
        self._ended[number] = ended
        try:
            message = json.dumps({"order": "fork", "id": number, **order}).encode()
            socket.send_fds(self._control, [message], files)
            async with asyncio.timeout(FORK_SECONDS):
                return await pid
        except (OSError, TimeoutError) as error:
            self._ended.pop(number, None)
            raise Unavailable("A plugin's process can't be started.") from error
        finally:
            self._forking.pop(number, None)

    def kill(self, number: int) -> None:
        """Ends a worker at once; `ended` is told."""
        if self._control is not None and number in self._ended:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"order": "kill", "id": number}).encode())

    async def close(self) -> None:
        """Ends it, and it its workers; where it is killed, the system does."""
        self._lose()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _read(self) -> None:
        assert self._control is not None
        try:
            message = self._control.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose()
            self._gone()
            return
        event = json.loads(message)
        match event["event"]:
            case "ready" if self._ready is not None and not self._ready.done():
                self.modules = frozenset(event["modules"])
                self._ready.set_result(None)
            case "forked" if (forking := self._forking.get(event["id"])) is not None and not forking.done():
                forking.set_result(event["pid"])
            case "ended":
                self._end(event["id"], event["status"], event["why"])

    def _end(self, number: int, status: int | None, why: str) -> None:
        forking = self._forking.get(number)
        if forking is not None and not forking.done():
            forking.set_exception(Unavailable(f"A plugin's process can't be started ({why})."))
        if (ended := self._ended.pop(number, None)) is not None:
            ended(status)

    def _lose(self) -> None:
        if self._control is None:
            return
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        self._control = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(OSError("it ended at once"))
        for number in list(self._ended):
            self._end(number, None, "its parent has gone")
