"""What the cache in Redis promises."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal import cache as module
from open_webui.internal.cache import VALUE_BYTES, RedisCache, open_cache
from tests.support.redis import Redis, cluster


@pytest.fixture(params=["redis", "cluster"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[RedisCache]:
    if request.param == "redis":
        made = RedisCache(request.getfixturevalue("redis_server").servers(), "oui")
        yield made
        await made.close()
    else:
        with cluster() as nodes:
            made = RedisCache(nodes[0].servers(is_cluster=True), "oui")
            yield made
            await made.close()


async def test_a_value_is_there_until_it_is_replaced_or_removed(cache: RedisCache) -> None:
    assert await cache.get("a") is None
    for number in range(20):
        await cache.put(f"key {number} größer", bytes([number, 0, 255]), seconds=60)
    for number in range(20):
        assert await cache.get(f"key {number} größer") == bytes([number, 0, 255])
    await cache.put("a", b"", seconds=60)
    assert await cache.get("a") == b""
    await cache.put("a", b"other", seconds=60)
    assert await cache.get("a") == b"other"
    await cache.remove("a")
    await cache.remove("never there")
    assert await cache.get("a") is None


async def test_a_value_is_gone_after_its_time(cache: RedisCache) -> None:
    await cache.put("short", b"x", seconds=0.02)
    await cache.put("none", b"x", seconds=-5)
    await cache.put("long", b"x", seconds=60)
    await asyncio.sleep(0.05)
    assert [await cache.get(key) for key in ("short", "none", "long")] == [None, None, b"x"]


async def test_what_is_too_large_is_not_kept_and_neither_is_what_was_there(cache: RedisCache) -> None:
    await cache.put("a", b"x" * VALUE_BYTES, seconds=60)
    assert await cache.get("a") is not None
    await cache.put("a", b"x" * (VALUE_BYTES + 1), seconds=60)
    assert await cache.get("a") is None


async def test_a_redis_that_goes_away_and_returns_is_no_error(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCache(redis_server.servers(), "oui")
    await cache.put("a", b"x", seconds=60)
    redis_server.stop()
    for _ in range(3):
        await cache.put("a", b"y", seconds=60)
        assert await cache.get("a") is None
    assert [record.levelname for record in caplog.records if "cache" in record.message] == ["WARNING"]
    redis_server.start()
    monkeypatch.setattr(cache, "_away_until", 0.0)
    await cache.put("a", b"z", seconds=60)
    assert await cache.get("a") == b"z"
    await cache.close()


async def test_a_redis_that_stands_still_holds_nobody_up(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    cache = RedisCache(redis_server.servers(), "oui")
    redis_server.freeze(True)
    assert await cache.get("a") is None
    redis_server.freeze(False)
    monkeypatch.setattr(module, "_PATIENCE", 5.0)
    monkeypatch.setattr(cache, "_away_until", 0.0)
    await cache.put("a", b"x", seconds=60)
    assert await cache.get("a") == b"x"
    await cache.close()


async def test_two_servers_on_one_redis_are_kept_apart(redis_server: Redis) -> None:
    one, two = RedisCache(redis_server.servers(), "one"), RedisCache(redis_server.servers(), "two")
    await one.put("a", b"x", seconds=60)
    assert await two.get("a") is None
    await one.close()
    await two.close()


def test_which_cache_there_is() -> None:
    assert open_cache(Settings(_env_file=None)) is None
    assert isinstance(open_cache(Settings(_env_file=None, redis_url="redis://host")), RedisCache)
    with pytest.raises(StartupError, match="REDIS_URL"):
        open_cache(Settings(_env_file=None, redis_url="nonsense"))
