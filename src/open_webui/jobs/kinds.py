"""What a kind of job is: its payload, what does it, how it is tried again, when it comes by itself; and one attempt at a job."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from open_webui.internal.db import UnitOfWork
from open_webui.models import jobs
from open_webui.models.jobs import Job

P = TypeVar("P")
Stop = Literal["cancelled", "closing", "lost"]
# A recurring job whose time has passed by more than this was missed.
MISSED_SECONDS: Final = 60
WEEK: Final = 7 * 86_400.0


class GiveUp(Exception):
    """Raised by a handler: the job has failed for good. The text is a sentence for administrators."""


class JobLost(Exception):
    """Another process does this job now, or somebody removed it: what the handler was about to store must not be."""


class Nothing(msgspec.Struct, frozen=True):
    """The payload of a job that needs none."""


class Retry(msgspec.Struct, frozen=True):
    """How a job that failed is tried again. first, longest: seconds between two attempts; each pause is twice the last."""

    attempts: int = 5
    first: float = 10.0
    longest: float = 3_600.0

    def pause(self, failures: int, spread: float) -> float:
        """Seconds to wait after so many failures. spread: from 0 to 1; takes away up to half, so that not all come at once."""
        # An exponent has a bound of its own: 2.0 ** 1100 is an error.
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 60)) * (1 - spread / 2)


class Every(msgspec.Struct, frozen=True):
    """When a job comes by itself: at the seconds since 1970 that leave `phase` when divided by `seconds`.

    `Every(86_400, phase=3 * 3_600)` is daily at 03:00 UTC. catch_up: whether a time that was missed is made up for, once,
    or skipped. after_start: seconds after which it comes when a server starts, too.
    """

    seconds: int
    phase: int = 0
    catch_up: Literal["once", "skip"] = "once"
    after_start: float | None = None

    def following(self, at: int) -> int:
        """The first time after `at`; both in milliseconds."""
        step, phase = self.seconds * 1000, self.phase * 1000
        return ((at - phase) // step + 1) * step + phase

    def skips(self, job: Job, at: int) -> bool:
        """Whether the job's time was missed, and isn't made up for."""
        return self.catch_up == "skip" and job.state == "waiting" and at - job.due_at > MISSED_SECONDS * 1000


class Kind(msgspec.Struct, Generic[P], frozen=True, kw_only=True):
    """A kind of job.

    handler: does one; what it raises is a failure. time_limit: seconds that an attempt may take. concurrency: how many run
    at once in one process. keep: seconds that a job which is over can be seen; with 0 one that is done goes at once.
    """

    name: str
    payload: type[P]
    handler: "Callable[[Run, P], Awaitable[None]]"
    retry: Retry = Retry()
    time_limit: float | None = None
    concurrency: int = 1
    keep: float = WEEK
    every: Every | None = None
    given_up: "Callable[[UnitOfWork, P, str], Awaitable[None]] | None" = None

    def read(self, payload: str) -> P:
        """The stored payload. Raises msgspec.DecodeError."""
        return msgspec.json.decode(payload, type=self.payload)


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended. released: the process ends, so that it does not count. final: it is not tried again."""

    state: Literal["done", "failed", "cancelled", "released"]
    error: str | None = None
    final: bool = False


DONE: Final = Outcome("done")
CANCELLED: Final = Outcome("cancelled")
RELEASED: Final = Outcome("released")


def after(kind: Kind[Any] | None, job: Job, at: int, outcome: Outcome, spread: float) -> dict[str, Any]:
    """The columns of a job after an attempt that ended at `at`. kind: None where nobody knows it. spread: see Retry."""
    retry = kind.retry if kind is not None else Retry()
    again: dict[str, Any] = {"state": "waiting", "instance": None, "is_cancelled": False, "error": outcome.error}
    if outcome.state == "released":
        return again | {"due_at": at, "allowed": job.allowed + 1, "error": job.error}
    if outcome.state == "failed" and not outcome.final and job.attempts < job.allowed:
        failures = max(1, job.attempts - (job.allowed - retry.attempts))
        return again | {"due_at": at + int(retry.pause(failures, spread) * 1000)}
    if kind is not None and kind.every is not None:
        return again | {"due_at": kind.every.following(at), "allowed": job.attempts + retry.attempts, "finished_at": at}
    keep = kind.keep if kind is not None else WEEK
    if outcome.state != "done" and keep == 0:
        keep = WEEK
    return {
        "state": outcome.state,
        "instance": None,
        "due_at": at + int(keep * 1000),
        "error": outcome.error,
        "finished_at": at,
    } | ({"progress": 1.0} if outcome.state == "done" else {})


class Run:
    """A job that this process does now. renewed_at: seconds of this process's clock; so long its lease holds at least."""

    def __init__(self, kind: Kind[Any], job: Job, clock: jobs.Clock, renewed_at: float) -> None:
        self.kind = kind
        self.job = job
        self.renewed_at = renewed_at
        self.task: asyncio.Task[None] | None = None
        self.told: tuple[float | None, str | None] | None = None
        # The end has been committed, with what the handler stored.
        self.is_stored = False
        self.stopped: Stop | None = None
        self._clock = clock

    def progress(self, done: float | None, note: str | None = None) -> None:
        """Says how far it is: from 0 to 1, and in words. Stored at most once a second."""
        self.told = done, note

    async def commit(self, unit: UnitOfWork) -> None:
        """Ends the job in the handler's own unit of work: its effect and its end are stored together, or neither.

        Raises JobLost, which must end the unit.
        """
        at = await self._clock(unit.connection)
        if not await finish(unit, self.kind, self.job, at, DONE, 0.0):
            raise JobLost
        unit.after_commit(self._committed)

    async def hold(self, unit: UnitOfWork) -> None:
        """Before the last look at what is left to do, in the unit that ends the job: whoever stored something and put in the
        same job, which was not done twice, has committed by then, and others wait for this unit. Raises JobLost.
        """
        if await jobs.get(unit.connection, self.job.id, lock=True) is None:
            raise JobLost

    async def checkpoint(self, unit: UnitOfWork, payload: Any) -> None:
        """Stores, in the handler's own unit of work, what is left to do: the next attempt gets this payload.

        Raises JobLost, which must end the unit.
        """
        text = msgspec.json.encode(payload).decode()
        if not await jobs.change(unit.connection, self.job, payload=text):
            raise JobLost

    async def _committed(self) -> None:
        self.is_stored = True

    def stop(self, why: Stop) -> None:
        """Cancels the handler, once."""
        if self.stopped is None and self.task is not None:
            self.stopped = why
            self.task.cancel()


async def finish(unit: UnitOfWork, kind: Kind[Any] | None, job: Job, at: int, outcome: Outcome, spread: float) -> bool:
    """Stores how an attempt ended. False: the job is another's by now."""
    if outcome.state == "done" and kind is not None and kind.keep == 0 and kind.every is None:
        return await jobs.delete(unit.connection, job)
    values = after(kind, job, at, outcome, spread)
    await tell_given_up(unit, kind, job, values)
    return await jobs.change(unit.connection, job, **values)


async def tell_given_up(unit: UnitOfWork, kind: Kind[Any] | None, job: Job, values: dict[str, Any]) -> None:
    """Tells the kind of a job that is about to get these columns, if it is given up with them.

    Before they are stored: whoever puts a job in holds the row of what it is about, too, and before the job's.
    """
    if kind is None or kind.given_up is None or values.get("state") not in {"failed", "cancelled"}:
        return
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        await kind.given_up(unit, kind.read(job.payload), values["error"] or "It was cancelled.")
