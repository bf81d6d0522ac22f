"""What tests of retrieval use: a service on loopback, HTTP, settings."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from open_webui.env import Settings
from open_webui.internal.http import open_http
from tests.support.service import Service, a_service


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(env="test", data_dir=tmp_path / "data")


@pytest.fixture
async def http(own_settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http(own_settings) as session:
        yield session


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with a_service() as running:
        yield running
