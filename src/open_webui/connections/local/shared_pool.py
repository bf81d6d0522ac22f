"""The engines of this machine for all processes that share a data folder: one owns them, the others ask it for places.

The owner is who holds a lock in the folder. It listens on a Unix socket beside that; a connection is one question, and a
place at a model is held for as long as it is open, so that a process that dies gives its places back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any, Final

import msgspec

from llamaforge import exceptions
from llamaforge.exceptions import LlamaForgeError, ModelBusyError, ModelLoadError
from llamaforge.pool import Lease, ModelStatus, Pool, Spec
from llamaforge.pool.model import OnProgress
from llamaforge.pool.queue import OnWait
from open_webui.connections.local.pool_owner import PoolOwner, PoolPlace, end

# How long another process that has the lock may take until it listens, and how often it is tried in a second.
PATIENCE: Final = 10.0
TRIES: Final = 20
# Owners that may end under one question that waits; each time it goes to the next one.
MAX_OWNERS: Final = 3
OWNER_LOST: Final = "The process of the server that ran the model '{}' has ended."


class OwnerLostError(ModelLoadError):
    """The process that owns the engines ended."""


class BorrowedProcess:
    """A model's process at the owner, as a lease knows it (`llamaforge.pool.lease.LeasedProcess`)."""

    def __init__(self, spec: Spec, url: str, key: str) -> None:
        self.spec, self.url, self.key = spec, url, key
        self.gone = asyncio.Event()
        self.crashed: ModelLoadError | None = None

    def end(self, why: str | None) -> None:
        """why: None where it was asked to."""
        self.crashed = None if why is None else ModelLoadError(why)
        self.gone.set()


