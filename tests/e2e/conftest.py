"""A browser for each test, the complaints of its pages, and the official frontend's build as a client to test with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support import browser as browsers
from tests.support import official_frontend as official
from tests.support.browser import Complaints


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsers.launch() as started:
        yield started


@pytest.fixture
async def complaints() -> AsyncIterator[Complaints]:
    """Every console error, uncaught exception and refused request that the test did not expect fails it."""
    heard = Complaints()
    yield heard
    assert heard.faults == []


@pytest.fixture(scope="session")
def official_frontend() -> Path:
    """The folder of the official frontend's build, for FRONTEND_BUILD_DIR."""
    return official.build()
