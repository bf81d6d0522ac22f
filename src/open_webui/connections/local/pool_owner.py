"""The process that owns the engines of this machine: it holds the lock in the data folder, and answers the others there."""

import asyncio
import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec

from llamaforge.exceptions import LlamaForgeError, ModelLoadError
from llamaforge.pool import Pool, Spec
from open_webui.internal.db import ensure_folder
from open_webui.internal.log import get_logger

if sys.platform != "win32":
    import fcntl

log = get_logger(__name__)
# Bytes of one question or answer: parameters may hold a chat template.
LINE: Final = 4 * 2**20
# The address of a Unix socket has room for 107 bytes, on some systems for 103.
_MAX_ADDRESS: Final = 100
Say = Callable[..., None]


class PoolPlace:
    """The lock and the socket in a data folder. Both bear the machine's name: a folder may be shared over a network."""

    def __init__(self, folder: Path) -> None:
        machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
        self.lock = folder / f"models-{machine}.lock"
        self.socket = folder / f"models-{machine}.sock"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the owner. Raises OSError where nobody listens."""
        with self._address() as address:
            return await asyncio.open_unix_connection(address, limit=LINE)

    def take(self) -> int | None:
        """The locked file, or None if another process has it. Raises OSError."""
        ensure_folder(self.lock.parent)
        file = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            undo.pop_all()
        return file

    def listen(self) -> socket.socket:
        """The socket, for this account alone. For who has the lock: what an owner that was killed has left is replaced."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.ExitStack() as undo:
            undo.callback(listening.close)
            self.socket.unlink(missing_ok=True)
            with self._address() as address:
                listening.bind(address)
            # Before anybody can connect.
            self.socket.chmod(0o600)
            listening.listen(1024)
            listening.setblocking(False)
            undo.pop_all()
        return listening

    @contextlib.contextmanager
    def _address(self) -> Iterator[str]:
        """The socket's path; where that is too long, by way of the open folder, which Linux knows under a short name."""
        path = os.fspath(self.socket)
        if len(os.fsencode(path)) <= _MAX_ADDRESS or not sys.platform.startswith("linux"):
            yield path
            return
        folder = os.open(self.socket.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{self.socket.name}"
        finally:
            os.close(folder)


class PoolOwner:
    """The pool, and who answers the questions of other processes with it. Each question is a connection of its own."""

    def __init__(self, place: PoolPlace, pool: Pool, lock: int) -> None:
        self.pool = pool
        self._place = place
        self._lock = lock
        self._server: asyncio.Server | None = None
        self._attending: set[asyncio.Task[Any]] = set()

    @classmethod
    async def take(cls, place: PoolPlace, make: Callable[[], Pool]) -> "PoolOwner | None":
        """Becomes the owner, unless another process is. Raises ModelLoadError."""
        try:
            lock = place.take()
            if lock is None:
                return None
            with contextlib.ExitStack() as undo:
                undo.callback(os.close, lock)
                owner = cls(place, make(), lock)
                owner._server = await asyncio.start_unix_server(owner._connected, sock=place.listen(), limit=LINE)
                undo.pop_all()
        except OSError as error:
            raise ModelLoadError(
                f"Processes of the server can't share the models of this machine: {place.lock.parent} takes no lock or socket"
                f" ({error.strerror or error})."
            ) from error
        log.info("this process runs the models of this machine")
        return owner

    async def close(self) -> None:
        """Ends all engines, then lets another process have the lock."""
        assert self._server is not None
        self._server.close()
        self._place.socket.unlink(missing_ok=True)
        attending = tuple(self._attending)
        for task in attending:
            task.cancel()
        try:
            await asyncio.gather(*attending, return_exceptions=True)
            # A turn of the loop, in which the connections are closed.
            await asyncio.sleep(0)
            await self.pool.close()
        finally:
            os.close(self._lock)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one of asyncio's that is cancelled is logged as a fault.
        task = asyncio.create_task(self._attend(reader, writer), name="models of this machine, for another process")
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question, until it is answered or who asked has left."""

        def say(**told: Any) -> None:
            if not writer.is_closing():
                writer.write(msgspec.json.encode(told) + b"\n")

        doing: set[asyncio.Task[Any]] = set()
        try:
            asked = msgspec.json.decode(await reader.readline())
            doing = {asyncio.create_task(self._do(asked, say)), asyncio.create_task(reader.read(1))}
            await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, ValueError, msgspec.MsgspecError):
            pass  # it was no question, or who asked is gone
        finally:
            for part in doing:
                part.cancel()
            try:
                await asyncio.gather(*doing, return_exceptions=True)
            finally:
                await end(writer)

    async def _do(self, asked: dict[str, Any], say: Say) -> None:
        try:
            match asked["op"]:
                case "lease":
                    await self._lease(asked, say)
                case "load":
                    await self.pool.load(Spec(**asked["spec"]), lambda part: say(progress=part))
                    say(result=True)
                case "unload":
                    say(result=await self.pool.unload(asked["name"], force=asked["force"]))
                case "status":
                    say(result=[asdict(status) for status in self.pool.status()])
        except LlamaForgeError as error:
            say(error=error_for(error))
        except (KeyError, TypeError, ValueError) as error:
            log.warning("what another process asked about the models is no question", error=repr(error))

    async def _lease(self, asked: dict[str, Any], say: Say) -> None:
        """Holds the place until the connection ends, or another wants it more."""
        leased = self.pool.lease(
            Spec(**asked["spec"]),
            user=asked["user"],
            patient=asked["patient"],
            on_wait=lambda position: say(wait=position),
            on_progress=lambda part: say(progress=part),
        )
        async with leased as lease:
            say(result=[lease.url, lease.key])
            await lease.failed.wait()
            say(gone=str(await lease.failure()) if lease.crashed else None)
            # The place is given back when the other has noticed.
            await asyncio.get_running_loop().create_future()


async def end(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, which the other side may have done."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def error_for(error: LlamaForgeError) -> dict[str, Any]:
    """An error as it goes to the process that asked: its class, its text, and what of its attributes are its own."""
    own = {name: value for name, value in vars(error).items() if isinstance(value, bool | int | float | str | None)}
    return {"class": type(error).__name__, "text": str(error), "own": own}
