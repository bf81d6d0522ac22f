"""What every test may ask for: databases, a provider, the application, people with accounts, the server as a process.

- `database_url`: a migrated, empty database of its own for the test, which runs once on SQLite and once on PostgreSQL.
- `empty_database_url`: the same without any table.
- `upstream`: a provider that plays any part (tests/support/script.py lists them).
- `live`: the application on that database with that provider; `make_live(**settings)` for other settings.
- `client`, `admin`, `user`, `other`, `pending`: who speaks to it.
- `s3_server`: S3, played by moto; `s3_wire`: a way to it that can be cut, slowed and mended.
- `server`: the real process on that database; `make_server(**environment)` for others, to be killed and restarted.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from _pytest.nodeid import NodeId
from argon2 import PasswordHasher

from open_webui.access import passwords, tokens
from open_webui.env import Settings
from open_webui.internal.child import spawn
from open_webui.migrations.runner import migrate
from open_webui.services import note_documents
from tests.support import forked, network, pgbouncer, postgres, redis, statements, template
from tests.support import live as live_module
from tests.support.live import Actor, Live
from tests.support.s3 import S3Server, Wire, wire_to
from tests.support.server import SECRET, Server
from tests.support.upstream import Upstream

_PREFIXES = ("AWS_", "OPENAI_", "OLLAMA_", "WEBUI_", "ENABLE_", "TASK_", "DEFAULT_")
_numbers = itertools.count(1)
_HASHER = passwords._hasher
_COMMAND = spawn.command
DATABASES = ("sqlite", "postgresql")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing of the developer's own settings reaches a test, and no test reaches another machine."""
    own = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name in own or name.startswith(_PREFIXES):
            del os.environ[name]
    network.refuse_all_but_loopback()
    # The same examples in every run, and none judged by the clock: a machine may be busy with something else.
    # None of them is kept: the folder may be another account's.
    hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
    hypothesis.settings.load_profile("fixed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a group run in one process. Of itself xdist 3.8 writes the group to where pytest 9.2 does not look for a name."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        names = sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})
        if names and not item.nodeid.endswith(group := f"@{'_'.join(names)}"):
            item._id = NodeId.parse(item.nodeid + group)  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not walk through ten thousands of tests each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def loop_at_rest(request: pytest.FixtureRequest) -> None:
    """What a test has closed is closed when its event loop ends: connections need one more turn of it for that."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("last_turns")


@pytest.fixture
async def last_turns() -> AsyncIterator[None]:
    yield
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> Iterator[None]:
    """Argon2id with its smallest parameters: hundreds of accounts are made, and none of them is worth stealing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(autouse=True, scope="session")
def notes_left_alone() -> Iterator[None]:
    """No job makes texts of notes amid a test because an application in the tests' own process has started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(note_documents, "FIRST_SECONDS", 900.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def compiled_once() -> Iterator[None]:
    """Statements are compiled once for all applications of a run, and the key's fingerprint is made once: each test has an
    application of its own, which would do both anew.
    """
    with pytest.MonkeyPatch.context() as patch:
        statements.share(patch)
        patch.setattr(tokens, "fingerprint", functools.cache(tokens.fingerprint))
        yield


@pytest.fixture(autouse=True, scope="session")
def children_forked() -> Iterator[None]:
    """Child processes of an application in the tests' own process are forks of one that has their modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "command", forked.commands(_COMMAND))
        yield


@pytest.fixture
def children_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes as the product starts them, for tests about what they import."""
    monkeypatch.setattr(spawn, "command", _COMMAND)


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters of the product, for tests about them."""
    monkeypatch.setattr(passwords, "_hasher", _HASHER)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    server = postgres.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server() -> Iterator[redis.Redis]:
    """A Redis that nobody else uses; it is up in some 10 ms."""
    server = redis.Redis()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template() -> Path:
    """A migrated SQLite file to copy."""
    return template.migrated()


