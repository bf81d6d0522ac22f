"""One worker as the server sees it: its pipe, the calls that run in it, and how it ends."""

import asyncio
import contextvars
import itertools
import os
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from open_webui.errors import OuiError, Unavailable
from open_webui.internal.log import get_logger
from open_webui.plugins.running import END, Running
from open_webui.plugins.source import Answer, Call, Loaded, PluginFailed, PluginLost
from oui_sandbox.protocol import CREDIT, LENGTH, MAX_FRAME

log = get_logger(__name__)
# Questions of a worker that are answered at once; it is not read on while there are so many.
ASKS_AT_ONCE: Final = 64
# Seconds in which a call must end that was told to.
GRACE: Final = 1.0
# Bytes that wait to be read by a worker.
_MAX_WAITING: Final = 64 * 2**20
# Frames above are parsed beside the event loop.
_LARGE: Final = 256 * 1024
_LOG_BYTES: Final = 4_000
# Contexts that a worker keeps for the calls that follow.
_CONTEXTS: Final = 16
_Frame = dict[str, Any]


class Worker:
    """A process with one plugin. Made by `start` of the host; ended by `kill`, or by itself."""

    def __init__(self, name: str, kind: str, sock: socket.socket, log_file: int, kill: Callable[[], None]) -> None:
        """name: as people read it. kind: tool or function. sock: our end of its pipe. log_file: what it prints to. kill:
        ends the process.
        """
        self.name = name
        self.kind = kind
        self.loaded: Loaded | None = None
        # Folders that it imports from before all others.
        self.path: list[str] = []
        self.limits: tuple[str, ...] = ()
        self.valves: dict[str, Any] | None = None
        # Whether the size of its scratch folder is ours to look at.
        self.is_watched = False
        self.retired = False
        # It ended by itself, which nobody had asked of it.
        self.crashed = False
        self.used_at = asyncio.get_running_loop().time()
        self.ended = asyncio.Event()
        self.pid = 0
        self.calls_made = 0
        self._sock = sock
        self._log_file = log_file
        self._kill = kill
        self._running: dict[int, Running] = {}
        self._numbers = itertools.count(1)
        self._keys = itertools.count(1)
        self._contexts: OrderedDict[tuple[int, tuple[str, ...]], tuple[int, dict[str, Any]]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._free = asyncio.Semaphore(ASKS_AT_ONCE)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._why = ""
        self._decoder = msgspec.json.Decoder(dict[str, Any])

    @property
    def is_busy(self) -> bool:
        """Whether a call runs in it."""
        return bool(self._running)

    async def open(self, seconds: float) -> None:
        """Waits until it is bound. Raises PluginLost, Unavailable where plugins may not run on this machine."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock)
        # In a context of its own: it serves whoever comes after the one for whom the process was started.
        reading = self._read()
        self._reading = asyncio.create_task(reading, name=f"frames of {self.name}", context=contextvars.Context())
        try:
            async with asyncio.timeout(seconds):
                await self._ready
        except TimeoutError:
            self.kill("It did not begin.")
            raise PluginLost(f"{self.name} did not begin within {seconds:g} seconds.") from None

    def begin(self, frame: _Frame, call: Call, answer: Answer | None, seconds: float) -> tuple[int, Running]:
        """Sends a call. Raises PluginLost where the process is gone."""
        if self.ended.is_set() or self._why:
            raise PluginLost(self._lost())
        number = next(self._numbers)
        running = Running(call, answer, seconds)
        running.stop = lambda: self._keep(self._stop(number))
        self._running[number] = running
        self.calls_made += 1
        self.used_at = asyncio.get_running_loop().time()
        self._send(frame | {"id": number})
        running.begin()
        return number, running

    async def result(self, running: Running) -> _Frame:
        """The end of a call. Raises PluginFailed, PluginLost. Cancelling stops the call."""
        try:
            frame = await asyncio.shield(running.done)
        except asyncio.CancelledError:
            if not running.done.done():
                running.stop()
            raise
        finally:
            self.used_at = asyncio.get_running_loop().time()
        if running.timed_out:
            raise PluginLost(f"{self.name} took longer than {running.seconds:g} seconds, and was stopped.")
        if frame["op"] == "error":
            raise PluginFailed(str(frame.get("error")), str(frame.get("kind")), str(frame.get("trace")))
        return frame

    async def chunks(self, number: int, running: Running) -> AsyncIterator[Any]:
        """The parts of a call that gives some, until its end, which `result` tells."""
        got = 0
        while (part := await running.chunks.get()) is not END:
            yield part
            got += 1
            if got == CREDIT // 2 and not running.done.done():
                self._send({"op": "credit", "id": number, "n": got})
                got = 0

    def context(self, context: dict[str, Any], wants: tuple[str, ...]) -> _Frame:
        """The part of a frame that tells the context: once, for batches in a row that have the same one."""
        place = (id(context), wants)
        if (known := self._contexts.get(place)) is not None and known[1] is context:
            return {"context_key": known[0]}
        key = next(self._keys)
        self._contexts[place] = (key, context)
        forget = []
        if len(self._contexts) > _CONTEXTS:
            _, (old, _) = self._contexts.popitem(last=False)
            forget.append(old)
        return {"context_key": key, "context": told(context, wants), "forget": forget}

    def kill(self, why: str) -> None:
        """Ends it now. why: for the log and for the calls in it."""
        if not self._why:
            self._why = why
            self._kill()

    def retire(self, why: str) -> None:
        """No new call comes; it is ended when those that run have ended."""
        self.retired = True
        if not self._running:
            self.kill(why)

    async def has_ended(self, status: int | None) -> None:
        """To be called when the process is gone: what it had sent before is taken first."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=GRACE)
            self._reading.cancel()
            self._writer.close()
        else:
            self._sock.close()
        if not self._why:
            self._why = _manner(status)
            self.crashed = True
            log.warning("a plugin's process ended by itself", plugin=self.name, status=status, printed=self.printed())
        self.ended.set()
        for number in list(self._running):
            self._running.pop(number).end(PluginLost(self._lost()))
        if not self._ready.done():
            self._ready.set_exception(PluginLost(self._lost()))
            self._ready.exception()
        for task in self._tasks:
            task.cancel()
        os.close(self._log_file)
        self._log_file = -1

    def printed(self) -> str:
        """The end of what it printed."""
        if self._log_file < 0:
            return ""
        size = os.fstat(self._log_file).st_size
        return os.pread(self._log_file, _LOG_BYTES, max(0, size - _LOG_BYTES)).decode(errors="replace")

    def _lost(self) -> str:
        return f"{self.name} was lost: {self._why or 'its process has gone.'}"

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop(self, number: int) -> None:
        """Has a call end: asked, and a second later by ending the process."""
        running = self._running.get(number)
        if running is None:
            return
        self._send({"op": "cancel", "id": number})
        await asyncio.wait({running.done}, timeout=GRACE)
        if running.done.done():
            return
        self._running.pop(number, None)
        sentence = f"{self.name} took longer than {running.seconds:g} seconds, and was stopped."
        running.end(PluginLost(sentence if running.timed_out else f"{self.name} was stopped."))
        self.retire("A call in it did not end when it was told to.")

    def _send(self, frame: _Frame) -> None:
        data = msgspec.json.encode(frame)
        if len(data) > MAX_FRAME:
            raise OuiError(f"{self.name} can't be given {len(data):,} bytes at once.", status=413)
        self._writer.write(LENGTH.pack(len(data)) + data)
        if self._writer.transport.get_write_buffer_size() > _MAX_WAITING:
            self.kill("It did not read what it had asked for.")

    async def _read(self) -> None:
        try:
            while not self._reader.at_eof():
                (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                if size > MAX_FRAME:
                    self.kill(f"It sent {size:,} bytes at once.")
                    return
                body = await self._reader.readexactly(size)
                decode = self._decoder.decode
                frame = decode(body) if size < _LARGE else await asyncio.to_thread(decode, body)
                await self._take(frame)
        except (asyncio.IncompleteReadError, OSError):
            self._kill()
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError):
            self.kill("It sent something that is no answer.")

    async def _take(self, frame: _Frame) -> None:
        match frame["op"]:
            case "ready":
                self.limits = tuple(str(limit) for limit in frame["limits"])
                self.is_watched = not frame["own_space"]
                if not self._ready.done():
                    self._ready.set_result(None)
            case "unsafe":
                why = " ".join(str(limit) for limit in frame["limits"])
                if not self._ready.done():
                    self._ready.set_exception(Unavailable(f"Plugins can't be run safely on this machine. {why}"))
            case "result" | "error" if (running := self._running.pop(frame["id"], None)) is not None:
                running.end(frame)
                if self.retired and not self._running:
                    self.kill("Another version of it is in use.")
            case "chunk" if (running := self._running.get(frame["id"])) is not None:
                if running.chunks.qsize() > CREDIT:
                    self.kill("It sent more than it was asked for.")
                running.chunks.put_nowait(frame["value"])
            case "ask":
                await self._free.acquire()
                self._keep(self._answer(frame))

    async def _answer(self, frame: _Frame) -> None:
        """Answers one question of the plugin's."""
        number = int(frame["ask"])
        try:
            running = self._running.get(frame["id"])
            if running is None:
                answer: _Frame = {"error": "The call is over."}
            else:
                task = asyncio.current_task()
                assert task is not None
                running.asking.add(task)
                task.add_done_callback(running.asking.discard)
                answer = await running.ask(str(frame["name"]), frame["arguments"])
            try:
                self._send({"op": "answer", "ask": number, **answer})
            except OuiError as error:
                self._send({"op": "answer", "ask": number, "error": error.detail})
        finally:
            self._free.release()


def told(context: dict[str, Any], wants: tuple[str, ...]) -> dict[str, Any]:
    """The parts of a context that a function wants."""
    names = {want.strip("_") for want in wants}
    if "user" in names:
        names.add("user_valves")
    if "request" in names:
        names |= {"user", "metadata"}
    return {name: value for name, value in context.items() if name in names}


def _manner(status: int | None) -> str:
    if status is None:
        return "its process has gone."
    if status < 0:
        return f"its process was ended by signal {-status}."
    return f"its process ended by itself (with {status})."
