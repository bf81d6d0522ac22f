"""Updates of documents that come from outside, walked through before the library sees them.

The library goes as deep into values as they are nested, makes room for as many as are said to come, and takes strings as they
are. So bytes that lie end the whole process, and no error is raised. Here each byte is looked at once.
"""

from typing import Final

# How deep values may stand in each other. Those of editors are numbers and words, and lists of them.
_MAX_DEPTH: Final = 20
# Bits of the longest number.
_MAX_BITS: Final = 63
# Signs of a value (lib0's "any") that nothing follows, and those that so many bytes follow.
_ALONE: Final = frozenset({120, 121, 126, 127})
_SIZES: Final = {122: 8, 123: 8, 124: 4}
_LIST, _MAP, _NUMBER, _STRING, _BYTES = 117, 118, 125, 119, 116
# Kinds of blocks, in the lower bits of their first byte.
_GC, _DELETED, _JSON, _BINARY, _TEXT, _EMBED, _FORMAT, _TYPE, _ANY, _SKIP = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10
_HAS_LEFT, _HAS_RIGHT, _HAS_NAME, _KIND = 0x80, 0x40, 0x20, 0x1F
# Kinds of what may have others in it, up to a text in a tree; elements come with their name.
_LAST_TYPE: Final = 6
_NAMED_TYPES: Final = frozenset({3, 5})


class Broken(ValueError):
    """Bytes that are no update of a document."""


def walk(update: bytes) -> None:
    """Raises Broken for bytes that are no whole update of the kinds that editors of notes send."""
    try:
        _Walk(update).all()
    except IndexError:
        raise Broken("It is cut off.") from None


class _Walk:
    """One way through an update."""

    def __init__(self, update: bytes) -> None:
        self._data, self._at = update, 0

    def all(self) -> None:
        for _ in range(self._count()):
            structs = self._count()
            self._numbers(2)
            for _ in range(structs):
                self._block()
        for _ in range(self._count()):
            self._number()
            self._numbers(2 * self._count())

    def _number(self) -> int:
        data, at = self._data, self._at
        byte = data[at]
        at += 1
        value, shift = byte & 127, 7
        while byte > 127:
            if shift > _MAX_BITS:
                raise Broken("A number is too long.")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
        self._at = at
        return value

    def _numbers(self, count: int) -> None:
        for _ in range(count):
            self._number()

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise Broken("It is cut off.")

    def _count(self) -> int:
        """How many come. Each has a byte at least."""
        count = self._number()
        if count > len(self._data) - self._at:
            raise Broken("More is said to come than does.")
        return count

    def _bytes(self) -> None:
        self._skip(self._number())

    def _string(self) -> None:
        size = self._number()
        begin = self._at
        self._skip(size)
        try:
            str(memoryview(self._data)[begin : self._at], "utf-8")
        except UnicodeDecodeError:
            raise Broken("A string is not UTF-8.") from None

    def _strings(self, count: int) -> None:
        for _ in range(count):
            self._string()

    def _block(self) -> None:
        info = self._data[self._at]
        self._at += 1
        if info in {_GC, _SKIP}:
            self._number()
            return
        if info & _HAS_LEFT:
            self._numbers(2)
        if info & _HAS_RIGHT:
            self._numbers(2)
        if not info & (_HAS_LEFT | _HAS_RIGHT):
            self._parent(has_name=bool(info & _HAS_NAME))
        self._content(info & _KIND)

    def _parent(self, *, has_name: bool) -> None:
        kind = self._number()
        if kind == 1:
            self._string()
        elif kind == 0:
            self._numbers(2)
        else:
            raise Broken("A block has no parent.")
        if has_name:
            self._string()

    def _content(self, kind: int) -> None:
        if kind == _DELETED:
            self._number()
        elif kind in {_TEXT, _EMBED}:
            self._string()
        elif kind == _FORMAT:
            self._strings(2)
        elif kind == _TYPE:
            self._type()
        elif kind == _ANY:
            for _ in range(self._count()):
                self._value(0)
        elif kind == _BINARY:
            self._bytes()
        elif kind == _JSON:
            self._strings(self._count())
        else:
            # Documents in documents, and what is moved: editors of notes have neither.
            raise Broken("A block is of an unknown kind.")

    def _type(self) -> None:
        kind = self._number()
        if kind in _NAMED_TYPES:
            self._string()
        elif kind > _LAST_TYPE:
            raise Broken("A type is unknown.")

    def _value(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Broken("Values stand too deep in each other.")
        sign = self._data[self._at]
        self._at += 1
        if sign in _ALONE:
            return
        if sign == _STRING:
            self._string()
        elif sign == _NUMBER:
            self._number()
        elif sign in _SIZES:
            self._skip(_SIZES[sign])
        elif sign == _BYTES:
            self._bytes()
        elif sign == _MAP:
            for _ in range(self._count()):
                self._string()
                self._value(depth + 1)
        elif sign == _LIST:
            for _ in range(self._count()):
                self._value(depth + 1)
        else:
            raise Broken("A value is of an unknown kind.")
