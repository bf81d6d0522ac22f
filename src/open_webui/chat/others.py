"""Answers that other processes write: the database says which there are, and their owners are asked over the bus.

Only where several processes may share the database (PostgreSQL). An owner that can't be reached is not waited for: what
its journal wrote is the answer then.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from open_webui.chat.recovery import end_for
from open_webui.chat.running import RunningAnswer
from open_webui.errors import OuiError, Unavailable
from open_webui.internal.bus.port import Bus, PeerLost
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import generations
from open_webui.principal import Principal

log = get_logger(__name__)
# Topics. News: all chats that are answered here, and one that is or no longer is. The others are questions.
CHATS, CHAT, OVERLAY, STORE, OF_CHAT, STOP, STOP_USER, STOP_GONE = (
    f"answers:{name}" for name in ("chats", "chat", "overlay", "store", "of_chat", "stop", "stop_user", "stop_gone")
)
# How long a chat that is fetched waits for what an answer is by now.
OVERLAY_SECONDS: Final = 2.0
# How long a change of a message waits until what its lost owner was writing is marked, and how often it looks.
LOST_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.5
# What an owner has for a stop or a change, with the time that it takes itself.
DONE_SECONDS: Final = 12.0
UNSURE: Final = (
    "The part of the server that writes this answer doesn't say whether the change was made. Look before you try again."
)


class Here(Protocol):
    """The answers of this process (chat.registry.RunningAnswers)."""

    def active_here(self) -> Collection[str]: ...

    def overlay(self, chat_id: str) -> dict[str, dict[str, Any]]: ...

    def of_chat(self, chat_id: str) -> list[RunningAnswer]: ...

    async def stop_here(self, task_ids: Iterable[str]) -> list[str]: ...

    async def stop_user_here(self, user_id: str) -> None: ...

    async def stop_gone_here(self) -> None: ...


class Stores(Protocol):
    """chat.journal.Journal."""

    async def store_running(self, chat_id: str) -> None: ...


class Others:
    """What the other processes write, and what they ask of this one. To be made before the bus is opened.

    In what is returned, owners are the names of processes, by the tasks of their answers.
    """

    def __init__(self, here: Here, journal: Stores, database: Database, bus: Bus) -> None:
        self._here = here
        self._journal = journal
        self._database = database
        self._bus = bus
        self._chats: dict[str, set[str]] = {}
        bus.on_joined(self._on_joined)
        bus.on_left(self._on_left)
        bus.subscribe(CHATS, self._on_chats)
        bus.subscribe(CHAT, self._on_chat)
        bus.serve(OVERLAY, self._on_overlay)
        bus.serve(STORE, self._on_store)
        bus.serve(OF_CHAT, self._on_of_chat)
        bus.serve(STOP, self._on_stop)
        bus.serve(STOP_USER, self._on_stop_user)
        bus.serve(STOP_GONE, self._on_stop_gone)

    # Which chats are being answered: told by each process, for lists

    def active_chats(self) -> set[str]:
        return set().union(*self._chats.values())

    def tell(self, chat_id: str, *, active: bool) -> None:
        """Tells that a chat is being answered here, or no longer."""
        self._bus.publish(CHAT, [chat_id, active])

    def _on_joined(self, peer: str) -> None:
        self._bus.send(peer, CHATS, list(self._here.active_here()))

    def _on_left(self, peer: str) -> None:
        self._chats.pop(peer, None)

    def _on_chats(self, peer: str, chat_ids: list[str]) -> None:
        self._chats[peer] = set(chat_ids)

    def _on_chat(self, peer: str, payload: tuple[str, bool]) -> None:
        chat_id, active = payload
        chats = self._chats.setdefault(peer, set())
        (chats.add if active else chats.discard)(chat_id)

    # What there is

    async def _owners(self, chat_id: str) -> list[generations.Running]:
        async with self._database.look() as connection:
            found = await generations.of_chat(connection, chat_id)
        return [one for one in found if one.instance != self._bus.instance]

    async def writes(self, chat_id: str) -> bool:
        """Whether another process answers in a chat."""
        return bool(self._bus.peers) and bool(await self._owners(chat_id))

    async def tasks(self) -> list[str]:
        """All that the other processes write, but for temporary chats."""
        if not self._bus.peers:
            return []
        async with self._database.read() as connection:
            return await generations.besides(connection, self._bus.instance)

    async def of_chat(
        self, principal: Principal, chat_id: str, *, temporary: bool, own: bool = False
    ) -> dict[str, str]:
        """The owners of a chat's answers. own: only of those that the principal asked for, as always in temporary chats."""
        if temporary:
            peers = [peer for peer, chats in self._chats.items() if chat_id in chats]
            replies = await self._ask(peers, OF_CHAT, [chat_id, principal.id], OVERLAY_SECONDS)
            return {task_id: peer for peer, task_ids in replies.items() for task_id in task_ids}
        if not self._bus.peers:
            return {}
        return {r.task_id: r.instance for r in await self._owners(chat_id) if not own or r.user_id == principal.id}

    async def overlay(self, chat_id: str) -> dict[str, dict[str, Any]]:
        """What other processes' answers of a chat are by now, by message id; without those that can't be reached."""
        if not self._bus.peers:
            return {}
        replies = await self._ask({r.instance for r in await self._owners(chat_id)}, OVERLAY, chat_id, OVERLAY_SECONDS)
        out: dict[str, dict[str, Any]] = {}
        for reply in replies.values():
            out |= msgspec.json.decode(reply)
        return out

    async def store_running(self, chat_id: str) -> None:
        """Has the rows of a chat's messages hold what its running answers are by now, whoever writes them."""
        if self._bus.peers:
            await self._ask({r.instance for r in await self._owners(chat_id)}, STORE, chat_id, DONE_SECONDS)
        # And what those wrote who can't be reached.
        await self._journal.store_running(chat_id)

    # Stops

    async def stop_task(self, task_id: str) -> bool:
        async with self._database.read() as connection:
            owner = await generations.owner(connection, task_id)
        return owner is not None and bool(await self.stop({task_id: owner}))

    async def stop(self, owners: Mapping[str, str]) -> list[str]:
        """Stops answers; returns once their ends are stored. Those of an owner that can't be reached are ended in its place."""
        by_owner: dict[str, list[str]] = {}
        for task_id, owner in owners.items():
            by_owner.setdefault(owner, []).append(task_id)
        replies = await asyncio.gather(*(self._call(peer, STOP, ids, DONE_SECONDS) for peer, ids in by_owner.items()))
        stopped: list[str] = []
        for task_ids, reply in zip(by_owner.values(), replies, strict=True):
            stopped += reply or []
            # Also what it has a row for and doesn't write.
            if missing := [task_id for task_id in task_ids if task_id not in stopped]:
                stopped += await end_for(self._database, missing)
        return stopped

    async def stop_user(self, user_id: str) -> None:
        await self._ask(self._bus.peers, STOP_USER, user_id, DONE_SECONDS)

    async def stop_gone(self) -> None:
        await self._ask([peer for peer, chats in self._chats.items() if chats], STOP_GONE, None, DONE_SECONDS)

    # Changes of a message

    async def forward(self, chat_id: str, message_id: str, topic: str, payload: Any) -> bool:
        """Has the process that writes a message change it. False where none does (any more): the row is to be changed.

        Raises what the owner's change raises, PeerLost for one that is there and can't be reached, and Unavailable where
        it doesn't say whether it was done.
        """
        for left in reversed(range(int(LOST_SECONDS / LOOK_SECONDS))):
            owner = next((r.instance for r in await self._owners(chat_id) if r.message_id == message_id), None)
            if owner is None:
                return False
            try:
                await self._bus.call(owner, topic, payload, timeout=DONE_SECONDS)
                return True
            except PeerLost:
                # If it is dead, what it wrote is marked soon.
                if not left:
                    raise PeerLost from None
            except TimeoutError:
                raise Unavailable(UNSURE) from None
            await asyncio.sleep(LOOK_SECONDS)
        return False

    # Asking, and what others ask

    async def _ask(self, peers: Collection[str], topic: str, payload: Any, timeout: float) -> dict[str, Any]:
        """What processes answer; without those that don't."""
        names = list(peers)
        replies = await asyncio.gather(*(self._call(peer, topic, payload, timeout) for peer in names))
        return {peer: reply for peer, reply in zip(names, replies, strict=True) if reply is not None}

    async def _call(self, peer: str, topic: str, payload: Any, timeout: float) -> Any:
        try:
            return await self._bus.call(peer, topic, payload, timeout=timeout)
        except (OuiError, TimeoutError) as error:
            log.warning("another process does not answer", peer=peer, topic=topic, reason=str(error))
            return None

    async def _on_overlay(self, _peer: str, chat_id: str) -> bytes:
        # JSON: numbers may be larger than what the bus carries.
        return msgspec.json.encode(self._here.overlay(chat_id))

    async def _on_store(self, _peer: str, chat_id: str) -> bool:
        await self._journal.store_running(chat_id)
        return True

    async def _on_of_chat(self, _peer: str, payload: tuple[str, str]) -> list[str]:
        chat_id, user_id = payload
        turns = [running.turn for running in self._here.of_chat(chat_id)]
        return [turn.task_id for turn in turns if turn.principal.id == user_id]

    async def _on_stop(self, _peer: str, task_ids: list[str]) -> list[str]:
        return await self._here.stop_here(task_ids)

    async def _on_stop_user(self, _peer: str, user_id: str) -> bool:
        await self._here.stop_user_here(user_id)
        return True

    async def _on_stop_gone(self, _peer: str, _payload: None) -> bool:
        await self._here.stop_gone_here()
        return True
