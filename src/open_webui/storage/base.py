"""The port: a store of blobs, which are bytes under the SHA-256 of themselves.

Who may see a blob and whether anything still needs it is the database's to say (models/files.py). A store only promises
that what `put` returned for is whole, durable and readable, and that `delete` never takes what was put meanwhile.
"""

import asyncio
import errno
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, ParamSpec, Protocol, TypeVar

import msgspec

from open_webui.errors import NotFound, Unavailable
from open_webui.internal.log import get_logger

log = get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
# Bytes that are read or written at once.
PIECE: Final = 256 * 1024
NO_ROOM: Final = (
    "The server has no room for files any more. Nothing was stored; try again when its disk has been cleared."
)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
# No space, over the quota, over the largest size of a file.
_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set()))


class BlobMissing(NotFound):
    """The store has no blob of this hash."""

    detail = "The content of this file is no longer there."


class BlobDamaged(BlobMissing):
    """What the store has under this hash is something else, or only a part."""

    detail = "The content of this file is damaged: the store gives back something else than was put there."


class StoreAway(Unavailable):
    """The store can't take or give anything at the moment: a full disk, or a server that doesn't answer."""

    detail = "Files can't be stored or read at the moment. Try again in a while."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "10"})

    @classmethod
    def because(cls, error: OSError) -> "StoreAway":
        """For an error of the disk."""
        return cls(NO_ROOM if error.errno in _FULL else None)


class Stored(msgspec.Struct, frozen=True):
    """What `put` kept. hash: SHA-256 in lower-case hex. size: in bytes."""

    hash: str
    size: int


class BlobStore(Protocol):
    """A store of blobs. Every adapter passes tests/open_webui/storage/contract.py.

    Everything but `check` raises StoreAway where the store can't be asked at the moment.
    """

    async def check(self) -> None:
        """Looks at the start whether it can be used. Raises StartupError for what no waiting would mend."""
        ...

    async def put(self, content: bytes | AsyncIterator[bytes]) -> Stored:
        """Keeps content; content that is there already is marked as put now.

        When this returns, the blob is durable. Cancelled or failing in the middle, it leaves no blob.
        """
        ...

    async def size(self, key: str) -> int | None:
        """The number of bytes of a blob, None where there is none. key: its hash."""
        ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """A blob's bytes from a position on (all that follow, or so many), in pieces. Raises BlobMissing at the first.

        Raises BlobDamaged, at the latest before the last piece, for a whole blob that an adapter sees is not what it was.
        """
        ...

    async def delete(self, key: str, before: float) -> bool:
        """Removes a blob unless it was put at or after a moment (seconds since the epoch). Says whether it is gone.

        An adapter may keep it for an hour longer.
        """
        ...

    def untouched(self, before: float) -> AsyncIterator[list[str]]:
        """The hashes of all blobs that were put before a moment, some at a time, and clears leftovers of broken puts."""
        ...

    def hashes(self) -> AsyncIterator[list[str]]:
        """The hashes of all blobs, some at a time, and nothing is cleared. What is put meanwhile may be among them."""
        ...


async def read_all(store: BlobStore, key: str) -> bytes:
    """A whole blob. Raises BlobMissing."""
    return b"".join([piece async for piece in store.read(key)])


async def verified(key: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a whole blob. Raises BlobDamaged before the last one if they are not what its hash says."""
    digest = hashlib.sha256()
    held = b""
    async for piece in pieces:
        digest.update(piece)
        if held:
            yield held
        held = piece
    if digest.hexdigest() != key:
        log.error("a blob is not what its hash says", hash=key)
        raise BlobDamaged
    if held:
        yield held


def check_hash(key: str) -> str:
    """The hash, if it is one: names in a store are made by the server alone. Raises BlobMissing."""
    if _HASH.fullmatch(key) is None:
        raise BlobMissing
    return key


async def on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs it in a thread. Raises StoreAway for an error of the disk, and FileNotFoundError as it is."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except FileNotFoundError:
        raise
    except OSError as error:
        log.warning("files can't be stored or read", reason=str(error))
        raise StoreAway.because(error) from error
