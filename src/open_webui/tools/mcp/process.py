"""The process with the MCP sessions, as the server sees it: many calls at once, each answered when its server is done."""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from llamaforge.exceptions import how_to_install
from open_webui.errors import OuiError, Unavailable
from open_webui.internal.child.spawn import LOG_LINES, close, end, kill, spawn
from open_webui.internal.log import get_logger
from open_webui.tools.mcp.frames import (
    LENGTH,
    MAX_FRAME,
    Answer,
    Ask,
    Cancel,
    Changed,
    Done,
    Ended,
    Failed,
    FromChild,
    Progress,
    ToChild,
    Trouble,
    encode,
)

log = get_logger(__name__)
MODULE: Final = "open_webui.tools.mcp"
NAME: Final = "The process with the MCP sessions"
# Seconds before it is started again after a crash; twice as many with each that follows without a result between.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
_decode: Final = msgspec.json.Decoder(FromChild).decode


class Refused(OuiError):
    """There is no result, and why."""

    status = 502

    def __init__(self, detail: str, trouble: Trouble) -> None:
        super().__init__(detail)
        self.trouble = trouble


class Hearer(Protocol):
    """Who hears of a call while it runs."""

    async def progressed(self, progress: Progress) -> None:
        """How far it is."""
        ...

    async def asked(self, ask: Ask) -> Any:
        """An answer to what the MCP server wants. Raises OuiError with a sentence for it."""
        ...


class Process:
    """One such process, started by the first request. Tells of sessions that change and end, its own end among them."""

    def __init__(
        self, changed: Callable[[Changed], None], ended: Callable[[str | None, str], None], module: str = MODULE
    ) -> None:
        """changed: a session has other things. ended: a session is gone; None: all are."""
        self._changed, self._ended = changed, ended
        self._module = module
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._hearers: dict[int, Hearer] = {}
        # What hearers are doing for calls, so that it ends with these.
        self._doing: dict[int, set[asyncio.Task[None]]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._errors: deque[str] = deque(maxlen=LOG_LINES)
        self._crashes = 0
        self._again_at = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return None if self._process is None else self._process.pid

    async def request(self, make: Callable[[int], ToChild], hearer: Hearer | None = None) -> Any:
        """The result of an Open or a Call. Cancelling it cancels the work. Raises Refused, Unavailable."""
        await self._started()
        number = next(self._ids)
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = result
        if hearer is not None:
            self._hearers[number] = hearer
        try:
            self.send(make(number))
            return await result
        except asyncio.CancelledError:
            self.send(Cancel(number))
            raise
        finally:
            self._waiting.pop(number, None)
            self._hearers.pop(number, None)
            for task in self._doing.pop(number, ()):
                task.cancel()

    def send(self, message: ToChild) -> None:
        """Sends a frame, if there is a process. Raises Unavailable for one that is too large."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        try:
            process.stdin.write(encode(message))
        except ValueError as error:
            raise Unavailable(f"What was to be sent to the MCP server {error}.") from None

    async def stop(self) -> None:
        """Ends the process; the next request starts another."""
        process, self._process = self._process, None
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        self._void(f"{NAME} was stopped.")
        if process is not None:
            await asyncio.shield(end(process))

    async def close(self) -> None:
        """Ends it for good."""
        self._closed = True
        await self.stop()

    async def _started(self) -> None:
        async with self._starting:
            if self._closed:
                raise Unavailable(f"{NAME} is being stopped.")
            if self._process is not None:
                return
            if asyncio.get_running_loop().time() < self._again_at:
                raise Unavailable(f"{NAME} has crashed, and is started again in a moment. Try again later.")
            self._errors.clear()
            self._process = await spawn(self._module, NAME, {}, self._errors)
            self._reading = asyncio.create_task(self._read(self._process), name=self._module)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Takes what the process says, until it is gone."""
        assert process.stdout is not None
        why = f"{NAME} has crashed."
        try:
            while head := await process.stdout.readexactly(LENGTH.size):
                (size,) = LENGTH.unpack(head)
                if size > MAX_FRAME:
                    break
                self._take(_decode(await process.stdout.readexactly(size)))
        except (asyncio.IncompleteReadError, msgspec.DecodeError, OSError):
            pass
        kill(process)
        code = await process.wait()
        close(process)
        if any("No module named 'mcp" in line or "No module named 'httpx2" in line for line in self._errors):
            why = f"MCP needs a library that is not installed. {how_to_install('mcp')}"
        self._again_at = asyncio.get_running_loop().time() + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._crashes)
        self._crashes += 1
        log.warning("the process with the MCP sessions failed", status=code, said=list(self._errors))
        self._process = self._reading = None
        self._void(why)

    def _void(self, why: str) -> None:
        """All sessions are gone, and nobody gets a result any more."""
        for result in self._waiting.values():
            if not result.done():
                result.set_exception(Refused(why, "lost"))
        self._ended(None, why)

    def _take(self, message: FromChild) -> None:
        match message:
            case Done():
                self._crashes = 0
                if (result := self._waiting.get(message.id)) is not None and not result.done():
                    result.set_result(message.value)
            case Failed():
                if (result := self._waiting.get(message.id)) is not None and not result.done():
                    result.set_exception(Refused(message.error, message.trouble))
            case Progress():
                self._do(message.id, lambda hearer: hearer.progressed(message))
            case Ask():
                if not self._do(message.call, lambda hearer: self._answer(hearer, message)):
                    self.send(Answer(message.ask, error="Nobody waits for this call any more."))
            case Changed():
                self._changed(message)
            case Ended():
                self._ended(message.session, message.why)

    def _do(self, number: int, work: Callable[[Hearer], Awaitable[None]]) -> bool:
        """Has the hearer of a call do something, while others are served. False: there is none."""
        hearer = self._hearers.get(number)
        if hearer is None:
            return False

        async def run() -> None:
            with contextlib.suppress(OuiError):
                await work(hearer)

        doing = self._doing.setdefault(number, set())
        task = asyncio.create_task(run(), name="for an MCP call")
        doing.add(task)
        task.add_done_callback(doing.discard)
        return True

    async def _answer(self, hearer: Hearer, ask: Ask) -> None:
        try:
            self.send(Answer(ask.ask, await hearer.asked(ask)))
        except OuiError as error:
            self.send(Answer(ask.ask, error=error.detail))
