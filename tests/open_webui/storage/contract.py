"""What every blob store promises. An adapter's test file makes a `store` fixture and imports these tests:

from tests.open_webui.storage.contract import *
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

import pytest

from open_webui.storage.base import PIECE, BlobMissing, BlobStore, read_all

HELLO = b"hello"
KEY = hashlib.sha256(HELLO).hexdigest()
FAR = 4_000_000_000.0
__all__ = [
    "test_a_broken_put_leaves_no_blob",
    "test_a_cancelled_put_leaves_no_blob",
    "test_a_name_that_is_no_hash_is_no_blob",
    "test_a_range_is_read",
    "test_bytes_and_streams_are_kept_under_their_hash",
    "test_nothing_is_a_blob_too",
    "test_the_same_content_is_kept_once",
    "test_what_is_not_there_is_missing",
    "test_what_is_removed_is_gone",
    "test_what_was_put_again_is_not_removed",
    "test_what_was_put_long_ago_is_listed",
]


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        await asyncio.sleep(0)
        yield piece


async def listed(store: BlobStore, before: float) -> list[str]:
    return [key async for keys in store.untouched(before) for key in keys]


async def test_bytes_and_streams_are_kept_under_their_hash(store: BlobStore) -> None:
    one = await store.put(HELLO)
    other = await store.put(pieces(b"hel", b"", b"lo, you"))
    assert (one.hash, one.size) == (KEY, 5)
    assert (other.hash, other.size) == (hashlib.sha256(b"hello, you").hexdigest(), 10)
    assert await read_all(store, one.hash) == HELLO
    assert await read_all(store, other.hash) == b"hello, you"
    assert await store.size(one.hash) == 5


async def test_nothing_is_a_blob_too(store: BlobStore) -> None:
    kept = await store.put(b"")
    assert (await store.size(kept.hash), await read_all(store, kept.hash)) == (0, b"")


async def test_the_same_content_is_kept_once(store: BlobStore) -> None:
    kept = await asyncio.gather(*(store.put(HELLO if k % 2 else pieces(HELLO)) for k in range(10)))
    assert {one.hash for one in kept} == {KEY}
    assert await listed(store, FAR) == [KEY]


async def test_a_range_is_read(store: BlobStore) -> None:
    data = bytes(range(256)) * (PIECE // 100)
    kept = await store.put(data)
    for start, length in ((0, 1), (5, PIECE + 3), (len(data) - 2, 10), (len(data), 4), (7, 0), (3, None)):
        end = None if length is None else start + length
        assert b"".join([p async for p in store.read(kept.hash, start, length)]) == data[start:end]


async def test_what_is_not_there_is_missing(store: BlobStore) -> None:
    assert await store.size(KEY) is None
    with pytest.raises(BlobMissing):
        await read_all(store, KEY)
    assert await store.delete(KEY, FAR), "it is gone"


@pytest.mark.parametrize(
    "key", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "/" + "0" * 63, "0" * 63 + "\n"]
)
async def test_a_name_that_is_no_hash_is_no_blob(store: BlobStore, key: str) -> None:
    with pytest.raises(BlobMissing):
        await store.size(key)
    with pytest.raises(BlobMissing):
        await read_all(store, key)
    with pytest.raises(BlobMissing):
        await store.delete(key, FAR)


async def test_what_is_removed_is_gone(store: BlobStore) -> None:
    kept = await store.put(HELLO)
    assert await store.delete(kept.hash, FAR)
    assert await store.size(kept.hash) is None
    assert await listed(store, FAR) == []
    assert (await store.put(HELLO)).hash == kept.hash
    assert await read_all(store, kept.hash) == HELLO


async def test_what_was_put_again_is_not_removed(store: BlobStore) -> None:
    await store.put(HELLO)
    moment = time.time() - 1
    assert not await store.delete(KEY, moment)
    assert await listed(store, moment) == []
    assert await store.size(KEY) == 5


async def test_what_was_put_long_ago_is_listed(store: BlobStore) -> None:
    kept = {(await store.put(text.encode())).hash for text in ("a", "b", "c")}
    assert set(await listed(store, FAR)) == kept


async def test_a_broken_put_leaves_no_blob(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield HELLO
        raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        await store.put(broken())
    assert await listed(store, FAR) == []


async def test_a_cancelled_put_leaves_no_blob(store: BlobStore) -> None:
    began = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield HELLO
        began.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put(endless()))
    await began.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await listed(store, FAR) == []
