"""The encoding of LDAP messages (BER, as far as RFC 4511 uses it). What is read is bounded and believed no further."""

from collections.abc import Iterator
from typing import Final

INTEGER: Final = 0x02
OCTETS: Final = 0x04
ENUMERATED: Final = 0x0A
BOOLEAN: Final = 0x01
SEQUENCE: Final = 0x30
SET: Final = 0x31
# Bytes of one message. An entry that names thousands of groups is some hundred KB.
MAX_MESSAGE: Final = 4 * 2**20


class Malformed(ValueError):
    """The bytes are no such encoding."""


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element: its tag, its length, what is in it."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def integer(number: int, tag: int = INTEGER) -> bytes:
    """A number that is not negative."""
    return tlv(tag, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def octets(value: str | bytes, tag: int = OCTETS) -> bytes:
    return tlv(tag, value.encode() if isinstance(value, str) else value)


def boolean(value: bool, tag: int = BOOLEAN) -> bytes:
    return tlv(tag, b"\xff" if value else b"\x00")


def header(data: bytes | bytearray, at: int = 0) -> tuple[int, int, int] | None:
    """The tag of the element that begins there, where its content begins and where it ends; None while that has not all come.

    The end may lie beyond the data. Raises Malformed.
    """
    if len(data) < at + 2:
        return None
    tag, size = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise Malformed("a tag of many bytes")
    at += 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise Malformed("a length that is indefinite or too long")
        if len(data) < at + count:
            return None
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if size > MAX_MESSAGE:
        raise Malformed(f"an element of {size} bytes")
    return tag, at, at + size


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements in a content, one after the other. Raises Malformed."""
    at = 0
    while at < len(data):
        found = header(data, at)
        if found is None or found[2] > len(data):
            raise Malformed("an element that ends too soon")
        tag, begin, at = found
        yield tag, data[begin:at]


def number(data: bytes) -> int:
    """Raises Malformed."""
    if not 1 <= len(data) <= 8:
        raise Malformed("a number of no use")
    return int.from_bytes(data, "big", signed=True)
