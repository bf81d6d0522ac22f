"""Which Redis carries the news: one server, the master of sentinels, a cluster; and what the settings may say of it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal import redis_servers
from open_webui.internal.bus import link
from open_webui.internal.bus.link import LinkBus
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.bus.opening import open_bus
from open_webui.internal.bus.redis import RedisCarrier
from open_webui.internal.redis_servers import RedisServers, bus_servers, key_servers
from tests.open_webui.internal.bus.test_bus import Heard, until
from tests.support.redis import Redis, Sentinel, cluster

POSTGRES = "postgresql://me@127.0.0.1:1/chats"


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)


async def open_pair(one: RedisServers, two: RedisServers) -> tuple[Heard, Heard]:
    heard = [Heard(LinkBus(RedisCarrier(servers, "oui"))) for servers in (one, two)]
    for each in heard:
        await each.bus.open()
    await until(lambda: all(each.bus.peers for each in heard))
    return heard[0], heard[1]


@pytest.fixture
async def opened() -> AsyncIterator[list[Heard]]:
    """Buses that are closed at the end."""
    there: list[Heard] = []
    yield there
    for heard in there:
        await heard.bus.close()


async def test_a_new_master_is_found_by_the_sentinels(redis_server: Redis, opened: list[Heard]) -> None:
    sentinel, replica = Sentinel(redis_server), Redis("--replicaof", "127.0.0.1", str(redis_server.port))
    try:
        replica.start()
        sentinel.start()
        given = settings(
            redis_url="redis://mymaster", redis_sentinel_hosts="127.0.0.1", redis_sentinel_port=sentinel.port
        )
        one, two = await open_pair(bus_servers(given), bus_servers(given))
        opened += [one, two]
        one.bus.publish("news", "before")
        await until(two.news)
        # A sentinel that was kept from running does nothing for half a minute.
        await until(lambda: sentinel.ask("SENTINEL REPLICAS mymaster") == "*1", 120)
        redis_server.stop()
        one.bus.publish("news", "meanwhile")
        await until(lambda: len(two.news()) == 2, 120)
        assert two.news() == ["before", "meanwhile"]
        assert replica.ask("PUBLISH oui:0:bus:all x") == ":2", "both listen at the new master"
    finally:
        sentinel.stop()
        replica.stop()


async def test_news_go_by_way_of_other_nodes_when_one_of_a_cluster_is_gone(opened: list[Heard]) -> None:
    with cluster() as nodes:
        servers = [RedisServers(n.servers()._url, is_cluster=True) for n in nodes[:2]]
        one, two = await open_pair(*servers)
        opened += [one, two]
        one.bus.publish("news", "before")
        await until(two.news)
        nodes[0].stop()
        one.bus.publish("news", "meanwhile")
        await until(lambda: len(two.news()) == 2)
        assert two.news() == ["before", "meanwhile"]


async def test_a_redis_that_stands_still_is_known_as_away(
    redis_server: Redis, opened: list[Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT", 0.05)
    quick = redis_server.servers(timeout=0.3)
    one, two = await open_pair(quick, quick)
    opened += [one, two]
    redis_server.freeze(True)
    one.bus.publish("news", "kept")
    await until(lambda: not one.bus.is_up and not two.bus.is_up)
    await one.bus.flush()
    redis_server.freeze(False)
    await until(two.news)
    assert two.news() == ["kept"]


async def test_a_socket_of_this_machine_and_a_password_will_do(tmp_path: Path, opened: list[Heard]) -> None:
    path = tmp_path / "redis.sock"
    server = Redis("--unixsocket", str(path))
    server.start()
    try:
        assert server.ask("CONFIG SET requirepass geheim%wort") == "+OK"
        servers = bus_servers(settings(redis_url=f"unix://:geheim%25wort@{path}"))
        tcp = bus_servers(settings(redis_url=f"redis://:geheim%25wort@127.0.0.1:{server.port}/0"))
        opened += await open_pair(servers, tcp)
        wrong = Heard(LinkBus(RedisCarrier(server.servers(), "oui")))
        await wrong.bus.open()
        assert not wrong.bus.is_up, "without its password it is away"
        await wrong.bus.close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"redis_url": "localhost:6379"}, "REDIS_URL is not the address of a Redis"),
        ({"redis_url": "http://localhost"}, "Use redis://user:password@host:6379/0"),
        ({"redis_url": "redis://"}, "REDIS_URL is not"),
        ({"redis_url": "redis://:6379"}, "REDIS_URL is not"),
        ({"redis_url": "redis://host:port"}, "REDIS_URL is not"),
        ({"redis_url": "redis://host:70000"}, "REDIS_URL is not"),
        ({"redis_url": "redis://host/name"}, "REDIS_URL is not"),
        ({"redis_url": "redis://[::1"}, "REDIS_URL is not"),
        ({"redis_url": "unix://"}, "REDIS_URL is not"),
        ({"websocket_redis_url": "nonsense", "redis_url": "redis://host"}, "^WEBSOCKET_REDIS_URL is not"),
        ({"websocket_manager": "redis"}, "WEBSOCKET_MANAGER asks for Redis, but REDIS_URL"),
        ({"redis_url": "redis://m", "redis_sentinel_hosts": "a", "redis_cluster": True}, "exclude each other"),
        ({"redis_url": "unix:///s", "redis_sentinel_hosts": "a"}, "neither sentinels nor a cluster"),
        ({"redis_url": "redis://m", "redis_sentinel_hosts": "a,b:x"}, "'b:x' is no host"),
        ({"redis_url": "redis://m", "redis_sentinel_hosts": "redis://a"}, "is no host"),
    ],
)
def test_a_malformed_address_is_refused_in_a_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(StartupError, match=sentence):
        open_bus(settings(**changes))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "find_spec", lambda _name: None)
    with pytest.raises(StartupError, match="redis"):
        bus_servers(settings(redis_url="redis://host"))


def test_well_formed_addresses(tmp_path: Path) -> None:
    given = settings(
        redis_url="rediss://user:p%40ss@[2001:db8::1]:6380/3", websocket_redis_url="redis://other", data_dir=tmp_path
    )
    keys, news = key_servers(given), bus_servers(given)
    assert keys is not None
    assert news is not None
    assert keys.database == "3"
    assert keys._at(("::2", 7)) == "rediss://user:p%40ss@[::2]:7/3"
    assert news._url.hostname == "other"
    named = bus_servers(settings(redis_url="redis://mymaster/1", redis_sentinel_hosts=" a , b:5 ,[::1]:7,"))
    assert named is not None
    assert named._sentinels == (("a", 26379), ("b", 5), ("::1", 7))
    assert bus_servers(settings()) is None


def test_redis_is_chosen_before_postgresql_and_not_on_sqlite(tmp_path: Path) -> None:
    bus = open_bus(settings(database_url=POSTGRES, redis_url="redis://host", data_dir=tmp_path))
    assert isinstance(bus, LinkBus)
    assert isinstance(bus._transport, RedisCarrier)
    assert isinstance(open_bus(settings(redis_url="redis://host", data_dir=tmp_path)), MemoryBus)


def test_a_server_without_redis_loads_nothing_of_it() -> None:
    code = (
        "import sys; from open_webui.env import Settings; from open_webui.internal.bus.opening import open_bus\n"
        f"open_bus(Settings(_env_file=None)); open_bus(Settings(_env_file=None, database_url={POSTGRES!r}))\n"
        "print([m for m in sys.modules if m == 'redis' or m.startswith('redis.')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "src"}
    )
    assert run.stdout.strip() == "[]"


async def test_two_servers_on_one_redis_are_kept_apart_by_their_prefix_and_database(
    redis_server: Redis, opened: list[Heard]
) -> None:
    there = [
        Heard(open_bus(settings(database_url=POSTGRES, **changes)))
        for changes in (
            {"redis_url": redis_server.url},
            {"redis_url": redis_server.url, "redis_key_prefix": "other"},
            {"redis_url": redis_server.url.replace("/0", "/1")},
        )
    ]
    for heard in there:
        await heard.bus.open()
        opened.append(heard)
    for heard in there:
        await heard.bus.flush()
    await asyncio.sleep(0.1)
    assert not any(heard.bus.peers for heard in there)
