"""The store in a bucket: the contract, and what only a server that may be away, refuse or lie has."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.storage import base, open_store, s3
from open_webui.storage.base import PIECE, BlobDamaged, StoreAway, read_all
from open_webui.storage.s3 import DOWNLOAD_PART, HOUR, UPLOAD_PART, ObjectStore
from tests.open_webui.storage.contract import *  # noqa: F403 - the tests of every store
from tests.open_webui.storage.contract import FAR, HELLO, KEY, listed
from tests.support.s3 import KEYS, S3Server, Wire

OTHER = hashlib.sha256(b"other").hexdigest()
ENDPOINT = "https://s3.example.com"


def settings(folder: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, **({"data_dir": folder / "data", "storage_provider": "s3"} | changes))


def opened(folder: Path, bucket: str, url: str, **changes: Any) -> ObjectStore:
    given = {"s3_bucket_name": bucket, "s3_endpoint_url": url, "s3_region_name": "eu-central-1"} | KEYS | changes
    store = open_store(settings(folder, **given))
    assert isinstance(store, ObjectStore)
    return store


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.bucket()


@pytest.fixture
def store(tmp_path: Path, s3_server: S3Server, bucket: str) -> ObjectStore:
    return opened(tmp_path, bucket, s3_server.url)


@pytest.fixture
def wired(tmp_path: Path, s3_wire: Wire, bucket: str) -> ObjectStore:
    """The store by way of a wire that can be cut."""
    return opened(tmp_path, bucket, s3_wire.url)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    return Clock(monkeypatch)


class Clock:
    """The store's clock, set ahead by hours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0
        real = time.time
        monkeypatch.setattr(s3.time, "time", lambda: real() + self.ahead)


