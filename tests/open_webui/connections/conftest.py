"""What the tests of connections share."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from open_webui.env import Settings
from open_webui.internal.http import open_http


@pytest.fixture
def database_kind() -> str:
    """Connections don't know what a database is; the catalogue's tests say it where they need one."""
    return "sqlite"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http(Settings(_env_file=None)) as session:
        yield session
