"""`oui-backend blobs move`: whatever ends it, each blob is whole in one of the two places, and the same command goes on."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from open_webui import administration
from open_webui.env import Settings
from open_webui.errors import BadRequest, StartupError
from open_webui.internal.db import open_database
from open_webui.internal.folder_lock import lock_folder
from open_webui.models import processes
from open_webui.storage import open_bucket, open_disk
from open_webui.storage.base import BlobStore, StoreAway, read_all
from open_webui.storage.s3 import DOWNLOAD_PART
from tests.support.process import clean_environment, die_with_parent
from tests.support.s3 import KEYS, S3Server, Wire

To = Literal["local", "s3"]


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.bucket()


@pytest.fixture
def settings(tmp_path: Path, s3_wire: Wire, bucket: str) -> Settings:
    given: dict[str, Any] = {"data_dir": tmp_path / "data", "s3_bucket_name": bucket, "s3_endpoint_url": s3_wire.url}
    return Settings(_env_file=None, **(given | KEYS))


def by_s3(settings: Settings) -> Settings:
    return settings.model_copy(update={"storage_provider": "s3"})


async def move(settings: Settings, to: To, *, remove: bool = False, dry_run: bool = False) -> str:
    return await administration.move_blobs(settings, to, lambda *_: None, remove=remove, dry_run=dry_run)


async def filled(store: BlobStore, count: int = 5) -> dict[str, bytes]:
    contents = [b"", *(f"{k}".encode() * 1000 for k in range(count - 1))]
    return {(await store.put(content)).hash: content for content in contents}


async def held(store: BlobStore) -> set[str]:
    return {key async for some in store.hashes() for key in some}


def path_of(settings: Settings, key: str) -> Path:
    return settings.data_dir / "blobs" / key[:2] / key[2:4] / key


@pytest.mark.parametrize("to", ["s3", "local"])
async def test_there_and_nothing_is_removed_unasked(settings: Settings, to: To) -> None:
    disk, bucket = open_disk(settings), open_bucket(settings)
    source, target = (disk, bucket) if to == "s3" else (bucket, disk)
    blobs = await filled(source)
    assert await move(settings, to, dry_run=True) == "Would copy 5 files (0.0 MB); 0 were there already."
    assert await held(target) == set()
    assert await move(settings, to) == "Copied 5 files (0.0 MB); 0 were there already."
    assert await held(source) == await held(target) == set(blobs)
    assert {key: await read_all(target, key) for key in blobs} == blobs
    await source.put(b"one more")
    assert await move(settings, to) == "Copied 1 files (0.0 MB); 5 were there already."


async def test_what_was_read_back_is_removed(settings: Settings) -> None:
    disk, bucket = open_disk(settings), open_bucket(settings)
    blobs = await filled(disk)
    await move(settings, "s3")
    would = await move(by_s3(settings), "s3", remove=True, dry_run=True)
    assert would == "Would copy 0 files (0.0 MB); 5 were there already. Would remove 5 from where they were."
    assert await held(disk) == set(blobs)
    said = await move(by_s3(settings), "s3", remove=True)
    assert said == "Copied 0 files (0.0 MB); 5 were there already. Removed 5 from where they were."
    assert await held(disk) == set()
    assert {key: await read_all(bucket, key) for key in blobs} == blobs
    assert "Removed 5" in await move(settings, "local", remove=True)
    assert (await held(bucket), await held(disk)) == (set(), set(blobs))


async def test_nothing_is_removed_where_a_server_reads(settings: Settings) -> None:
    disk = open_disk(settings)
    blobs = await filled(disk)
    with pytest.raises(StartupError, match="Set STORAGE_PROVIDER=s3 first"):
        await move(settings, "s3", remove=True)
    with lock_folder(settings), pytest.raises(StartupError, match="Stop it first"):
        await move(by_s3(settings), "s3", remove=True)
    with lock_folder(settings):
        assert "Copied 5" in await move(settings, "s3"), "without removing, a server may run"
    assert await held(disk) == set(blobs)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_nothing_is_removed_while_servers_share_a_database(settings: Settings, database_url: str) -> None:
    disk = open_disk(settings)
    await filled(disk)
    shared = by_s3(settings).model_copy(update={"database_url": database_url})
    database = open_database(shared)
    async with database.write() as unit:
        await processes.beat(unit.connection, "one", "host-a")
    with pytest.raises(StartupError, match="Servers run on host-a"):
        await move(shared, "s3", remove=True)
    assert len(await held(disk)) == 5
    async with database.write() as unit:
        await processes.leave(unit.connection, "one")
    assert "Removed 5" in await move(shared, "s3", remove=True)
    await database.close()


async def test_damaged_ones_are_named_and_stay(settings: Settings, s3_server: S3Server, bucket: str) -> None:
    disk = open_disk(settings)
    first, second, *_ = sorted(await filled(disk))
    content = path_of(settings, first).read_bytes()
    path_of(settings, first).write_bytes(content + b"!")
    with pytest.raises(BadRequest, match=f"Copied 4 files .* 1 are damaged and were left as they are: {first}"):
        await move(settings, "s3")
    name = next(name for name in s3_server.names(bucket) if second in name)
    assert not any(first in name for name in s3_server.names(bucket)), "half of it is not there under another name"
    s3_server.object(bucket, name, bytes(len(path_of(settings, second).read_bytes())))
    with pytest.raises(BadRequest, match=f"Removed 3 .* 2 are damaged .*: {first}, {second}"):
        await move(by_s3(settings), "s3", remove=True)
    assert await held(disk) == {first, second}


async def test_a_server_that_goes_away_in_the_middle(settings: Settings, s3_wire: Wire) -> None:
    blobs = await filled(open_disk(settings), 20)
    s3_wire.cut_after(3000, then_down=True)
    with pytest.raises(StoreAway, match="of 20 files are done; the same command goes on"):
        await move(settings, "s3")
    s3_wire.down = False
    assert "Copied" in await move(settings, "s3")
    assert await held(open_bucket(settings)) == set(blobs)


@pytest.mark.fault
async def test_killed_in_the_middle(settings: Settings, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    async def pieces(k: int) -> AsyncIterator[bytes]:
        for _ in range(6):
            yield bytes([k]) * (DOWNLOAD_PART // 4)

    disk = open_disk(settings)
    blobs = {(await disk.put(pieces(k))).hash for k in range(30)}
    environment = {"DATA_DIR": str(settings.data_dir), "STORAGE_PROVIDER": "s3", "S3_BUCKET_NAME": bucket}
    environment |= {"S3_ENDPOINT_URL": s3_server.url} | {name.upper(): value for name, value in KEYS.items()}
    command = [sys.executable, "-m", "open_webui.cli", "blobs", "move", "s3", "--remove"]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment(environment), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        )  # fmt: skip

    for left in (27, 15):
        process = start()
        while len(await held(disk)) > left:
            assert process.poll() is None
            await asyncio.sleep(0.005)
        process.kill()
        process.communicate()
        there = await held(open_bucket(settings))
        assert await held(disk) | there == blobs, "none is lost"
    said, _ = start().communicate()
    assert "Removed" in said
    assert "damaged" not in said
    assert await held(disk) == set()
    bucket_store = open_bucket(settings)
    for key in blobs:
        assert hashlib.sha256(await read_all(bucket_store, key)).hexdigest() == key
