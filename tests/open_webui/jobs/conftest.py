"""A world of processes on the test's database."""

from collections.abc import AsyncIterator

import pytest

from open_webui.env import Settings
from tests.open_webui.jobs.world import World, open_world


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with open_world(settings) as opened:
        yield opened
