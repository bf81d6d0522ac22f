"""Two applications on one PostgreSQL database, and somebody who speaks to both."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.live import Actor, Live


@pytest.fixture
def database_kind() -> str:
    """Several processes share PostgreSQL; SQLite serves one."""
    return "postgresql"


@pytest.fixture
async def second(make_live: Callable[..., Awaitable[Live]], live: Live) -> Live:
    """Another process on the database of `live`, which knows it."""
    made = await make_live()
    assert made.app.state.oui.bus.instance in live.app.state.oui.bus.peers
    return made


@pytest.fixture
async def there(second: Live, admin: Actor, user: Actor) -> AsyncIterator[SimpleNamespace]:
    """The administrator and the user, with the same sessions, at the second process."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(second.client(actor.token)) for actor in (admin, user)]
        yield SimpleNamespace(admin=replace(admin, client=clients[0]), user=replace(user, client=clients[1]))


@pytest.fixture
def silenced(live: Live, second: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells the other anything."""
    for one in (live, second):
        monkeypatch.setattr(one.app.state.oui.bus, "publish", lambda _topic, _payload: None)
