"""Blobs in a bucket of S3, or of what speaks like it: `<prefix>/blobs/<sha256>/<moment>`.

An object is never changed, and none is taken away that a put may count on; so no lock, no tag and no second copy of a
request's time is needed, which not every server of this kind has:

- A put writes the object of the present hour, unless it is there: `moment` is the end of that hour, and until then the
  blob counts as put.
- A removal looks at all objects of a blob, and takes them away only if all moments have passed. What is put meanwhile is
  an object of a later hour, which it doesn't touch.
"""

import asyncio
import contextlib
import hashlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar

import msgspec
from obstore.exceptions import BaseError
from obstore.store import S3Store

from open_webui.errors import StartupError
from open_webui.internal.log import get_logger
from open_webui.storage.base import PIECE, BlobDamaged, BlobMissing, StoreAway, Stored, check_hash, on_disk, verified

log = get_logger(__name__)
T = TypeVar("T")
# Seconds for which a blob counts as put.
HOUR: Final = 3600
# Bytes of one request: of an upload in parts (the least that S3 takes), and of a download.
UPLOAD_PART: Final = 5 * 2**20
DOWNLOAD_PART: Final = 2 * 2**20
# Seconds that a request may take, and a second more for each so many bytes.
PATIENCE: Final = 15.0
SLOWEST: Final = 100_000
# Blobs that are listed at once.
BATCH: Final = 1000
_OBJECT: Final = re.compile(r"(?:^|/)([0-9a-f]{64})/([0-9]{10})$")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3}[ \w]*)")
_REFUSED: Final = re.compile(r"status code: (?:301|400|401|403|404)")


class Place(Protocol):
    """Where the bucket is, and who asks (`env.Settings` has it, checked by `storage.open_store`)."""

    data_dir: Path
    s3_bucket_name: str
    s3_endpoint_url: str
    s3_region_name: str
    s3_key_prefix: str


class _Object(msgspec.Struct, frozen=True):
    """One object of a blob. until: the moment up to which the blob counts as put, in seconds since the epoch."""

    key: str
    path: str
    size: int
    until: float


