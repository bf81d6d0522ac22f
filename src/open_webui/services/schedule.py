"""Automations at their time: two durable jobs. One waits for an automation's next time, notes a run and waits for the time after
that; the other asks, and stores how the run ended. A third looks now and then for automations that no job waits for any more.

Whose rights count is found out when it is asked, not when it was set up. What is stored and the end of each job are one unit of
work, so that a time is taken once over all processes.
"""

import asyncio
import time
import uuid
from collections import Counter
from typing import Final, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.identify import Identifier
from open_webui.config import Config
from open_webui.errors import BadRequest, OuiError, TooManyRequests, Unavailable
from open_webui.events import Emitter
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Every, GiveUp, Kind, Nothing, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import automations, jobs, messages
from open_webui.models.automations import Automation
from open_webui.models.base import new_id
from open_webui.principal import Principal
from open_webui.services.notifications import BY_NAME, MAX_TEXT, MAX_TITLE, RUN_FAILED, RUN_FINISHED, Message, Notifier
from open_webui.utils import recurring
from open_webui.utils.recurring import LAST, SECOND

log = get_logger(__name__)
PERMISSION: Final = "features.automations"
# Seconds that an answer may take.
ANSWER_SECONDS: Final = 3_600.0
# Between two looks at an answer that another process writes, or has left.
LOOK_SECONDS: Final = 0.5
# Runs of one person at once in this process, and seconds after which one more is looked at again.
MOST_AT_ONCE: Final = 2
AGAIN_SECONDS: Final = 30.0
# Automations that are woken at once.
MOST_WOKEN: Final = 1_000
MINUTE: Final = 60 * SECOND
GONE: Final = "The account can't be used any more: it waits to be let in, or was switched off."
NOT_ALLOWED: Final = "This person may not use automations on this server any more."
OFF: Final = "Automations are switched off on this server."
STILL: Final = "The run before it was still going on, so this time was left out."
LOST: Final = "The chat of this run was removed before the answer was there."
TOO_LONG: Final = "The answer took longer than an hour, and was stopped."


class Due(msgspec.Struct, frozen=True):
    """The payload of the job that waits: an automation, and the time it waits for, in nanoseconds."""

    automation_id: str
    at: int


class Asking(msgspec.Struct, frozen=True):
    """The payload of the job that asks. The ids are made before, so that a second attempt finds what the first has begun."""

    run_id: str
    automation_id: str
    user_id: str
    chat_id: str

    @property
    def question_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id}:question"))

    @property
    def answer_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id}:answer"))


class Asker(Protocol):
    """Asks in a new chat, as its owner's page would."""

    async def ask(self, principal: Principal, automation: Automation, asking: Asking, seconds: float) -> bool:
        """Waits until the answer has ended; False where it took longer and was stopped. Raises OuiError where it can't begin;
        nothing is stored then.
        """
        ...


class Deps(Protocol):
    """What it needs of the state."""

    database: Database
    config: Config
    identifier: Identifier
    emitter: Emitter
    notifier: Notifier


def anchor_of(row: Automation) -> int:
    """From when on a rule without a beginning counts: the minute in which it was given."""
    return row.anchor_at // MINUTE * MINUTE


def next_times(row: Automation, after: int, most: int) -> list[int]:
    """The next times of an automation after a time. Raises BadRequest. In a thread."""
    return recurring.bounded(
        lambda: recurring.between(recurring.parse(row.rule), anchor_of(row), row.zone, after + 1, LAST, most)
    )


