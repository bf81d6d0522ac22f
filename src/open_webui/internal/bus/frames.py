"""What a link says to another, as bytes: frames, which may stand behind each other."""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

# The protocol's version, the kind, who sends it, of a message its sender's epoch and its number, and the body's length.
_HEAD: Final = struct.Struct(">4sc12sQQI")
_VERSION: Final = b"oui1"

# Not numbered: of life, of leaving, of having got all up to a number, and asking for all that follows one.
BEAT, LEAVE, GOT, REPEAT = (bytes([c]) for c in b"BLGR")
# Messages: topic and payload; number, topic and payload of a question; its number and what was answered.
NEWS, QUESTION, ANSWER = (bytes([c]) for c in b"NQA")

# Of a beat, by peer's name: the epoch and number of the last message to it, and of the last one got from it.
Beat = dict[str, tuple[int, int, int, int]]
_BODIES: Final[dict[bytes, Callable[[bytes], Any]]] = {
    kind: msgspec.msgpack.Decoder(of).decode
    for kind, of in (
        (BEAT, Beat),
        (NEWS, tuple[str, Any]),
        (QUESTION, tuple[int, str, Any]),
        (ANSWER, tuple[int, bytes]),
    )
}
encode = msgspec.msgpack.encode


class Frame(NamedTuple):
    """What arrived. body: decoded; None where the kind has none."""

    kind: bytes
    sender: str
    epoch: int
    number: int
    body: Any
    size: int


def pack(kind: bytes, sender: bytes, epoch: int = 0, number: int = 0, body: bytes = b"") -> bytes:
    """One frame. sender: twelve letters and digits."""
    return _HEAD.pack(_VERSION, kind, sender, epoch, number, len(body)) + body


def unpack(data: bytes) -> Iterator[Frame]:
    """The frames that stand behind each other. Raises ValueError where there is something else."""
    end = 0
    while end < len(data) or not data:
        try:
            version, kind, sender, epoch, number, size = _HEAD.unpack_from(data, end)
            start, name, decode = end + _HEAD.size, sender.decode("ascii"), _BODIES.get(kind)
            end = start + size
            if version != _VERSION or not name.isalnum() or end > len(data):
                raise ValueError("It is no frame.")
            body = decode(data[start:end]) if decode else None
        except (struct.error, msgspec.MsgspecError) as error:
            raise ValueError(str(error)) from error
        yield Frame(kind, name, epoch, number, body, size)
