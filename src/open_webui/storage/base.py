"""The port: a store of blobs, which are bytes under the SHA-256 of themselves.

Who may see a blob and whether anything still needs it is the database's to say (models/blobs.py). A store only promises
that what `put` returned for is whole, durable and readable, and that `delete` never takes what was put meanwhile.
"""

import re
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from open_webui.errors import NotFound

# Bytes that are read or written at once.
PIECE: Final = 256 * 1024
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class BlobMissing(NotFound):
    """The store has no blob of this hash."""

    detail = "The content of this file is no longer there."


class Stored(msgspec.Struct, frozen=True):
    """What `put` kept. hash: SHA-256 in lower-case hex. size: in bytes."""

    hash: str
    size: int


class BlobStore(Protocol):
    """A store of blobs. Every adapter passes tests/open_webui/storage/contract.py."""

    async def put(self, content: bytes | AsyncIterator[bytes]) -> Stored:
        """Keeps content; content that is there already is marked as put now.

        When this returns, the blob is durable. Cancelled or failing in the middle, it leaves no blob.
        """
        ...

    async def size(self, key: str) -> int | None:
        """The number of bytes of a blob, None where there is none. key: its hash."""
        ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """A blob's bytes from a position on (all that follow, or so many), in pieces. Raises BlobMissing at the first."""
        ...

    async def delete(self, key: str, before: float) -> bool:
        """Removes a blob unless it was put at or after a moment (seconds since the epoch). Says whether it is gone."""
        ...

    def untouched(self, before: float) -> AsyncIterator[list[str]]:
        """The hashes of all blobs that were put before a moment, some at a time, and clears leftovers of broken puts."""
        ...


async def read_all(store: BlobStore, key: str) -> bytes:
    """A whole blob. Raises BlobMissing."""
    return b"".join([piece async for piece in store.read(key)])


def check_hash(key: str) -> str:
    """The hash, if it is one: names in a store are made by the server alone. Raises BlobMissing."""
    if _HASH.fullmatch(key) is None:
        raise BlobMissing
    return key
