"""A child process that answers calls, one after the other, as this process sees it."""

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Mapping
from typing import Final

from open_webui.errors import Unavailable
from open_webui.internal.child.serve import LENGTH, RESULT
from open_webui.internal.child.spawn import LOG_LINES, close, end, kill, spawn
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Bytes of an answer.
MAX_ANSWER: Final = 256 * 2**20
# Seconds before a process that crashed is started again; twice as many with each crash that follows without an answer between.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0


class Refused(Exception):
    """The process's own no to a call, as a sentence. It goes on."""


class Lost(Unavailable):
    """The process crashed over a call, or took too long over it. The same call would end the next process, too."""


class _Ended(Exception):
    """The process closed its pipe."""


class Child:
    """One such process: started by the first call, ended when it was idle for a while, started anew after a crash.

    A call that crashed it, or took too long, is not made again. To be used from one event loop.
    """

    def __init__(
        self, module: str, name: str, *, idle_seconds: float, environment: Mapping[str, str] | None = None
    ) -> None:
        """module: run by its name; it calls `serve`. name: as people read it, at the beginning of a sentence.
        environment: what it gets besides the few variables that every process needs.
        """
        self._module = module
        self._name = name
        self._idle_seconds = idle_seconds
        self._environment = dict(environment or {})
        # Calls that wait: whether others go first, their order, and what they ask.
        self._waiting: list[tuple[bool, int, bytes, float, asyncio.Future[bytes]]] = []
        self._numbers = itertools.count()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._errors: deque[str] = deque(maxlen=LOG_LINES)
        self._crashes = 0
        self._again_at = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return None if self._process is None else self._process.pid

    async def call(self, request: bytes, *, timeout: float, first: bool = False) -> bytes:
        """The answer to a request. timeout: seconds from when the process has it. first: it goes before all that wait.

        Raises Refused with what the process says, Lost where it crashed or took too long, Unavailable where it can't be
        started or is being stopped.
        """
        if self._closed:
            raise Unavailable(f"{self._name} is being stopped.")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not first, next(self._numbers), request, timeout, answer))
        self._more.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._module)
        return await answer

    async def close(self) -> None:
        """Ends the process. Calls that wait are refused."""
        self._closed = True
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        """Makes the calls until none comes for a while."""
        answer: asyncio.Future[bytes] | None = None
        try:
            while await self._has_more():
                _, _, request, timeout, answer = heapq.heappop(self._waiting)
                if not answer.done():  # else its caller has gone
                    await self._answer(answer, request, timeout)
                # They may be large, and the next call may come late.
                request, answer = b"", None
        finally:
            self._task = None
            process, self._process = self._process, None
            left = [answer] if answer is not None else []
            for one in left + [entry[-1] for entry in self._waiting]:
                if not one.done():
                    one.set_exception(Unavailable(f"{self._name} is being stopped."))
            self._waiting.clear()
            if process is not None:
                await asyncio.shield(end(process))

    async def _answer(self, answer: asyncio.Future[bytes], request: bytes, timeout: float) -> None:
        try:
            result = await self._ask(request, timeout)
        except (Refused, Unavailable) as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)

    async def _has_more(self) -> bool:
        """Waits for a call. False: none came for so long that the process may go."""
        if not self._waiting:
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._idle_seconds):
                    await self._more.wait()
        return bool(self._waiting)

    async def _ask(self, request: bytes, timeout: float) -> bytes:
        clock = asyncio.get_running_loop().time
        if self._process is None:
            if clock() < self._again_at:
                raise Unavailable(f"{self._name} has crashed, and is started again in a moment. Try again later.")
            self._process = await self._start()
        try:
            async with asyncio.timeout(timeout):
                answer = await _exchange(self._process, request)
        except TimeoutError:
            await self._lose(f"{self._name} took longer than {timeout:g} seconds, and was ended.")
        except (OSError, _Ended):
            await self._lose(f"{self._name} has crashed.")
        self._crashes = 0
        if answer[:1] == RESULT:
            return answer[1:]
        raise Refused(answer[1:].decode(errors="replace"))

    async def _lose(self, why: str) -> None:
        """Ends a process that failed. Always raises Lost."""
        process, self._process = self._process, None
        assert process is not None
        kill(process)
        try:
            code = await process.wait()
        finally:
            # Also where this is closed meanwhile: nobody else knows the process any more.
            close(process)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._crashes)
        self._crashes += 1
        self._again_at = asyncio.get_running_loop().time() + pause
        log.warning("a child process failed", module=self._module, why=why, status=code, said=list(self._errors))
        raise Lost(why)

    async def _start(self) -> asyncio.subprocess.Process:
        self._errors.clear()
        return await spawn(self._module, self._name, self._environment, self._errors)


async def _exchange(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    """Raises OSError, _Ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(request)) + request)
    try:
        await process.stdin.drain()
        (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if size > MAX_ANSWER:
            raise _Ended
        return await process.stdout.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise _Ended from error
