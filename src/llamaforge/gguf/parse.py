"""From the bytes of one GGUF file to its values and tensors. No number of the file is trusted before it is checked."""

from __future__ import annotations

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from llamaforge.exceptions import ModelLoadError
from llamaforge.gguf import formats

# A longer array is told by its length alone: vocabularies have hundreds of thousands of entries.
KEPT_ITEMS: Final = 1024
_MAX_HEADER: Final = 64 * 1024 * 1024
_MAX_ENTRIES: Final = 65536  # values, or tensors
_MAX_TEXTS: Final = 2 * 1024 * 1024  # in one array
_STEP: Final = 4 * 1024 * 1024
_SMALLEST_VALUE: Final = 8 + 1 + 4 + 1  # a key of one letter, its type and one byte
_SMALLEST_TENSOR: Final = 8 + 1 + 4 + 8 + 4 + 8


class Malformed(ModelLoadError):
    """What is wrong with the file, as the end of a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array whose items are not kept: their type in the format, how many, and whether a text (not "") comes twice."""

    type: int
    length: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its shape with the innermost dimension first, and where its `size` bytes begin in the data."""

    name: str
    shape: tuple[int, ...]
    type: formats.Quantisation
    offset: int
    size: int

    @property
    def elements(self) -> int:
        return _product(self.shape)


@dataclass(frozen=True, slots=True)
class Parsed:
    """One file: its metadata, its tensors, and the offset where their data begins."""

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int
    size: int


def parse(path: Path) -> Parsed:
    """The header of the file. Raises Malformed, FileNotFoundError and other OSErrors; reads no data of tensors."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write into it
        raise Malformed("is not a file")
    size = status.st_size
    with path.open("rb") as file:
        try:
            return _parse(_Reader(file, size), size)
        except struct.error as error:  # unreachable as far as known: every read is measured first
            raise Malformed("is not a valid GGUF file") from error