class _Question:
    """A connection to the owner."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._reader, self._writer, self._name = reader, writer, name

    def ask(self, **asked: Any) -> None:
        self._writer.write(msgspec.json.encode(asked) + b"\n")

    async def told(self) -> dict[str, Any]:
        """What the owner says next. Raises the LlamaForgeError that it says, OwnerLostError."""
        try:
            line = await self._reader.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise OwnerLostError(OWNER_LOST.format(self._name))
        told: dict[str, Any] = msgspec.json.decode(line)
        if "error" in told:
            raise error_of(told["error"])
        return told

    async def result(self, on_wait: OnWait | None, on_progress: OnProgress | None) -> Any:
        """What the question leads to, after news of where it stands."""
        while "result" not in (told := await self.told()):
            if on_wait is not None and "wait" in told:
                on_wait(told["wait"])
            if on_progress is not None and "progress" in told:
                on_progress(told["progress"])
        return told["result"]

    async def close(self) -> None:
        await end(self._writer)


class SharedPool:
    """A `Pool` that may be another process's. Becomes the owner when something is asked and nobody owns the engines."""

    def __init__(self, place: PoolPlace, make: Callable[[], Pool]) -> None:
        self._place = place
        self._make = make
        self._owner: PoolOwner | None = None
        self._seen: list[ModelStatus] = []
        self._taking = asyncio.Lock()
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(
        self,
        spec: Spec,
        *,
        user: str = "",
        on_wait: OnWait | None = None,
        on_progress: OnProgress | None = None,
        patient: bool = False,
    ) -> AsyncIterator[Lease]:
        """See `Pool.lease`. Where the owner ends, so does the model; the next question makes this process the owner."""
        asked = {"op": "lease", "spec": asdict(spec), "user": user, "patient": patient}
        found = await self._asked(spec.name, asked, on_wait, on_progress)
        if isinstance(found, Pool):
            leased = found.lease(spec, user=user, on_wait=on_wait, on_progress=on_progress, patient=patient)
            async with leased as lease:
                yield lease
            return
        question, (url, key) = found
        process = BorrowedProcess(spec, url, key)
        try:
            async with asyncio.timeout(None) as wanted:
                following = asyncio.create_task(_follow(question, process, wanted))
                try:
                    yield Lease(process)
                finally:
                    following.cancel()
        except TimeoutError:
            if not wanted.expired():
                raise
            raise ModelBusyError(f"The model '{spec.name}' is wanted by somebody who waits for it.") from None
        finally:
            await question.close()

    async def load(self, spec: Spec, progress: OnProgress | None = None) -> None:
        """See `Pool.load`."""
        found = await self._asked(spec.name, {"op": "load", "spec": asdict(spec)}, None, progress)
        if isinstance(found, Pool):
            await found.load(spec, progress)
        else:
            await found[0].close()

    async def unload(self, name: str, *, force: bool = False) -> bool:
        """See `Pool.unload`."""
        found = await self._asked(name, {"op": "unload", "name": name, "force": force}, None, None)
        if isinstance(found, Pool):
            return await found.unload(name, force=force)
        await found[0].close()
        return bool(found[1])

    def status(self) -> list[ModelStatus]:
        """See `Pool.status`. Of another owner what `look` has seen last."""
        return self._seen if self._owner is None else self._owner.pool.status()

    async def look(self) -> None:
        """Asks the owner how the models stand. Where there is none, none was asked for."""
        if self._owner is not None:
            return
        self._seen = []
        # TypeError: the owner may be of another release, while workers are replaced.
        with contextlib.suppress(OSError, LlamaForgeError, TypeError):
            question = _Question(*await self._place.connect(), name="")
            try:
                question.ask(op="status")
                self._seen = [ModelStatus(**status) for status in await question.result(None, None)]
            finally:
                await question.close()

    async def close(self) -> None:
        """Ends the engines if they are this process's."""
        self._closed = True
        async with self._taking:
            owner, self._owner = self._owner, None
            if owner is not None:
                await owner.close()

    async def _asked(
        self, name: str, asked: dict[str, Any], on_wait: OnWait | None, on_progress: OnProgress | None
    ) -> Pool | tuple[_Question, Any]:
        """The open question and what it has led to at the owner; the pool where that is this process.

        Raises what the owner's pool does, and OwnerLostError.
        """
        for remaining in reversed(range(MAX_OWNERS)):
            found = await self._reach(name)
            if isinstance(found, Pool):
                return found
            async with contextlib.AsyncExitStack() as undo:
                undo.push_async_callback(found.close)
                try:
                    found.ask(**asked)
                    result = await found.result(on_wait, on_progress)
                except OwnerLostError:
                    if not remaining:
                        raise
                    continue
                undo.pop_all()
                return found, result
        raise AssertionError("the last owner's end is raised")

    async def _reach(self, name: str) -> Pool | _Question:
        """The pool if this process is the owner, or becomes it, else a connection to who is. Raises ModelLoadError."""
        for _ in range(int(PATIENCE * TRIES)):
            async with self._taking:
                if self._closed:
                    raise ModelBusyError("The models are being shut down.")
                if self._owner is None:
                    self._owner = await PoolOwner.take(self._place, self._make)
                if self._owner is not None:
                    return self._owner.pool
            try:
                return _Question(*await self._place.connect(), name=name)
            except OSError:
                # It has only just taken the lock, or is about to end.
                await asyncio.sleep(1 / TRIES)
        raise ModelLoadError(
            f"Another process of the server runs the models of this machine (it holds {self._place.lock}), and does not answer."
        )


async def _follow(question: _Question, process: BorrowedProcess, wanted: asyncio.Timeout) -> None:
    """Takes to the lease what the owner says of it."""
    try:
        process.end((await question.told())["gone"])
    except OwnerLostError as error:
        process.end(str(error))
    except ModelBusyError:
        # Somebody who is not patient wants the place.
        with contextlib.suppress(RuntimeError):
            wanted.reschedule(asyncio.get_running_loop().time())


def error_of(told: dict[str, Any]) -> LlamaForgeError:
    """An error as it was raised at the owner: see `pool_owner.error_for`."""
    kind = getattr(exceptions, told["class"], None)
    if not (isinstance(kind, type) and issubclass(kind, LlamaForgeError)):
        kind = LlamaForgeError
    # Not made by its own constructor, which may want more than the text.
    error: LlamaForgeError = kind.__new__(kind, told["text"])
    vars(error).update(told["own"])
    return error
