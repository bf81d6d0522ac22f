"""What a client sends over its socket, checked before the libraries decode it.

Engine.IO and Socket.IO decode whatever comes, log a traceback of what they can't read, and hand a client's event named
"disconnect" to the handler of a real disconnect. So each packet is looked at here first, the cheapest questions first: its
size, its kind, the event's name, the number of values. Whatever no page sends ends the socket.
"""

import base64
import re
import time
from collections.abc import Callable, Collection
from typing import Annotated, Any, Final

import msgspec

from open_webui.utils.values import too_many

# Bytes of one packet before its socket has signed in: a token and what stands around it.
MAX_ANONYMOUS: Final = 4096
# Bytes of one packet of a socket that has a note open: editors send a note's text in three forms with each letter.
MAX_NOTE_PACKET: Final = 16 * 2**20
# Bytes of one update of a note: an editor that comes back sends all of its document (`note_documents.MAX_DOCUMENT`).
MAX_NOTE_UPDATE: Final = 3 * 2**20
# Values in one packet, and how deep they stand in each other. The pages send a handful.
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 32
# Packets that a socket may send at once, and each second after those. A page sends one or two a second.
BURST: Final = 300
A_SECOND: Final = 50
# A packet counts as one more for each of so many bytes: a note's text comes with each letter, and is five megabytes at most.
BYTES_A_PACKET: Final = 2**19
# The same while the page passes on a stream that it was asked for: a provider's fast answer, piece by piece.
STREAM_BURST: Final = 20_000
STREAM_A_SECOND: Final = 2_000
# Names that mean something to the libraries on one of the two sides. A client's library refuses to send them.
RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "message", "*"}
)
NOTE_UPDATE: Final = "ydoc:document:update"
_EVENT: Final = re.compile(r'2(\d{0,15})\[\s*("(?:[^"\\]|\\.){0,255}")')
_ACKNOWLEDGEMENT: Final = re.compile(r"3(\d{1,15})(?=\[)")
# Engine.IO's packets without content: a client that leaves, and its answer to a ping.
_EMPTY: Final = frozenset({"1", "3"})
_CONNECT, _DISCONNECT, _MESSAGE = "0", "1", "4"


class RefusedPacket(Exception):
    """A packet that no page sends, with the reason."""


class Rate:
    """How much a socket may still send."""

    __slots__ = ("_a_second", "_at", "_burst", "_left")

    def __init__(self, burst: int = BURST, a_second: float = A_SECOND) -> None:
        self._burst, self._a_second = burst, a_second
        self._left, self._at = float(burst), time.monotonic()

    def spend(self, size: int = 0) -> bool:
        """Counts one packet of so many bytes; a large one counts as several. False: the socket has sent too many."""
        at = time.monotonic()
        self._left = min(self._burst, self._left + (at - self._at) * self._a_second)
        self._at = at
        self._left -= 1 + size // BYTES_A_PACKET
        return self._left >= 0


class Incoming:
    """Checks packets for a server that knows these events. is_stream: whether an event is a piece of an expected stream."""

    def __init__(self, events: Collection[str], is_stream: Callable[[str], bool] = lambda _name: False) -> None:
        self._events = events
        self._is_stream = is_stream

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
        if name not in self._events and not self._is_stream(name):
            # Passed over, but acknowledged if it asks for that.
            return f'42{found[1]}["unknown"]'
        if name == NOTE_UPDATE:
            return f"42{found[1]}{_without_text(text[2 + len(found[1]) :])}"
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


class _Update(msgspec.Struct, frozen=True):
    """Of an update of a note what is looked at. The text as a page has it is passed over without being decoded."""

    document_id: str
    update: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = None
    initialize: bool = False


_update_decoder: Final = msgspec.json.Decoder(tuple[str, _Update])


def _without_text(text: str) -> str:
    """An update of a note without all that is not looked at, and with its bytes packed."""
    try:
        name, given = _update_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RefusedPacket("content of another kind") from None
    update = given.update
    # One that is too large is answered as one that holds nothing, which is none either.
    packed = None if update is None else _packed(update) if len(update) <= MAX_NOTE_UPDATE else ""
    told = {"document_id": given.document_id, "update": packed, "initialize": given.initialize}
    return msgspec.json.encode([name, told]).decode()


def _packed(update: list[int]) -> str:
    return base64.b64encode(bytes(update)).decode()


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