def _parse(reader: _Reader, size: int) -> Parsed:
    if reader.take(min(4, size)) != formats.MAGIC:
        raise Malformed("is not a GGUF file: it does not begin with the letters GGUF")
    version = reader.number("I")
    if version not in formats.VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in formats.VERSIONS
        raise Malformed("is a big-endian GGUF file" if swapped else f"is GGUF version {version}; 2 and 3 are known")
    tensor_count = reader.count(_SMALLEST_TENSOR, "tensors", _MAX_ENTRIES)
    value_count = reader.count(_SMALLEST_VALUE, "values", _MAX_ENTRIES)
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = reader.text("the name of a value")
        if not key or key in metadata:
            raise Malformed(f"names the value {key[:80]!r} twice" if key else "has a value without a name")
        metadata[key] = reader.value(reader.number("I"), key)
    alignment = metadata.get("general.alignment", formats.DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 8 <= alignment <= 65536 or alignment & (alignment - 1):
        raise Malformed("has an alignment that is not a power of two from 8 to 65536")
    tensors = _tensors(reader, tensor_count, alignment)
    data = _padded(reader.position, alignment)
    end = data + tensors[-1].offset + tensors[-1].size if tensors else 0
    if end > size:
        raise Malformed(f"ends too early: its tensors need {end} bytes, it has {size}. The download may be incomplete")
    return Parsed(version, metadata, tensors, data, size)


def _tensors(reader: _Reader, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    expected = 0
    for _ in range(count):
        tensor = _tensor(reader)
        if tensor.name in names:
            raise Malformed(f"has the tensor {tensor.name!r} twice")
        # One after another without gaps or overlaps, as the engine wants them.
        if tensor.offset != expected:
            raise Malformed(f"has the tensor {tensor.name!r} at {tensor.offset} and not at {expected}")
        names.add(tensor.name)
        tensors.append(tensor)
        expected = _padded(tensor.offset + tensor.size, alignment)
    return tuple(tensors)


def _tensor(reader: _Reader) -> Tensor:
    name = reader.text("the name of a tensor")
    if not 1 <= len(name.encode()) <= formats.MAX_NAME:
        raise Malformed(f"has a tensor whose name is not of 1 to {formats.MAX_NAME} bytes")
    dimensions = reader.number("I")
    if not 1 <= dimensions <= formats.MAX_DIMENSIONS:
        raise Malformed(f"has the tensor {name!r} with {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind = formats.TENSOR_TYPES.get(number := reader.number("I"))
    if kind is None:
        raise Malformed(f"has the tensor {name!r} of the unknown type {number}")
    elements = _product(shape)
    if not 0 < elements < 2**62 or shape[0] % kind.block:
        raise Malformed(f"has the tensor {name!r} of the impossible shape {list(shape)} for {kind.name}")
    return Tensor(name, shape, kind, reader.number("Q"), elements // kind.block * kind.size)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


class _Reader:
    """Reads a file from its begin, in large steps, and refuses whatever would go beyond its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._end = min(size, _MAX_HEADER)
        self._buffer = b""
        self._start = 0  # of the buffer, in the file
        self._at = 0  # in the buffer

    @property
    def position(self) -> int:
        """The offset in the file of what is read next."""
        return self._start + self._at

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        if self._at + length > len(self._buffer):
            self._fill(length)
        self._at += length
        return self._buffer[self._at - length : self._at]

    def _fill(self, length: int) -> None:
        if length > self._end - self.position:
            raise Malformed("ends in the middle of its header. The download may be incomplete")
        self._start += self._at
        rest = self._buffer[self._at :]
        self._buffer = rest + self._file.read(max(_STEP, length) - len(rest))
        self._at = 0
        if len(self._buffer) < length:
            raise Malformed("became shorter while it was read")

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def count(self, smallest: int, what: str, most: int = _MAX_HEADER) -> int:
        """A count of things of at least `smallest` bytes each, which must fit into what is left of the header."""
        count: int = self.number("Q")
        if count > most or count * smallest > self._end - self.position:
            raise Malformed(f"claims {count} {what}, more than it has room for")
        return count

    def text(self, what: str) -> str:
        try:
            return self.take(self.count(1, f"bytes in {what}")).decode()
        except UnicodeDecodeError:
            raise Malformed(f"has {what} that is not UTF-8") from None

    def value(self, kind: int, key: str) -> Any:
        if kind == formats.STRING:
            return self.text(f"the value {key[:80]!r}")
        if kind == formats.ARRAY:
            return self._array(key)
        value = self.number(self._code(kind, key))
        if kind == formats.BOOL:
            if value not in {0, 1}:
                raise Malformed(f"has the value {key[:80]!r}, which is neither true nor false")
            return bool(value)
        return value

    def _code(self, kind: int, key: str) -> str:
        code = formats.SCALARS.get(kind)
        if code is None:
            raise Malformed(f"has the value {key[:80]!r} of the unknown type {kind}")
        return code

    def _array(self, key: str) -> list[Any] | LongArray:
        what = f"items in {key[:80]!r}"
        kind = self.number("I")
        if kind == formats.ARRAY:
            raise Malformed(f"has arrays within the array {key[:80]!r}")
        if kind == formats.STRING:
            return self._texts(self.count(8, what, _MAX_TEXTS), key)
        code = self._code(kind, key)
        width = struct.calcsize("<" + code)
        count = self.count(width, what)
        if count > KEPT_ITEMS:
            self.take(count * width)
            return LongArray(kind, count)
        return list(struct.unpack(f"<{count}{code}", self.take(count * width)))

    def _texts(self, count: int, key: str) -> list[str] | LongArray:
        # The longest loop of a header: a vocabulary has hundreds of thousands of texts.
        take, end = self.take, self._end
        kept: list[str] = []
        seen: set[str] = set()
        empty = 0
        for _ in range(count):
            length = int.from_bytes(take(8), "little")
            if length > end:
                raise Malformed(f"claims {length} bytes in an item of {key[:80]!r}, more than it has room for")
            try:
                text = take(length).decode()
            except UnicodeDecodeError:
                raise Malformed(f"has an item of {key[:80]!r} that is not UTF-8") from None
            if count <= KEPT_ITEMS:
                kept.append(text)
            elif text:
                seen.add(text)
            else:
                empty += 1
        return kept if count <= KEPT_ITEMS else LongArray(formats.STRING, count, len(seen) + empty < count)