class ObjectStore:
    """Blobs in a bucket, which any number of processes and machines may share.

    The bucket must not remove objects by itself. Clocks may differ by less than what the caller of `delete` waits.
    Raises StoreAway where the server can't be reached, is full, or refuses.
    """

    def __init__(self, bucket: S3Store, spool: Path, where: str) -> None:
        """spool: a folder for what is on its way to the bucket. where: names the bucket in messages."""
        self._bucket = bucket
        self._spool = spool
        self._where = where

    async def check(self) -> None:
        """Raises StartupError if the bucket isn't there or the keys are refused; a server that is away may come back."""
        try:
            async for _ in self._batches("blobs", 1):
                return
        except StoreAway as away:
            reason = str(away.__cause__)
            if _REFUSED.search(reason):
                raise StartupError(
                    f"{self._where} can't be used: {_short(reason)}. Check S3_BUCKET_NAME, S3_ENDPOINT_URL, S3_REGION_NAME and"
                    " the keys, which must be allowed to list, read, write and delete objects."
                ) from None

    async def put(self, content: bytes | AsyncIterator[bytes]) -> Stored:
        if isinstance(content, bytes):
            key = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
            await self._keep(key, len(content), content)
            return Stored(key, len(content))
        digest = hashlib.sha256()
        size = 0
        # Its hash is its name, so the bytes wait on disk (small ones in memory) until all are there.
        spool = await on_disk(self._open_spool)
        try:
            async for piece in content:
                size += len(piece)
                await on_disk(_add, spool, digest, piece)
            await on_disk(spool.seek, 0)
            await self._keep(digest.hexdigest(), size, spool)
        finally:
            # Closing writes what a full disk did not take, once more.
            with contextlib.suppress(OSError):
                spool.close()
        return Stored(digest.hexdigest(), size)

    async def size(self, key: str) -> int | None:
        found = _best(await self._objects(check_hash(key)))
        return None if found is None else found.size

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore`. A whole blob is compared with its hash before its last bytes are given."""
        found = _best(await self._objects(check_hash(key)))
        if found is None:
            raise BlobMissing
        end = found.size if length is None else min(found.size, start + length)
        pieces = self._pieces(found, start, end)
        async for piece in verified(key, pieces) if start == 0 and end == found.size else pieces:
            yield piece

    async def delete(self, key: str, before: float) -> bool:
        found = await self._objects(check_hash(key))
        if any(one.until >= before for one in found):
            return False
        await self._remove(found)
        return True

    async def untouched(self, before: float) -> AsyncIterator[list[str]]:
        """See `BlobStore`. A blob's objects of earlier hours are removed on the way."""
        waiting: list[_Object] = []
        async for batch in self._batches("blobs", BATCH):
            waiting += batch
            # Objects come in the order of their names; the last blob of a batch may go on in the next one.
            whole = [one for one in waiting if one.key != waiting[-1].key]
            waiting = waiting[len(whole) :]
            yield await self._old_among(whole, before)
        yield await self._old_among(waiting, before)

    def _open_spool(self) -> IO[bytes]:
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.SpooledTemporaryFile(UPLOAD_PART, dir=str(self._spool))

    async def hashes(self) -> AsyncIterator[list[str]]:
        last = ""
        async for batch in self._batches("blobs", BATCH):
            found = list(dict.fromkeys(one.key for one in batch))
            # One with an object in the batch before.
            yield found[1:] if found[:1] == [last] else found
            last = found[-1] if found else last

    async def _old_among(self, objects: Iterable[_Object], before: float) -> list[str]:
        blobs: dict[str, list[_Object]] = {}
        for one in objects:
            blobs.setdefault(one.key, []).append(one)
        for of_blob in blobs.values():
            best = _best(of_blob)
            await self._remove([one for one in of_blob if one is not best and one.until < before])
        return [key for key, of_blob in blobs.items() if all(one.until < before for one in of_blob)]

    async def _keep(self, key: str, size: int, content: bytes | IO[bytes]) -> None:
        until = (int(time.time()) // HOUR + 1) * HOUR
        path = f"blobs/{key}/{until}"
        try:
            if (await self._asked(self._bucket.head_async(path)))["size"] == size:
                return
        except FileNotFoundError:
            pass
        writing = self._bucket.put_async(path, content, chunk_size=UPLOAD_PART, max_concurrency=2)
        try:
            await self._asked(writing, size)
        except FileNotFoundError as no_bucket:
            raise self._away(no_bucket) from no_bucket

    async def _pieces(self, found: _Object, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, DOWNLOAD_PART):
            part = await self._part(found, at, min(DOWNLOAD_PART, end - at))
            for k in range(0, len(part), PIECE):
                yield bytes(part[k : k + PIECE])

    async def _part(self, found: _Object, at: int, length: int) -> memoryview:
        """Bytes of an object. Raises BlobMissing where it is gone, BlobDamaged where it has become shorter."""
        asking = self._bucket.get_range_async(found.path, start=at, length=length)
        try:
            part = memoryview(await self._asked(asking, length))
        except FileNotFoundError:
            raise BlobMissing from None
        if len(part) != length:
            raise BlobDamaged
        return part

    async def _objects(self, key: str) -> list[_Object]:
        """All objects of a blob."""
        return [one async for batch in self._batches(f"blobs/{key}", BATCH) for one in batch]

    async def _batches(self, prefix: str, at_once: int) -> AsyncIterator[list[_Object]]:
        """The objects of blobs below a prefix, some at a time; what else lies there is nobody's here."""
        listing = aiter(self._bucket.list(prefix, chunk_size=at_once))
        while True:
            try:
                batch = await self._asked(anext(listing))
            except StopAsyncIteration:
                return
            found = ((_OBJECT.search(meta["path"]), meta) for meta in batch)
            yield [
                _Object(m[1], meta["path"], meta["size"], max(float(m[2]), meta["last_modified"].timestamp()))
                for m, meta in found
                if m is not None
            ]

    async def _remove(self, objects: Iterable[_Object]) -> None:
        for one in objects:
            with contextlib.suppress(FileNotFoundError):
                await self._asked(self._bucket.delete_async(one.path))

    async def _asked(self, request: Awaitable[T], size: int = 0) -> T:
        """What a request of so many bytes gives. Raises FileNotFoundError as it does, and StoreAway for all else."""
        try:
            async with asyncio.timeout(PATIENCE + size / SLOWEST):
                return await request
        except (BaseError, TimeoutError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> StoreAway:
        log.warning("files can't be stored or read", where=self._where, reason=_short(str(error) or "it took too long"))
        return StoreAway()


def open_bucket(place: Place, keys: tuple[str, str] | None, *, virtual: bool) -> ObjectStore:
    """The store of a bucket; nothing is asked yet. keys: id and secret; None: what the machine's role or `AWS_*` say.

    virtual: the bucket's name is part of the host's name. Raises StartupError for an address that is none.
    """
    config: dict[str, Any] = {
        "virtual_hosted_style_request": virtual,
        # Neither is understood by every server that speaks S3.
        "disable_bulk_delete": True,
        "disable_tagging": True,
    }
    if place.s3_endpoint_url:
        # The library takes the address of the bucket where its name is in the host's.
        scheme, _, host = place.s3_endpoint_url.rstrip("/").partition("://")
        config["endpoint"] = f"{scheme}://{place.s3_bucket_name}.{host}" if virtual else f"{scheme}://{host}"
    if place.s3_region_name:
        config["region"] = place.s3_region_name
    if keys is not None:
        config["access_key_id"], config["secret_access_key"] = keys
    try:
        bucket = S3Store(
            place.s3_bucket_name,
            prefix=place.s3_key_prefix or None,
            config=config,  # type: ignore[arg-type, unused-ignore]
            client_options={
                "allow_http": place.s3_endpoint_url.startswith("http://"),
                "connect_timeout": timedelta(seconds=3),
                # Of one request, so of one part.
                "timeout": timedelta(seconds=60),
            },
            retry_config={
                "max_retries": 3,
                "retry_timeout": timedelta(seconds=10),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )
    except (BaseError, ValueError) as error:
        raise StartupError(f"The bucket of S3_BUCKET_NAME can't be used: {_short(str(error))}") from None
    at = f" at {place.s3_endpoint_url}" if place.s3_endpoint_url else ""
    return ObjectStore(bucket, place.data_dir, f"The bucket {place.s3_bucket_name}{at}")


def _best(objects: Iterable[_Object]) -> _Object | None:
    """The object to read: one that was cut short is the smaller one, the newest was checked last."""
    return max(objects, key=lambda one: (one.size, one.until), default=None)


def _short(reason: str) -> str:
    """What an error of the library says, in a line: the server's status and word for it, or the first sentence."""
    told = [*_STATUS.findall(reason)[:1], *_CODE.findall(reason)[:1]]
    return ", ".join(told) or reason.partition("\n")[0][:300]


def _add(spool: IO[bytes], digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    spool.write(piece)