@pytest.fixture(scope="session")
def postgres_copies(
    postgres_server: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[postgres.Copies]:
    """Copies of a migrated database."""

    async def make() -> None:
        await postgres_server.execute("CREATE DATABASE template_oui")
        await migrate(_settings(tmp_path_factory.mktemp("template"), postgres_server.url("template_oui")))

    asyncio.run(make())
    copies = postgres.Copies(postgres_server, "template_oui")
    yield copies
    copies.stop()


@pytest.fixture(scope="session")
def pgbouncer_port(postgres_server: postgres.Postgres) -> Iterator[int]:
    """Of a PgBouncer with two connections to a database of `postgres_server`, so that each soon had all clients on it."""
    with pgbouncer.before(postgres_server, default_pool_size="2") as port:
        yield port


def _through(request: pytest.FixtureRequest, url: str) -> str:
    if request.getfixturevalue("database_kind") != "pgbouncer":
        return url
    there, here = request.getfixturevalue("postgres_server").port, request.getfixturevalue("pgbouncer_port")
    return url.replace(f":{there}/", f":{here}/")


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on. `@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)` fixes it.

    "pgbouncer" is PostgreSQL, by way of PgBouncer in transaction mode.
    """
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a migrated database with nothing in it."""
    if database_kind == "sqlite":
        path = tmp_path / "webui.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        with request.getfixturevalue("postgres_copies").one() as url:
            yield _through(request, url)


@pytest.fixture
def empty_database_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database without any table."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with _empty_postgres_database(request.getfixturevalue("postgres_server")) as url:
            yield _through(request, url)


@contextlib.contextmanager
def _empty_postgres_database(server: postgres.Postgres) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _run_apart(server.execute(f"CREATE DATABASE {name}"))
    try:
        yield server.url(name)
    finally:
        _run_apart(server.execute(f"DROP DATABASE {name} WITH (FORCE)"))


def _run_apart(work: Awaitable[None]) -> None:
    async def run() -> None:
        await work

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(run())


def _settings(folder: Path, database_url: str) -> Settings:
    given: dict[str, Any] = {"data_dir": folder / "data", "database_url": database_url}
    if any(name.lower() in Settings.model_fields for name in os.environ):
        return Settings(_env_file=None, webui_secret_key=SECRET, env="test", **given)  # type: ignore[arg-type]
    return _usual_settings().model_copy(update=given)


@functools.cache
def _usual_settings() -> Settings:
    """Where no test has put a setting into the environment; to read all of them takes some 20 ms."""
    return Settings(_env_file=None, webui_secret_key=SECRET, env="test")  # type: ignore[arg-type]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """The settings of `live`. `make_live(port=...)` changes some of them."""
    return _settings(tmp_path, database_url)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
async def s3_wire(s3_server: S3Server) -> AsyncIterator[Wire]:
    async with wire_to(s3_server.port) as wire:
        yield wire


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    provider = Upstream().start()
    yield provider
    provider.stop()


@pytest.fixture
def connections(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connects the application to the provider's OpenAI side, as the environment of a real start does."""
    monkeypatch.setenv("OPENAI_API_BASE_URLS", upstream.openai_url)
    monkeypatch.setenv("OPENAI_API_KEYS", "sk-upstream")
    # Tests of what a provider is sent see what they sent, and no tools that every model gets.
    monkeypatch.setenv("ENABLE_BUILTIN_TOOLS", "false")


@pytest.fixture
async def make_live(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[Live]]]:
    """Starts applications with `settings`, changed by the arguments; `connections` is asked for separately.

    On SQLite, which serves one at a time, the one before it ends first.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def make(**changes: Any) -> Live:
            if settings.database_url.startswith("sqlite"):
                await stack.aclose()
            changed = Settings(_env_file=None, **(settings.model_dump() | changes)) if changes else settings
            return await stack.enter_async_context(live_module.serve(changed))

        yield make


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    """The application on a database of its own, connected to `upstream`."""
    return await make_live()


@pytest.fixture
async def client(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody: a client without a token."""
    async with live.client() as anonymous:
        yield anonymous


@pytest.fixture
async def admin(live: Live) -> AsyncIterator[Actor]:
    """The first account."""
    actor = await live_module.sign_up(live, "Admin One")
    async with actor.client:
        yield actor


@pytest.fixture
async def user(live: Live, admin: Actor) -> AsyncIterator[Actor]:
    actor = await live_module.sign_up(live, "User One", role="user", admin=admin)
    async with actor.client:
        yield actor


@pytest.fixture
async def other(live: Live, admin: Actor) -> AsyncIterator[Actor]:
    """A second user, with no right to anything of the first."""
    actor = await live_module.sign_up(live, "User Two", role="user", admin=admin)
    async with actor.client:
        yield actor


@pytest.fixture
async def pending(live: Live, admin: Actor) -> AsyncIterator[Actor]:
    """Somebody whom no admin has let in yet."""
    actor = await live_module.sign_up(live, "Pending One", role="pending", admin=admin)
    async with actor.client:
        yield actor


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers (not started) with these environment variables; they are killed when the test ends."""
    servers: list[Server] = []

    def make(**environment: str) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, environment))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def server(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> Server:
    """The real server, started, on this database and connected to `upstream`."""
    made = make_server(
        DATABASE_URL=database_url, OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream"
    )
    return made.start()
