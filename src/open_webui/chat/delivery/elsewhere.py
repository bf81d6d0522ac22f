"""How many calls people have at other processes, so that the most of one person holds for all processes together."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from open_webui.internal.bus.port import Bus
from open_webui.internal.supervise import supervise

# How often what changed is told: so long one person may have more than the most.
TELL_SECONDS: Final = 0.5
_TOPIC: Final = "api calls"
Counts = Mapping[str, int]


class CallsElsewhere:
    """The counts of other processes, and the telling of one's own. Nothing is told where nobody is."""

    def __init__(self, bus: Bus, own: Callable[[], Counts]) -> None:
        """own: the calls that people have here, those of none left out."""
        self._bus = bus
        self._own = own
        self._told: dict[str, int] = {}
        self._by_peer: dict[str, dict[str, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """To be called where there can be other processes."""
        self._bus.subscribe(_TOPIC, self._hear)
        # Whoever joins has been told nothing, or can't know what it was told.
        self._bus.on_joined(lambda peer: self._bus.send(peer, _TOPIC, self._told))
        self._bus.on_left(self._forget)
        self._task = supervise("telling of API calls", self._tell)

    def of(self, user_id: str) -> int:
        """How many a person has at other processes, as far as it is known."""
        return sum(counts.get(user_id, 0) for counts in self._by_peer.values())

    def _hear(self, peer: str, changed: dict[str, int]) -> None:
        counts = self._by_peer.setdefault(peer, {})
        counts.update(changed)
        for user_id in [user_id for user_id, count in changed.items() if not count]:
            del counts[user_id]

    def _forget(self, peer: str) -> None:
        self._by_peer.pop(peer, None)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            own = dict(self._own())
            changed = {user_id: 0 for user_id in self._told if user_id not in own}
            changed |= {user_id: count for user_id, count in own.items() if self._told.get(user_id) != count}
            self._told = own
            if changed:
                self._bus.publish(_TOPIC, changed)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