class Schedule:
    """One for a process."""

    def __init__(self, deps: Deps, queue: Queue, asker: Asker) -> None:
        self._deps = deps
        self._queue = queue
        self._asker = asker
        # How many runs of each person go on here.
        self._asked: Counter[str] = Counter()
        self.waiting = Kind(
            name="automation is due", payload=Due, handler=self._due, retry=Retry(attempts=20), concurrency=4, keep=0
        )
        self.asking = Kind(
            name="run automation",
            payload=Asking,
            handler=self._ask,
            retry=Retry(attempts=5, first=15.0, longest=300.0),
            concurrency=8,
            keep=0,
            given_up=self._given_up,
        )
        self.waking = Kind(
            name="wake automations",
            payload=Nothing,
            handler=self._wake,
            every=Every(3_600, phase=2_100, after_start=30.0),
        )

    @property
    def kinds(self) -> "tuple[Kind[Due], Kind[Asking], Kind[Nothing]]":
        return self.waiting, self.asking, self.waking

    # In a unit of work whose caller holds the automation's row

    async def now(self, connection: AsyncConnection) -> int:
        """The database's time, in nanoseconds."""
        return await self._queue.clock(connection) * 1_000_000

    async def wait_for(self, unit: UnitOfWork, row: Automation, at: int | None) -> None:
        """Has an automation wait for another time, or for none. row: as it was stored before."""
        if row.next_run_at is not None and row.next_run_at != at:
            job = await jobs.live(unit.connection, automations.waits_as(row.id, row.next_run_at))
            if job is not None and job.state == "waiting":
                await jobs.delete(unit.connection, job)
        if at is not None:
            key = automations.waits_as(row.id, at)
            await self._queue.enqueue(unit, self.waiting, Due(row.id, at), key=key, run_at=at / SECOND)

    async def begin(self, unit: UnitOfWork, row: Automation) -> None:
        """Notes a run and has it asked."""
        run_id = new_id()
        await automations.begin(unit.connection, run_id, row.id, "running")
        asking = Asking(run_id, row.id, row.user_id, new_id())
        await self._queue.enqueue(unit, self.asking, asking, key=f"run:{run_id}")

    # What the jobs do

    async def _wake(self, _run: Run, _nothing: Nothing) -> None:
        """Has automations wait again whose job was cancelled or given up; a time that was missed meanwhile comes at once."""
        async with self._deps.database.read() as connection:
            found = await automations.forgotten(connection, MOST_WOKEN)
        for automation_id, at in found:
            async with self._deps.database.write() as unit:
                row = await automations.repository.get(unit.connection, automation_id, lock=True)
                if row is not None and row.is_active and row.next_run_at == at:
                    await self.wait_for(unit, row, at)

    async def _due(self, run: Run, due: Due) -> None:
        """A time has come: of several that were missed it is one."""
        async with self._deps.database.read() as connection:
            seen = await automations.repository.get(connection, due.automation_id)
            now = max(await self.now(connection), due.at)
        following, unusable = None, None
        if seen is not None and seen.is_active and seen.next_run_at == due.at:
            try:
                found = await asyncio.to_thread(next_times, seen, now, 1)
            except BadRequest as error:
                # One that an import brought, say. It takes nothing else along, and its owner is told.
                log.warning("an automation's rule can't be used", automation=seen.id, reason=error.detail)
                found, unusable = [], error.detail
            following = found[0] if found else None
        async with self._deps.database.write() as unit:
            connection = unit.connection
            row = await automations.repository.get(connection, due.automation_id, lock=True)
            if row is not None and row != seen and row.is_active and row.next_run_at == due.at:
                # Changed meanwhile, and waits for this time still: looked at anew.
                raise Unavailable
            await run.commit(unit)
            if row is None or not row.is_active or row.next_run_at != due.at:
                return
            if await automations.running(connection, row.id):
                await automations.begin(connection, new_id(), row.id, "error", STILL)
            else:
                await self.begin(unit, row)
            await self.wait_for(unit, row, following)
            values = {"last_run_at": now, "next_run_at": following}
            if unusable is not None:
                await automations.begin(connection, new_id(), row.id, "error", unusable)
                values["is_active"] = False
            await automations.repository.change(connection, row.id, values, touch=False)

    async def _ask(self, run: Run, asking: Asking) -> None:
        """One person's runs must not keep everybody else's waiting."""
        user_id = asking.user_id
        if self._asked[user_id] >= MOST_AT_ONCE:
            await self._later(run, asking)
            return
        self._asked[user_id] += 1
        try:
            await self._ask_now(run, asking)
        finally:
            self._asked[user_id] -= 1
            if not self._asked[user_id]:
                del self._asked[user_id]

    async def _later(self, run: Run, asking: Asking) -> None:
        """Puts a run in anew, as if it had not been tried."""
        async with self._deps.database.write() as unit:
            await run.commit(unit)
            at = await self._queue.clock(unit.connection) / 1000 + AGAIN_SECONDS
            await self._queue.enqueue(unit, self.asking, asking, key=f"run:{asking.run_id}", run_at=at)

    async def _ask_now(self, run: Run, asking: Asking) -> None:
        async with self._deps.database.read() as connection:
            row = await automations.repository.get(connection, asking.automation_id)
            noted = await automations.run(connection, asking.run_id)
            begun = await messages.get(connection, asking.chat_id, asking.answer_id)
        if row is None or noted is None or noted.status != "running":
            return
        error: str | None = None
        if begun is None:
            try:
                principal = await self._principal(asking.user_id)
                if not await self._asker.ask(principal, row, asking, ANSWER_SECONDS):
                    error = TOO_LONG
            except (TooManyRequests, Unavailable):
                # Too much to do at the moment: tried again.
                raise
            except OuiError as refused:
                raise GiveUp(refused.detail) from refused
        error = error or await self._ended_in_time(asking)
        async with self._deps.database.write() as unit:
            await run.commit(unit)
            await self._store(unit, row, asking, error)

    async def _principal(self, user_id: str) -> Principal:
        """Whose automation it is, as the account is now. Raises GiveUp."""
        principal = await self._deps.identifier.account(user_id)
        if principal is None or not principal.is_active:
            raise GiveUp(GONE)
        if not self._deps.config["automations.enable"]:
            raise GiveUp(OFF)
        if not principal.may(PERMISSION):
            raise GiveUp(NOT_ALLOWED)
        return principal

    async def _ended_in_time(self, asking: Asking) -> str | None:
        """The same as `_ended`, of an answer that may never end, as one of another process."""
        limit = asyncio.timeout(ANSWER_SECONDS)
        try:
            async with limit:
                return await self._ended(asking)
        except TimeoutError:
            if not limit.expired():
                raise
            return TOO_LONG

    async def _ended(self, asking: Asking) -> str | None:
        """Why an answer is none, once it has ended. One that another process left is ended by the recovery of answers."""
        while True:
            async with self._deps.database.read() as connection:
                row = await messages.get(connection, asking.chat_id, asking.answer_id)
            if row is None:
                return LOST
            if row.done:
                error = row.body.get("error")
                return str(error.get("content") or error) if isinstance(error, dict) else None
            await asyncio.sleep(LOOK_SECONDS)

    async def _store(self, unit: UnitOfWork, row: Automation, asking: Asking, error: str | None) -> None:
        status: automations.Status = "success" if error is None else "error"
        connection = unit.connection
        chat_id = asking.chat_id if await messages.get(connection, asking.chat_id, asking.answer_id) else None
        if await automations.end(connection, asking.run_id, status, error, chat_id):
            told = {"automation_id": row.id, "name": row.name, "chat_id": chat_id, "status": status}
            if chat_id is not None:
                told["message_id"] = asking.answer_id
            unit.after_commit(lambda: self._deps.emitter.to_users([row.user_id], "automation:result", told))
            await self._notify(unit, row, chat_id, error)

    async def _notify(self, unit: UnitOfWork, row: Automation, chat_id: str | None, error: str | None) -> None:
        """Has the owner told how a run ended, where they want to be."""
        owner = await self._deps.identifier.account(row.user_id)
        if owner is None:
            return
        event = BY_NAME[RUN_FINISHED if error is None else RUN_FAILED]
        message = Message(
            id=new_id(),
            event=event.event,
            title=event.title.format(row.name)[:MAX_TITLE],
            text=(error or event.description)[:MAX_TEXT],
            path="" if chat_id is None else f"/c/{chat_id}",
            at=int(time.time()),
            subject={"type": "automation", "id": row.id},
        )
        await self._deps.notifier.put_in(unit, [owner], message)

    async def _given_up(self, unit: UnitOfWork, asking: Asking, error: str) -> None:
        """A run that will not be tried again, with the reason."""
        row = await automations.repository.get(unit.connection, asking.automation_id)
        if row is not None:
            await self._store(unit, row, asking, error)
