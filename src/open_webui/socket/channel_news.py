"""Events of channels on their way to sockets: in the order in which they happened, whichever process they happened in.

Each event has a number that its transaction gave it. Every process hears all events of all channels, and tells its sockets
one after the other: what comes too early waits for what is missing, for a moment. So nobody is told things in another order
than anybody else. Who hears an event stands in the event, as the database had it then: no process remembers who may.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from open_webui.events import ChannelEvent, Hearers
from open_webui.internal.bus.port import Bus
from open_webui.models.channels import PERMISSION
from open_webui.principal import Principal
from open_webui.socket.engine import FrameWriter
from open_webui.socket.frames import event_body
from open_webui.socket.presence import Presence

# Topic of the bus, and the name of the event.
TOPIC: Final = "socket:channel"
NAME: Final = "events:channel"
# How long an event waits for one before it: that one's process may have died between its commit and its news.
PATIENCE: Final = 0.5
# The same of the first event that is heard of a channel, since nobody knows what was told of it before.
FIRST_PATIENCE: Final = 0.02
# Channels whose numbers are known; the longest untouched leaves first. Events that wait, of one channel.
MOST_CHANNELS: Final = 10_000
MOST_WAITING: Final = 1_000


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """An event as it crosses the bus. body: as sockets get it."""

    channel_id: str
    number: int | None
    hearers: Hearers
    body: bytes


class _Line(msgspec.Struct):
    """A channel's events. last: the number of the newest that was told; None before the first. waiting: by their numbers."""

    last: int | None = None
    waiting: dict[int, _Told] = {}
    timer: asyncio.TimerHandle | None = None


class InOrder:
    """Hands events of each channel on in the order of their numbers."""

    def __init__(self, tell: Callable[[_Told], None]) -> None:
        self._tell = tell
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    def take(self, told: _Told) -> None:
        """An event, from here or from elsewhere."""
        if told.number is None:
            self._tell(told)
            return
        line = self._lines.setdefault(told.channel_id, _Line())
        self._lines.move_to_end(told.channel_id)
        if line.last is not None and told.number <= line.last:
            # It was waited for, and comes too late: said late is better than not at all.
            self._tell(told)
            return
        line.waiting[told.number] = told
        self._hand_on(line)
        if len(line.waiting) > MOST_WAITING:
            self._go_on(line)
        if line.waiting and line.timer is None:
            patience = FIRST_PATIENCE if line.last is None else PATIENCE
            line.timer = asyncio.get_running_loop().call_later(patience, self._go_on, line)
        self._shrink()

    def _hand_on(self, line: _Line) -> None:
        while line.last is not None and (told := line.waiting.pop(line.last + 1, None)) is not None:
            line.last += 1
            self._tell(told)

    def _go_on(self, line: _Line) -> None:
        """What is missing is not waited for any longer."""
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if line.waiting:
            line.last = min(line.waiting) - 1
            self._hand_on(line)
        if line.waiting:
            line.timer = asyncio.get_running_loop().call_later(PATIENCE, self._go_on, line)

    def _shrink(self) -> None:
        while len(self._lines) > MOST_CHANNELS:
            self._go_on(next(iter(self._lines.values())))
            _, line = self._lines.popitem(last=False)
            if line.timer is not None:
                line.timer.cancel()


class ChannelNews:
    """Tells sockets, here and in other processes, what happens in channels."""

    def __init__(self, writer: FrameWriter, presence: Presence) -> None:
        self._writer = writer
        self._presence = presence
        self._in_order = InOrder(self._write)
        self._bus: Bus | None = None

    def open(self, bus: Bus) -> None:
        """Reaches the sockets of other processes, too. To be called before the bus is opened."""
        self._bus = bus
        bus.subscribe(TOPIC, self._on_told)

    def send(self, event: ChannelEvent) -> None:
        """See `events.Emitter.channel`."""
        told = _Told(event.channel_id, event.number, event.hearers, event_body(NAME, event.payload))
        self._in_order.take(told)
        if self._bus is not None and self._bus.peers:
            self._bus.publish(TOPIC, msgspec.to_builtins(told, builtin_types=(bytes,)))

    def _on_told(self, _peer: str, payload: Any) -> None:
        self._in_order.take(msgspec.convert(payload, _Told, builtin_types=(bytes,)))

    def _write(self, told: _Told) -> None:
        presence, hearers = self._presence, told.hearers
        if hearers.everyone or hearers.groups or hearers.admins:
            sids = {session.sid for session in presence.sessions() if hears(hearers, session.principal)}
        else:
            # Few of many: their sockets are found by themselves.
            sids = {
                sid
                for user_id in hearers.users
                for sid in presence.sids_of(user_id)
                if (session := presence.get(sid)) is not None and hears(hearers, session.principal)
            }
        if sids:
            self._writer.send(sids, told.body)


def hears(hearers: Hearers, principal: Principal) -> bool:
    """Whether somebody is among those who hear an event."""
    if not principal.is_active or not principal.may(PERMISSION):
        return False
    return (
        principal.id in hearers.users
        or hearers.everyone
        or (hearers.admins and principal.is_admin)
        or not hearers.groups.isdisjoint(principal.groups)
    )
