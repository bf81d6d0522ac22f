"""What carries the bytes of a bus between processes. It may lose them when it goes away, and says so; it does no more."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from open_webui.internal.log import get_logger
from open_webui.internal.shielding import to_the_end
from open_webui.internal.supervise import supervise

log = get_logger(__name__)
# The channel that every process hears.
ALL: Final = "all"
# Gets what arrived: what was sent at once, or several of these behind each other. It must not wait, and raises nothing.
Receive = Callable[[bytes], None]

# Seconds until the carrier is tried again; twice as many with each failure that follows.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# What may wait to be written. What is sent beyond is lost, as it is while the carrier is away: the link sends it again.
_PENDING_BYTES: Final = 32 * 2**20
# What is written at once. A carrier has bounds for what one who listens has not read yet; Redis' is 32 MB.
_WRITE_BYTES: Final = 2**20
# Between two writes: a write of many costs little more than a write of one. What somebody waits for goes at once, or with
# what is about to go.
_WRITE_SECONDS: Final = 0.01


class Transport(Protocol):
    """Bytes to the channel of one process, or to all. What arrives from one process is in order, but for what is lost."""

    @property
    def is_up(self) -> bool:
        """Whether what is sent now will be carried, as far as is known."""
        ...

    async def open(self, channel: str, receive: Receive, changed: Callable[[bool], None]) -> None:
        """Hears its own channel and ALL from now on. Returns when that is so, or when the carrier is away.

        changed: told when the carrier comes (True) and goes (False).
        """
        ...

    async def close(self) -> None:
        """Writes what waits, if that is quick, and hears no more."""
        ...

    def send(self, channel: str, data: bytes) -> None:
        """Has it carried soon. While the carrier is away it is dropped."""
        ...

    async def flush(self) -> None:
        """Returns when the carrier has taken what was sent so far, or is away."""
        ...

    def renew(self) -> None:
        """Drops a connection that is silent and makes a new one."""
        ...


class Carrier(ABC):
    """A Transport over connections that break: it makes them anew, and writes together what was sent within a few milliseconds.

    A subclass says how to connect, read and write. name: what the log calls the carrier.
    """

    channel: str
    receive: Receive

    def __init__(self, name: str, failures: tuple[type[Exception], ...]) -> None:
        """failures: what the subclass raises when the carrier is away."""
        self._name = name
        self._failures = failures
        self._up = False
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()
        self._is_writing = False
        self._pending: list[tuple[str, bytes]] = []
        self._pending_bytes = 0
        # Who waits for what is pending to be written, and for what is being written.
        self._flushes: list[asyncio.Future[None]] = []
        self._keeping: asyncio.Task[None] | None = None
        self._serving: list[asyncio.Task[None]] = []

    @abstractmethod
    async def connect(self) -> None:
        """Connects, and listens to `channel` and ALL."""

    @abstractmethod
    async def read(self) -> None:
        """Hands what arrives to `receive`. Raises when the connection breaks."""

    @abstractmethod
    async def write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Has data carried to channels. Returns when the carrier has it."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Closes what there is of connections. Raises nothing."""

    @property
    def is_up(self) -> bool:
        return self._up

    async def open(self, channel: str, receive: Receive, changed: Callable[[bool], None]) -> None:
        self.channel, self.receive, self._changed = channel, receive, changed
        self._keeping = supervise(f"bus over {self._name}", self._keep)
        await self._tried.wait()

    async def close(self) -> None:
        if self._keeping is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.flush()
        # After what it ends itself.
        await _end([self._keeping], again=1)
        self._keeping = None

    def send(self, channel: str, data: bytes) -> None:
        if self._up and self._pending_bytes < _PENDING_BYTES:
            self._pending.append((channel, data))
            self._pending_bytes += len(data)
            self._wake.set()

    async def flush(self) -> None:
        if self._pending or self._is_writing:
            written = asyncio.get_running_loop().create_future()
            self._flushes.append(written)
            self._wake.set()
            await written

    def renew(self) -> None:
        for task in self._serving:
            task.cancel()

    async def _keep(self) -> None:
        """Connects, serves, and begins anew when that fails."""
        pause, is_said = _FIRST_PAUSE, False
        while True:
            reason = "it is silent"
            try:
                await self.connect()
                if is_said:
                    log.info("what carries news between the processes is back", carrier=self._name)
                pause, is_said, self._up = _FIRST_PAUSE, False, True
                self._changed(True)
                self._tried.set()
                await self._serve()
            except self._failures as error:
                reason = str(error) or type(error).__name__
            finally:
                self._fall()
                self._tried.set()
                await to_the_end(self.disconnect())
            if not is_said:
                log.warning("what carries news between the processes is away", carrier=self._name, reason=reason)
                is_said = True
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _serve(self) -> None:
        """Reads and writes until one of both fails, which it raises, or `renew`."""
        self._serving = [asyncio.ensure_future(work) for work in (self.read(), self._write_pending())]
        try:
            done, _ = await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await to_the_end(_end(self._serving, again=0.1))
        for task in done:
            if not task.cancelled():
                task.result()

    async def _write_pending(self) -> None:
        loop = asyncio.get_running_loop()
        next_at = 0.0
        while True:
            await self._wake.wait()
            if not self._flushes:
                # What is rare goes at once; of what comes often, some goes together.
                await asyncio.sleep(next_at - loop.time())
            next_at = loop.time() + _WRITE_SECONDS
            self._wake.clear()
            batch, self._pending, self._pending_bytes = self._pending, [], 0
            waiting, self._flushes = self._flushes, []
            self._is_writing = True
            try:
                for together in _joined(batch):
                    await self.write(together)
            finally:
                self._is_writing = False
                _release(waiting)

    def _fall(self) -> None:
        """What waits is lost, and nobody waits for it."""
        was_up, self._up = self._up, False
        self._pending, self._pending_bytes = [], 0
        _release(self._flushes)
        self._flushes = []
        if was_up:
            self._changed(False)


def _joined(batch: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """What is written at once: all that goes to one channel as one, which costs a third of what each alone does.

    To all comes last: who says good-bye has said everything before.
    """
    size, joined = 0, dict[str, list[bytes]]()
    for channel, data in batch:
        joined.setdefault(channel, []).append(data)
        size += len(data)
        if size > _WRITE_BYTES:
            yield [(to, b"".join(parts)) for to, parts in joined.items()]
            size, joined = 0, {}
    if ALL in joined:
        joined[ALL] = joined.pop(ALL)
    if joined:
        yield [(to, b"".join(parts)) for to, parts in joined.items()]


async def _end(tasks: "Sequence[asyncio.Task[None]]", again: float) -> None:
    """Cancels tasks until they have ended, every so many seconds: `wait_for` of Python 3.11 may forget a cancellation."""
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=again)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def _release(waiting: Sequence["asyncio.Future[None]"]) -> None:
    for one in waiting:
        if not one.done():
            one.set_result(None)
