"""A provider, and a server at which people sign in by it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.fake_oidc import FakeProvider, environment, fake_provider
from tests.support.live import Live

Serve = Callable[..., Awaitable[Live]]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as made:
        yield made


@pytest.fixture
def serve(make_live: Callable[..., Awaitable[Live]], provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts a server with these variables besides those of the provider."""

    async def start(**variables: str) -> Live:
        for name, value in environment(provider.url, **variables).items():
            monkeypatch.setenv(name, value)
        return await make_live()

    return start


@pytest.fixture
async def live(serve: Serve) -> Live:
    return await serve()