async def of_size(size: int, piece: int = PIECE) -> AsyncIterator[bytes]:
    """Bytes that differ from piece to piece."""
    for at in range(0, size, piece):
        yield at.to_bytes(8, "big") * (min(piece, size - at) // 8)


async def read_into(given: bytearray, store: ObjectStore, key: str) -> None:
    async for piece in store.read(key):
        given += piece


def has_spooled(folder: Path) -> list[str]:
    """What of a file on its way lies in the data folder."""
    return [str(path) for path in (folder / "data").rglob("*")]


# What a put may count on.


async def test_a_content_that_is_put_often_is_one_object(store: ObjectStore, s3_server: S3Server, bucket: str) -> None:
    for _ in range(3):
        await store.put(HELLO)
    assert len(s3_server.names(bucket)) == 1


async def test_what_is_put_while_it_is_being_removed_stays(
    store: ObjectStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(HELLO)
    clock.ahead = 3 * HOUR
    remove = store._remove

    async def remove_after_a_put(objects: Any) -> None:
        await store.put(HELLO)
        await remove(objects)

    monkeypatch.setattr(store, "_remove", remove_after_a_put)
    assert await store.delete(KEY, time.time() + 2 * HOUR)
    assert await read_all(store, KEY) == HELLO


async def test_a_put_of_a_later_hour_counts_from_there(store: ObjectStore, clock: Clock) -> None:
    await store.put(HELLO)
    moment = time.time() + 2 * HOUR
    assert await listed(store, moment) == [KEY]
    clock.ahead = 3 * HOUR
    await store.put(HELLO)
    assert not await store.delete(KEY, moment)
    assert await listed(store, moment) == []
    assert await read_all(store, KEY) == HELLO


async def test_objects_of_earlier_hours_are_cleared(
    store: ObjectStore, clock: Clock, s3_server: S3Server, bucket: str
) -> None:
    for hours in (0, 2, 4):
        clock.ahead = hours * HOUR
        await store.put(HELLO)
        await store.put(f"{hours}".encode())
    assert len(s3_server.names(bucket)) == 6
    await listed(store, time.time() + 6 * HOUR)
    assert len(s3_server.names(bucket)) == 4, "one each"
    assert await read_all(store, KEY) == HELLO


async def test_two_collections_at_once_agree(store: ObjectStore) -> None:
    keys = [(await store.put(f"{k}".encode())).hash for k in range(20)]

    async def collect() -> list[bool]:
        return [await store.delete(key, FAR) async for found in store.untouched(FAR) for key in found]

    assert all(done for one in await asyncio.gather(collect(), collect()) for done in one)
    assert await asyncio.gather(*(store.size(key) for key in keys)) == [None] * 20


async def test_more_blobs_than_one_answer_lists(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BATCH", 3)
    keys = {(await store.put(f"{k}".encode())).hash for k in range(10)}
    assert sorted(await listed(store, FAR)) == sorted(keys)


# Whose bucket it is.


async def test_what_lies_beside_is_nobodys(
    tmp_path: Path, store: ObjectStore, s3_server: S3Server, bucket: str
) -> None:
    others = [opened(tmp_path, bucket, s3_server.url, s3_key_prefix=prefix) for prefix in ("a", "ab", "/a/b/")]
    for one in (store, *others):
        await one.put(one._where.encode() + bytes(one is store))
        await one.put(HELLO)
    strangers = [f"blobs/{KEY}/notes.txt", "blobs/readme", f"blobs/{KEY[:-1]}/{4 * 10**9}", "a/other"]
    for name in strangers:
        s3_server.object(bucket, name, b"theirs")
    for one in others:
        assert {KEY} < {*await listed(one, FAR)}
        assert await one.delete(KEY, FAR)
        assert await one.size(KEY) is None
    assert await read_all(store, KEY) == HELLO
    assert await store.delete(KEY, FAR)
    names = s3_server.names(bucket)
    assert set(strangers) < set(names)
    assert len(names) == len(strangers) + 4
    assert any(name.startswith("a/b/blobs/") for name in names)


# Large ones.


@pytest.mark.slow
async def test_a_large_blob_is_never_held(store: ObjectStore, tmp_path: Path) -> None:
    process = psutil.Process()
    size, most = 96 * 2**20, 0

    async def watched() -> AsyncIterator[bytes]:
        nonlocal most
        async for piece in of_size(size):
            most = max(most, process.memory_info().rss)
            yield piece

    async for _ in store.read((await store.put(of_size(2 * UPLOAD_PART))).hash):
        pass
    before = process.memory_info().rss
    ended = asyncio.Event()

    async def look() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    kept = await store.put(watched())
    digest = hashlib.sha256()
    async for piece in store.read(kept.hash):
        digest.update(piece)
        assert len(piece) <= PIECE
    ended.set()
    await looking
    assert (kept.size, digest.hexdigest()) == (size, kept.hash)
    assert most - before < size // 2
    assert has_spooled(tmp_path) == []


async def test_a_range_of_a_large_blob(store: ObjectStore) -> None:
    kept = await store.put(of_size(2 * DOWNLOAD_PART + 1000 * 8))
    whole = await read_all(store, kept.hash)
    assert hashlib.sha256(whole).hexdigest() == kept.hash
    start, length = DOWNLOAD_PART - 5, DOWNLOAD_PART + 10
    assert b"".join([p async for p in store.read(kept.hash, start, length)]) == whole[start : start + length]


# A server that gives back something else.


@pytest.mark.parametrize("lie", [b"hell", b"", b"HELLO", b"hello, you"])
async def test_what_is_not_the_blob_is_never_given(
    store: ObjectStore, s3_server: S3Server, bucket: str, lie: bytes
) -> None:
    await store.put(HELLO)
    s3_server.object(bucket, s3_server.names(bucket)[0], lie)
    with pytest.raises(BlobDamaged):
        await read_all(store, KEY)


async def test_a_large_one_that_is_cut_short_lacks_its_end(
    store: ObjectStore, s3_server: S3Server, bucket: str
) -> None:
    kept = await store.put(of_size(3 * DOWNLOAD_PART))
    name = s3_server.names(bucket)[0]
    s3_server.object(bucket, name, s3_server.object(bucket, name)[: 2 * DOWNLOAD_PART])
    given = bytearray()
    with pytest.raises(BlobDamaged):
        await read_into(given, store, kept.hash)
    assert len(given) < 2 * DOWNLOAD_PART


async def test_one_that_was_cut_short_is_put_right(store: ObjectStore, s3_server: S3Server, bucket: str) -> None:
    await store.put(HELLO)
    s3_server.object(bucket, s3_server.names(bucket)[0], b"hel")
    await store.put(HELLO)
    assert await read_all(store, KEY) == HELLO


async def test_a_whole_one_of_an_earlier_hour_is_taken_before_one_that_was_cut_short(
    store: ObjectStore, clock: Clock, s3_server: S3Server, bucket: str
) -> None:
    await store.put(HELLO)
    clock.ahead = 2 * HOUR
    await store.put(HELLO)
    s3_server.object(bucket, s3_server.names(bucket)[-1], b"hel")
    assert await read_all(store, KEY) == HELLO
    await listed(store, FAR)
    assert await read_all(store, KEY) == HELLO, "the better one is not what is cleared"


# A server that is away, slow, or refuses.


async def test_a_server_that_is_away_says_when_to_come_again(wired: ObjectStore, s3_wire: Wire) -> None:
    await wired.put(HELLO)
    s3_wire.cut()
    await wired.check()
    asked = (wired.put(b"other"), wired.put(of_size(16)), wired.size(KEY), read_all(wired, KEY), wired.delete(KEY, 0.0),
             listed(wired, FAR))  # fmt: skip
    for refused in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(refused, StoreAway)
        assert (refused.status, refused.headers) == (503, {"Retry-After": "10"})
        assert "at the moment" in refused.detail
    s3_wire.down = False
    assert await read_all(wired, KEY) == HELLO
    assert (await wired.put(b"other")).hash == OTHER


async def test_a_connection_that_breaks_once_is_no_trouble(wired: ObjectStore, s3_wire: Wire) -> None:
    kept = await wired.put(of_size(2 * DOWNLOAD_PART))
    s3_wire.cut_after(DOWNLOAD_PART + 500_000)
    assert hashlib.sha256(await read_all(wired, kept.hash)).hexdigest() == kept.hash


async def test_a_server_that_goes_in_the_middle_of_a_read(wired: ObjectStore, s3_wire: Wire) -> None:
    kept = await wired.put(of_size(3 * DOWNLOAD_PART))
    s3_wire.cut_after(DOWNLOAD_PART + 500_000, then_down=True)
    given = bytearray()
    with pytest.raises(StoreAway):
        await read_into(given, wired, kept.hash)
    assert len(given) == DOWNLOAD_PART - PIECE, "the last one is held until its hash is known"


async def test_a_server_that_goes_in_the_middle_of_a_put(
    wired: ObjectStore, store: ObjectStore, s3_wire: Wire, tmp_path: Path
) -> None:
    async def content() -> AsyncIterator[bytes]:
        async for piece in of_size(2 * UPLOAD_PART):
            yield piece
        s3_wire.cut()

    with pytest.raises(StoreAway):
        await wired.put(content())
    assert await listed(store, FAR) == []
    assert has_spooled(tmp_path) == []


async def test_a_slow_server_is_not_waited_for_for_ever(
    wired: ObjectStore, s3_wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wired.put(HELLO)
    monkeypatch.setattr(s3, "PATIENCE", 0.2)
    s3_wire.delay = 3600.0
    for asking in (wired.put(b"other"), wired.size(KEY), read_all(wired, KEY)):
        with pytest.raises(StoreAway):
            await asking


async def test_keys_that_are_refused(store: ObjectStore, s3_server: S3Server, bucket: str) -> None:
    await store.put(HELLO)
    with s3_server.refusing():
        with pytest.raises(StartupError, match=f"{bucket}.*403 Forbidden, InvalidAccessKeyId.*the keys") as refused:
            await store.check()
        for asking in (store.put(b"other"), store.size(KEY), read_all(store, KEY), store.delete(KEY, FAR)):
            with pytest.raises(StoreAway):
                await asking
    assert KEYS["s3_secret_access_key"] not in refused.value.detail
    await store.check()
    assert await read_all(store, KEY) == HELLO, "what is refused is not taken for missing"


async def test_a_bucket_that_is_not_there(tmp_path: Path, s3_server: S3Server) -> None:
    store = opened(tmp_path, "no-such-bucket", s3_server.url)
    with pytest.raises(StartupError, match=r"no-such-bucket at .* 404 Not Found, NoSuchBucket"):
        await store.check()
    for asking in (store.put(HELLO), store.size(KEY), read_all(store, KEY), store.delete(KEY, FAR)):
        with pytest.raises(StoreAway):
            await asking


async def test_a_full_disk_under_what_is_on_its_way(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, bucket: str, s3_server: S3Server
) -> None:
    """/dev/full takes nothing, as a disk that is full."""
    full = Path("/dev/full").open("r+b")  # noqa: ASYNC230, SIM115 - the store closes it
    monkeypatch.setattr(s3.tempfile, "SpooledTemporaryFile", lambda *_args, **_options: full)
    with pytest.raises(StoreAway) as refused:
        await store.put(of_size(PIECE))
    assert refused.value.detail == base.NO_ROOM
    assert s3_server.names(bucket) == []


# Settings.


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "S3_BUCKET_NAME"),
        ({"s3_bucket_name": "b", "s3_access_key_id": "id"}, "belong together"),
        ({"s3_bucket_name": "b", "s3_secret_access_key": "geheim"}, "belong together"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "s3.example.com"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "https://id:geheim@s3.example.com"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "https://s3.example.com:x"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "file:///tmp"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "https://[::1"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "b", "s3_endpoint_url": "https://s3.example.com/?x=1"}, "S3_ENDPOINT_URL"),
        ({"s3_bucket_name": "my bucket"}, "S3_BUCKET_NAME"),
        ({"s3_bucket_name": "bucket/part"}, "S3_BUCKET_NAME"),
    ],
)
def test_settings_that_make_no_store_are_named(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(StartupError, match=said) as refused:
        open_store(settings(tmp_path, **given))
    assert "geheim" not in refused.value.detail
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize(
    ("given", "endpoint", "is_virtual"),
    [
        ({}, None, True),
        ({"s3_addressing_style": "path"}, None, False),
        ({"s3_endpoint_url": ENDPOINT}, ENDPOINT, False),
        ({"s3_endpoint_url": f"{ENDPOINT}/", "s3_addressing_style": "AUTO"}, ENDPOINT, False),
        ({"s3_endpoint_url": ENDPOINT, "s3_addressing_style": "virtual"}, "https://b.s3.example.com", True),
    ],
)
def test_where_the_buckets_name_stands(
    tmp_path: Path, given: dict[str, Any], endpoint: str | None, is_virtual: bool
) -> None:
    store = open_store(settings(tmp_path, s3_bucket_name="b", **given))
    assert isinstance(store, ObjectStore)
    config: Any = store._bucket.config
    assert (config.get("endpoint"), config["virtual_hosted_style_request"]) == (endpoint, str(is_virtual).lower())


def test_an_extra_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_webui.storage.find_spec", lambda _name: None)
    with pytest.raises(StartupError, match=r"Install it with: .*s3"):
        open_store(settings(tmp_path, s3_bucket_name="b"))
