"""Where the configured Redis is: one server, the master that sentinels name, or the nodes of a cluster.

redis-py is imported by who has configured one, when it is reached first.
"""

from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from llamaforge.exceptions import how_to_install
from open_webui.env import Settings
from open_webui.errors import StartupError

FORMS: Final = "redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket"
Place = tuple[str, int]


class RedisServers:
    """Makes clients. A client makes no connection anew by itself: who uses it knows of each that breaks."""

    def __init__(
        self, url: SplitResult, *, sentinels: tuple[Place, ...] = (), is_cluster: bool = False, timeout: float = 5
    ) -> None:
        """url: of the server, or of a node; where there are sentinels its host is the master's name.

        timeout: seconds until one that does not answer is given up.
        """
        self._url, self._sentinels, self._is_cluster, self.timeout = url, sentinels, is_cluster, timeout
        # Of a cluster, as a node has told.
        self._nodes: list[Place] = []

    @property
    def database(self) -> str:
        """The number of the database in the server."""
        return self._url.path.strip("/") or "0" if self._url.scheme != "unix" else "0"

    async def connect(self) -> Any:
        """redis.asyncio.Redis of a server that has answered: for channels any node of a cluster will do. Raises `failures`."""
        if self._sentinels:
            return await self._reached(await self._master())
        away = failures()
        for place in self._nodes:
            with suppress(*away):
                return await self._reached(place)
        return await self._reached(None)

    async def connect_for_keys(self) -> Any:
        """The same for keys, each of which a cluster has on one of its nodes: redis.asyncio.Redis or RedisCluster."""
        if not self._is_cluster:
            return await self.connect()
        from redis.asyncio.cluster import RedisCluster  # noqa: PLC0415

        options = self._options()
        del options["retry_on_error"]
        return await RedisCluster.from_url(self._url.geturl(), **options).initialize()

    async def _reached(self, place: Place | None) -> Any:
        from redis.asyncio import Redis  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            client = Redis.from_url(self._at(place), **self._options())
            stack.push_async_callback(client.aclose)
            await client.ping()
            if self._is_cluster:
                known = await client.execute_command("CLUSTER NODES")
                self._nodes = [split_place(name, 6379) for name in known]
            stack.pop_all()
        return client

    async def _master(self) -> Place:
        from redis.asyncio.sentinel import Sentinel  # noqa: PLC0415

        asked = Sentinel(self._sentinels, sentinel_kwargs=self._options())
        try:
            host, port = await asked.discover_master(self._url.hostname)
        finally:
            for sentinel in asked.sentinels:
                await sentinel.aclose()
        return str(host), int(port)

    def _at(self, place: Place | None) -> str:
        """The URL with another host and port."""
        if place is None:
            return self._url.geturl()
        user = "".join(self._url.netloc.rpartition("@")[:2])
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        return self._url._replace(netloc=f"{user}{host}:{place[1]}").geturl()

    def _options(self) -> dict[str, Any]:
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        return {
            "socket_connect_timeout": self.timeout,
            "socket_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
        }


def failures() -> tuple[type[Exception], ...]:
    """What a client raises when its server is away."""
    from redis.exceptions import RedisError  # noqa: PLC0415

    return (OSError, TimeoutError, RedisError)


def bus_servers(settings: Settings) -> RedisServers | None:
    """The Redis that carries news between processes, if one is configured. Raises StartupError."""
    if settings.websocket_redis_url:
        return _servers(settings, "WEBSOCKET_REDIS_URL", settings.websocket_redis_url)
    if settings.websocket_manager and not settings.redis_url:
        raise StartupError(f"WEBSOCKET_MANAGER asks for Redis, but REDIS_URL does not say where it is. Use {FORMS}.")
    return key_servers(settings)


def key_servers(settings: Settings) -> RedisServers | None:
    """The Redis that keeps what is cheap to lose, if one is configured. Raises StartupError."""
    return _servers(settings, "REDIS_URL", settings.redis_url) if settings.redis_url else None


def _servers(settings: Settings, variable: str, text: str) -> RedisServers:
    url = _parsed(variable, text)
    sentinels = tuple(
        _sentinel(name.strip(), settings.redis_sentinel_port)
        for name in settings.redis_sentinel_hosts.split(",")
        if name.strip()
    )
    if sentinels and settings.redis_cluster:
        raise StartupError("REDIS_SENTINEL_HOSTS and REDIS_CLUSTER exclude each other: a cluster has no sentinels.")
    if (sentinels or settings.redis_cluster) and url.scheme == "unix":
        raise StartupError(
            f"{variable} is a socket of this machine, which neither sentinels nor a cluster have. Use redis://host."
        )
    if find_spec("redis") is None:
        raise StartupError(f"Redis needs a driver that is not installed. Install it with: {how_to_install('redis')}")
    return RedisServers(
        url, sentinels=sentinels, is_cluster=settings.redis_cluster, timeout=settings.redis_socket_connect_timeout
    )


def _parsed(variable: str, text: str) -> SplitResult:
    """The URL's parts. Raises StartupError."""
    try:
        url = urlsplit(text.strip())
        # Reading the port checks it.
        is_server = url.scheme in {"redis", "rediss"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_server, url = False, urlsplit("")
    database = url.path.strip("/")
    if (is_server and (database.isdecimal() or not database)) or (url.scheme == "unix" and len(url.path) > 1):
        return url
    raise StartupError(f"{variable} is not the address of a Redis. Use {FORMS}.")


def _sentinel(name: str, port: int) -> Place:
    try:
        return split_place(name, port)
    except ValueError:
        raise StartupError(
            f"REDIS_SENTINEL_HOSTS: '{name}' is no host. Use host1,host2 (their port is REDIS_SENTINEL_PORT) or host:26379."
        ) from None


def split_place(text: str, port: int) -> Place:
    """Host and port of `host`, `host:port` or `[::1]:port`. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query or parts.username:
        raise ValueError("not a host")
    return parts.hostname, parts.port or port
