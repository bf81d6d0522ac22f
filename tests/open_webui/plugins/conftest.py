"""A host of plugins for the tests of a module: its first process takes a second."""

from collections.abc import AsyncIterator

import pytest_asyncio

from open_webui.plugins.host import PluginHost
from tests.support.plugins import make_host


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[PluginHost]:
    made = make_host()
    yield made
    await made.close()
