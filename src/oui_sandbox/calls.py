"""The calls that run in a worker: begun by a frame, ended by one, stopped by one."""

import asyncio
import concurrent.futures
import contextvars
import ctypes
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from oui_sandbox import encode
from oui_sandbox.channel import CALL, Channel
from oui_sandbox.plugin import Plugin
from oui_sandbox.protocol import CREDIT

THREADS: Final = 40
# Things that a call's generator gave, where nobody asked for a stream.
_MOST: Final = 100_000
# A function that is done with a batch within so many seconds, so often in a row, is called on the loop itself, until it takes
# longer than the second time. Then it has to be quick more often again.
_SHORT: Final = 0.005
_OFTEN: Final = 3
_LONG: Final = 0.02
_RARELY: Final = -100


class Stopped(BaseException):
    """Raised in the thread of a call that the server stopped."""


class Calls:
    """All of them. To be used in the loop's thread."""

    def __init__(self, channel: Channel, plugin: Plugin) -> None:
        self._channel = channel
        self._plugin = plugin
        self._running: dict[int, asyncio.Task[None]] = {}
        self._credits: dict[int, asyncio.Semaphore] = {}
        self._contexts: dict[int, dict[str, Any]] = {}
        # How often in a row a function was done at once with a batch.
        self._quick: dict[str, int] = {}
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS, "call")

    def only(self) -> int | None:
        """The number of the call that runs, where there is one alone."""
        return next(iter(self._running)) if len(self._running) == 1 else None

    def take(self, frame: dict[str, Any]) -> None:
        """What the server sends besides answers."""
        match frame["op"]:
            case "call" | "load":
                number = frame["id"]
                task = asyncio.create_task(self._run(frame))
                self._running[number] = task
                task.add_done_callback(lambda _: self._running.pop(number, None))
            case "cancel" if (running := self._running.get(frame["id"])) is not None:
                running.cancel()
            case "credit" if (credit := self._credits.get(frame["id"])) is not None:
                for _ in range(frame["n"]):
                    credit.release()

    async def _run(self, frame: dict[str, Any]) -> None:
        number = frame["id"]
        CALL.set(number)
        try:
            if frame["op"] == "load":
                result: dict[str, Any] = {"value": self._plugin.load(frame)}
            else:
                result = await self._call(frame)
            self._channel.send({"op": "result", "id": number, **result})
        except asyncio.CancelledError:
            self._channel.send(
                {"op": "error", "id": number, "error": "It was stopped.", "kind": "cancelled", "trace": ""}
            )
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises is an answer to who called it
            self._channel.send({"op": "error", "id": number, **self._plugin.failure(error)})
        finally:
            self._credits.pop(number, None)

    async def _call(self, frame: dict[str, Any]) -> dict[str, Any]:
        if (valves := frame.get("new_valves")) is not None:
            await self._plugin.change_valves(valves)
        told = self._told(frame)
        metadata = told.get("metadata")
        before = None if metadata is None else encode.text(metadata)
        if frame["mode"] == "batch":
            value: Any = await self._batch(frame, told)
        else:
            function, arguments = self._plugin.bind(frame["method"], frame["arguments"], told)
            value = await self._answer(function, arguments)
            if frame["mode"] == "stream":
                value = await self._stream(frame["id"], value)
            elif (parts := _parts(value)) is not None:
                value = [part async for part in self._each(parts)]
        changed = before is not None and encode.text(metadata) != before
        return {"value": value, **({"metadata": metadata} if changed else {})}

    def _told(self, frame: dict[str, Any]) -> dict[str, Any]:
        """The context of a call: it comes with the first that has it, and is kept as long as the server says."""
        for key in frame.get("forget", ()):
            self._contexts.pop(key, None)
        told: dict[str, Any] | None = frame.get("context")
        key = frame.get("context_key")
        if told is None:
            return self._contexts[key] if key is not None else {}
        if key is not None:
            self._contexts[key] = told
        return told

    async def _batch(self, frame: dict[str, Any], told: dict[str, Any]) -> list[Any]:
        items: list[dict[str, Any]] = frame["arguments"]
        if not items:
            return []
        function, first = self._plugin.bind(frame["method"], items[0], told)
        each = [first | {name: value for name, value in item.items() if name in first} for item in items]
        if inspect.iscoroutinefunction(function):
            return [await function(**arguments) for arguments in each]
        method, began = frame["method"], time.monotonic()
        if self._quick.get(method, 0) >= _OFTEN:
            # To hand it to a thread and back would cost several times what it does.
            done: list[Any] = _outside_the_loop(lambda: [function(**arguments) for arguments in each])
            if time.monotonic() - began > _LONG:
                self._quick[method] = _RARELY
            return done
        done = await self._in_thread(lambda: [function(**arguments) for arguments in each])
        is_quick = time.monotonic() - began < _SHORT
        self._quick[method] = self._quick.get(method, 0) + 1 if is_quick else min(0, self._quick.get(method, 0))
        return done

    async def _answer(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            return function(**arguments)
        value = await self._in_thread(lambda: function(**arguments))
        return await value if inspect.isawaitable(value) else value

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """The result of work in a thread. Cancelled, it raises Stopped there, and waits for the thread."""
        ident = 0
        context = contextvars.copy_context()

        def run() -> Any:
            nonlocal ident
            ident = threading.get_ident()
            try:
                return context.run(work)
            except StopIteration as error:
                raise RuntimeError("It raised StopIteration.") from error

        done = asyncio.get_running_loop().run_in_executor(self._threads, run)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done() and ident:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Stopped))
            await asyncio.wait({done})
            if not done.cancelled():
                done.exception()
            raise

    async def _stream(self, number: int, value: Any) -> Any:
        """Sends what a generator gives, as fast as the server takes it. Returns what is no generator."""
        parts = _parts(value)
        if parts is None:
            return value
        credit = self._credits[number] = asyncio.Semaphore(CREDIT)
        async for part in self._each(parts):
            await credit.acquire()
            self._channel.send({"op": "chunk", "id": number, "value": part})
        return None

    async def _each(self, parts: AsyncIterator[Any] | Iterator[Any]) -> AsyncIterator[Any]:
        count = 0
        if isinstance(parts, AsyncIterator):
            async for part in parts:
                yield part
                count += 1
                if count > _MOST:
                    raise ValueError(f"It gave more than {_MOST:,} parts.")
            return
        end = object()
        while (part := await self._in_thread(lambda: next(parts, end))) is not end:
            yield part
            count += 1
            if count > _MOST:
                raise ValueError(f"It gave more than {_MOST:,} parts.")


def _outside_the_loop(work: Callable[[], list[Any]]) -> list[Any]:
    """Calls it in the loop's thread as in any other: a plain function may run a loop of its own (`asyncio.run`)."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)  # noqa: SLF001 - it has no other name
    try:
        return work()
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001


def _parts(value: Any) -> AsyncIterator[Any] | Iterator[Any] | None:
    """The parts of something that comes in parts."""
    if (body := getattr(value, "body_iterator", None)) is not None:
        value = body
    if isinstance(value, AsyncIterator | Iterator) and not isinstance(value, str | bytes):
        return value
    return None
