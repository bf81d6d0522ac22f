"""The answers that are being written: who may see them, what they are by now, how they are stopped."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from open_webui.chat import limits
from open_webui.chat.request import TEMPORARY
from open_webui.chat.running import RunningAnswer
from open_webui.env import Settings
from open_webui.errors import NotFound, Unavailable
from open_webui.internal.db import Database
from open_webui.internal.load import Load
from open_webui.models import chats, generations, turn_updates
from open_webui.principal import Principal

if TYPE_CHECKING:
    from open_webui.chat.others import Others

# How long a stop waits for the answer's end to be stored. A database that is away longer gets it later.
END_SECONDS: Final = 10.0
# A chat (None: one that is being made) and a message in it.
Key = tuple[str | None, str]


class RunningTask:
    """One running answer and its task, and whether its end was asked for by a person or by the server."""

    def __init__(self, running: RunningAnswer) -> None:
        self.running = running
        self.task: asyncio.Task[None] | None = None
        self.is_going_down = False
        self._started = asyncio.Event()
        self._ending = False

    def began(self) -> None:
        """The task runs: from now on cancelling it ends its answer in good order."""
        self._started.set()

    async def end(self) -> None:
        """Ends the answer, once however often it is asked for, and waits for its end for a while."""
        await self._started.wait()
        if self.task is None:
            return
        if not self._ending:
            self._ending = True
            self.task.cancel()
        await asyncio.wait({self.task}, timeout=END_SECONDS)


class RunningAnswers:
    """All of this process, by their tasks and by their chats. load: how busy they keep it.

    others: those of other processes that may share the database; what is asynchronous here is about them, too.
    """

    def __init__(self, settings: Settings, database: Database, load: Load) -> None:
        self.load = load
        self.others: Others | None = None
        self._settings = settings
        self._database = database
        self._entries: dict[str, RunningTask] = {}
        self._by_chat: dict[str, set[str]] = {}
        # Answers that are about to run: whose, and what waits for them.
        self._reserved: Counter[str] = Counter()
        self._starting: dict[Key, asyncio.Event] = {}

    # Coming and going

    @contextmanager
    def reserve(self, principal: Principal, count: int) -> Iterator[None]:
        """Room for some more answers of a person while they are started. Raises Unavailable, TooManyRequests."""
        if len(self._entries) + self._reserved.total() + count > limits.MAX_RUNNING:
            raise Unavailable("Too many answers are being written at the moment. Wait for one to end.")
        mine = sum(1 for entry in self._entries.values() if entry.running.turn.principal.id == principal.id)
        if mine + self._reserved[principal.id] + count > limits.MAX_RUNNING_PER_USER:
            raise limits.too_many()
        self._reserved[principal.id] += count
        try:
            yield
        finally:
            self._reserved[principal.id] -= count
            if not self._reserved[principal.id]:
                del self._reserved[principal.id]

    @contextmanager
    def starting(self, keys: set[Key]) -> Iterator[None]:
        """While the messages' answers are stored and started: no other answer may be written into them."""
        begun = dict.fromkeys(keys, asyncio.Event())
        self._starting |= begun
        try:
            yield
        finally:
            for key, event in begun.items():
                del self._starting[key]
                event.set()

    async def check_free(self, principal: Principal, keys: set[Key]) -> None:
        """Two answers can't be written into one message. Raises Conflict, NotFound for somebody else's chat."""
        for chat_id, message_id in keys:
            if chat_id is None:
                continue
            if (chat_id, message_id) in self._starting or self._find(chat_id, message_id) is not None:
                await self.check(principal, chat_id, write=True)
                raise limits.taken()

    def add(self, running: RunningAnswer) -> RunningTask:
        turn = running.turn
        entry = self._entries[turn.task_id] = RunningTask(running)
        if turn.chat_id not in self._by_chat:
            self._by_chat[turn.chat_id] = set()
            if self.others is not None:
                self.others.tell(turn.chat_id, active=True)
        self._by_chat[turn.chat_id].add(turn.task_id)
        return entry

    def remove(self, running: RunningAnswer) -> None:
        turn = running.turn
        self._entries.pop(turn.task_id, None)
        tasks = self._by_chat.get(turn.chat_id)
        if tasks is not None:
            tasks.discard(turn.task_id)
            if not tasks:
                del self._by_chat[turn.chat_id]
                if self.others is not None:
                    self.others.tell(turn.chat_id, active=False)

    # What there is

    def all(self) -> list[RunningAnswer]:
        return [entry.running for entry in self._entries.values()]

    def entries(self) -> list[RunningTask]:
        return list(self._entries.values())

    def all_tasks(self) -> list[str]:
        return list(self._entries)

    def askers(self) -> set[str]:
        """Ids of the users who are being answered."""
        return {entry.running.turn.principal.id for entry in self._entries.values()}

    async def every_task(self) -> list[str]:
        return self.all_tasks() if self.others is None else [*self.all_tasks(), *await self.others.tasks()]

    def active_here(self) -> list[str]:
        return list(self._by_chat)

    def active_chats(self) -> frozenset[str]:
        """Chats in which somebody is being answered, by any process as far as this one has heard."""
        here = frozenset(self._by_chat)
        return here if self.others is None else here | self.others.active_chats()

    def is_active(self, chat_id: str) -> bool:
        return chat_id in self._by_chat

    def of_chat(self, chat_id: str) -> list[RunningAnswer]:
        return [self._entries[task_id].running for task_id in self._by_chat.get(chat_id, ())]

    async def tasks_of(self, principal: Principal, chat_id: str) -> list[str]:
        """The running answers of a chat. The id of a temporary one is made up by its page, so only own ones count."""
        return sorted([*self._tasks_here(principal, chat_id), *await self._owners(principal, chat_id)])

    def _tasks_here(self, principal: Principal, chat_id: str) -> list[str]:
        turns = [running.turn for running in self.of_chat(chat_id)]
        return [t.task_id for t in turns if not t.is_temporary or t.principal.id == principal.id]

    async def _owners(self, principal: Principal, chat_id: str, *, own: bool = False) -> dict[str, str]:
        if self.others is None:
            return {}
        return await self.others.of_chat(principal, chat_id, temporary=chat_id.startswith(TEMPORARY), own=own)

    async def overlays(self, chat_id: str) -> dict[str, dict[str, Any]]:
        """`overlay`, of any process. To be asked before the chat is read: what has ended meanwhile is in its row then."""
        here = self.overlay(chat_id)
        return here if self.others is None else await self.others.overlay(chat_id) | here

    def overlay(self, chat_id: str) -> dict[str, dict[str, Any]]:
        """The running answers of a chat here as they are now, by message id: fields that replace the stored ones."""
        out = {}
        for running in self.of_chat(chat_id):
            running.sender.cut()
            content, body = running.snapshot(done=False)
            out[running.turn.message_id] = {**body, "content": content, "done": False}
        return out

    def _find(self, chat_id: str, message_id: str) -> RunningAnswer | None:
        return next((r for r in self.of_chat(chat_id) if r.turn.message_id == message_id), None)

    async def owner_of(self, chat_id: str, message_id: str) -> RunningAnswer | None:
        """Who is asked to change this message; None: nobody writes it, so the database is.

        An answer that is about to run, or has just ended, is waited for.
        """
        while (starting := self._starting.get((chat_id, message_id))) is not None:
            await starting.wait()
        running = self._find(chat_id, message_id)
        if running is None or running.turn.is_temporary:
            return None
        if running.has_ended:
            await running.over()
            return None
        return running

    # Stops

    async def stop_chat(self, principal: Principal, chat_id: str) -> list[str]:
        """Stops all answers of a chat; returns once their ends are stored."""
        owners = await self._owners(principal, chat_id)
        stopped = await self.stop_here(self._tasks_here(principal, chat_id))
        return stopped + await self.others.stop(owners) if self.others is not None and owners else stopped

    async def stop_task(self, task_id: str) -> bool:
        if await self.stop_here([task_id]):
            return True
        return self.others is not None and await self.others.stop_task(task_id)

    async def stop_user(self, user_id: str) -> None:
        """Stops everything that a user asked for."""
        await self.stop_user_here(user_id)
        if self.others is not None:
            await self.others.stop_user(user_id)

    async def stop_user_here(self, user_id: str) -> None:
        await self.stop_here([t for t, e in self._entries.items() if e.running.turn.principal.id == user_id])

    async def stop_gone(self) -> None:
        """Stops the answers of chats that do not exist any more. To be called after chats were removed."""
        await self.stop_gone_here()
        if self.others is not None:
            await self.others.stop_gone()

    async def stop_gone_here(self) -> None:
        chat_ids = {r.turn.chat_id for r in self.all() if not r.turn.is_temporary}
        if not chat_ids:
            return
        async with self._database.read() as connection:
            left = await turn_updates.existing(connection, chat_ids)
        await self.stop_here([task for gone in chat_ids - left for task in self._by_chat.get(gone, ())])

    async def stop_here(self, task_ids: Iterable[str]) -> list[str]:
        found = {task_id: entry for task_id in task_ids if (entry := self._entries.get(task_id))}
        await asyncio.gather(*(entry.end() for entry in found.values()))
        return list(found)

    async def give_up_taken(self, instance: str) -> None:
        """Ends the answers of this process that another has ended, since it took this one for dead."""
        stored = [e for e in self._entries.values() if not e.running.turn.is_temporary and not e.running.has_ended]
        if not stored:
            return
        async with self._database.read() as connection:
            held = await generations.of_instance(connection, instance)
        taken = [entry for entry in stored if entry.running.turn.task_id not in held and not entry.running.has_ended]
        for entry in taken:
            entry.running.give_up()
        await asyncio.gather(*(entry.end() for entry in taken))

    # Rights

    async def may_see(self, principal: Principal, chat_id: str, *, write: bool) -> bool:
        """Whether the caller may see (or steer) a chat's answers; a temporary chat is its asker's."""
        if any(running.turn.principal.id == principal.id for running in self.of_chat(chat_id)):
            return True
        async with self._database.read() as connection:
            row = await chats.get(
                connection,
                principal,
                chat_id,
                "write" if write else "read",
                admin_access=self._settings.enable_admin_chat_access,
            )
        return row is not None or bool(await self._owners(principal, chat_id, own=True))

    async def check(self, principal: Principal, chat_id: str, *, write: bool) -> None:
        """Raises NotFound unless `may_see`."""
        if not await self.may_see(principal, chat_id, write=write):
            raise NotFound
