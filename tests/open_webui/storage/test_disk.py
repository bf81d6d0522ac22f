"""The disk's store: the contract, and what only files have."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from open_webui.storage.base import read_all
from open_webui.storage.disk import DiskStore
from tests.open_webui.storage.contract import *  # noqa: F403 - the tests of every store
from tests.open_webui.storage.contract import FAR, HELLO, KEY, listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def exists(folder: Path) -> bool:
    return folder.exists()


def everything(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]


@pytest.fixture
def store(folder: Path) -> DiskStore:
    return DiskStore(folder)


async def test_nothing_is_made_before_something_is_put(store: DiskStore, folder: Path) -> None:
    assert await listed(store, FAR) == []
    assert not exists(folder)


async def test_files_are_for_the_server_alone(store: DiskStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        await store.put(HELLO)
    finally:
        os.umask(before)
    path = folder / KEY[:2] / KEY[2:4] / KEY
    assert path.read_bytes() == HELLO
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in everything(folder)}
    assert {name: mode for name, mode in modes.items() if mode not in {0o600, 0o700}} == {}


async def test_no_leftover_stays_beside_the_blobs(store: DiskStore, folder: Path) -> None:
    await asyncio.gather(*(store.put(HELLO) for _ in range(5)))
    assert list((folder / "new").iterdir()) == []


async def test_what_a_crash_left_is_cleared(store: DiskStore, folder: Path) -> None:
    await store.put(HELLO)
    left = folder / "new" / "left"
    left.write_bytes(b"half of a")
    os.utime(left, (1, 1))
    assert await listed(store, 1000) == []
    assert not left.exists()


async def test_a_blob_that_is_not_whole_is_put_right(store: DiskStore, folder: Path) -> None:
    await store.put(HELLO)
    (folder / KEY[:2] / KEY[2:4] / KEY).write_bytes(b"hel")
    await store.put(HELLO)
    assert await read_all(store, KEY) == HELLO


async def test_a_put_that_is_repeated_saves_a_blob_from_its_collection(store: DiskStore, folder: Path) -> None:
    await store.put(HELLO)
    path = folder / KEY[:2] / KEY[2:4] / KEY
    os.utime(path, (1, 1))
    assert await listed(store, 1000) == [KEY]
    await store.put(HELLO)
    assert not await store.delete(KEY, 1000)
    assert path.exists()


async def test_a_blob_that_is_opened_for_nobody_is_closed(store: DiskStore, folder: Path) -> None:
    """A pipe stands in its place: opening it takes until somebody writes."""
    path = folder / KEY[:2] / KEY[2:4] / KEY
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    reading = asyncio.ensure_future(anext(store.read(KEY)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with await asyncio.to_thread(path.open, "wb", buffering=0) as writer:
        while True:
            try:
                writer.write(b"x")
            except BrokenPipeError:
                break
            await asyncio.sleep(0.001)
