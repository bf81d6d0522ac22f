"""What a client sends over its socket, checked before the libraries decode it.

Engine.IO and Socket.IO decode whatever comes, log a traceback of what they can't read, and hand a client's event named
"disconnect" to the handler of a real disconnect. So each packet is looked at here first, the cheapest questions first: its
size, its kind, the event's name, the number of values. Whatever no page sends ends the socket.
"""

import re
import time
from collections.abc import Collection
from typing import Any, Final

import msgspec

from open_webui.utils.values import too_many

# Bytes of one packet before its socket has signed in: a token and what stands around it.
MAX_ANONYMOUS: Final = 4096
# Values in one packet, and how deep they stand in each other. The pages send a handful.
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 32
# Packets that a socket may send at once, and each second after those. A page sends one or two a second.
BURST: Final = 300
A_SECOND: Final = 50
# Names that mean something to the libraries on one of the two sides. A client's library refuses to send them.
RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "message", "*"}
)
_EVENT: Final = re.compile(r'2(\d{0,15})\[\s*("(?:[^"\\]|\\.){0,255}")')
_ACKNOWLEDGEMENT: Final = re.compile(r"3(\d{1,15})(?=\[)")
# Engine.IO's packets without content: a client that leaves, and its answer to a ping.
_EMPTY: Final = frozenset({"1", "3"})
_CONNECT, _DISCONNECT, _MESSAGE = "0", "1", "4"


class RefusedPacket(Exception):
    """A packet that no page sends, with the reason."""


class Rate:
    """How much a socket may still send."""

    def __init__(self, burst: int = BURST, a_second: float = A_SECOND) -> None:
        self._burst, self._a_second = burst, a_second
        self._left, self._at = float(burst), time.monotonic()

    def spend(self) -> bool:
        """Counts one packet. False: the socket has sent too many."""
        at = time.monotonic()
        self._left = min(self._burst, self._left + (at - self._at) * self._a_second)
        self._at = at
        self._left -= 1
        return self._left >= 0


class Incoming:
    """Checks packets for a server that knows these events."""

    def __init__(self, events: Collection[str]) -> None:
        self._events = events

    async def check(self, text: str) -> str:
        """The packet as the libraries may read it. An event that the server does not know comes back without its arguments.
        Raises RefusedPacket for what no page sends.
        """
        if text in _EMPTY:
            return text
        if text[:1] != _MESSAGE:
            raise RefusedPacket("not a message")
        kind = text[1:2]
        if kind == "2":
            return await self._event(text)
        if kind == "3" and (found := _ACKNOWLEDGEMENT.match(text, 1)):
            await self._values(text[found.end() :], list)
        elif kind == _CONNECT:
            if len(text) > 2:
                await self._values(text[2:], dict)
        elif kind != _DISCONNECT or len(text) > 2:
            raise RefusedPacket("no packet that this server takes")
        return text

    async def _event(self, text: str) -> str:
        found = _EVENT.match(text, 1)
        if found is None:
            raise RefusedPacket("an event without a name")
        name = _decoded(found[2])
        if name in RESERVED:
            raise RefusedPacket("an event with a reserved name")
        if name not in self._events:
            # Passed over, but acknowledged if it asks for that.
            return f'42{found[1]}["unknown"]'
        await self._values(text[2 + len(found[1]) :], list)
        return text

    async def _values(self, text: str, kind: type) -> None:
        if await too_many(text.encode(errors="replace"), MAX_VALUES):
            raise RefusedPacket("too many values")
        value = _decoded(text)
        if not isinstance(value, kind):
            raise RefusedPacket("content of another kind")
        if not _is_shallow(value):
            raise RefusedPacket("nested too deeply")


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RefusedPacket("malformed JSON") from None


def _is_shallow(value: Any) -> bool:
    """Whether nothing stands deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
        if not level:
            return True
    return False
