"""Pipelines on the built-in page: an admin sets what runs at another server."""

import json
import os
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.support.page import Visit, settings
from tests.support.pipelines_server import KEY, PipelinesServer, open_pipelines_server
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@pytest_asyncio.fixture(loop_scope="session")
async def pipelines() -> AsyncIterator[PipelinesServer]:
    async with open_pipelines_server() as found:
        yield found


@pytest.fixture
def server(
    make_server: Callable[..., Server], database_url: str, upstream: Upstream, pipelines: PipelinesServer
) -> Server:
    urls, keys = f"{upstream.openai_url};{pipelines.url}", f"sk-upstream;{KEY}"
    return make_server(DATABASE_URL=database_url, OPENAI_API_BASE_URLS=urls, OPENAI_API_KEYS=keys).start()


async def test_a_pipeline_is_set(visit: Visit, pipelines: PipelinesServer) -> None:
    page = visit.page
    await settings(page, "Connections")
    await page.get_by_role("button", name="Settings of Talker").click()
    await page.get_by_label("limit", exact=True).fill("7")
    if folder := os.environ.get("PICTURES"):
        await page.screenshot(path=f"{folder}/pipelines.png")
    await page.get_by_role("button", name="Save settings").click()
    await expect(page.get_by_text("Settings saved.")).to_be_visible()
    assert pipelines.valves == {"limit": 7}


async def answered(route: Route, *, body: str) -> None:
    await route.fulfill(body=body, content_type="application/json")


async def test_what_a_server_lists_may_be_anything(visit: Visit, pipelines: PipelinesServer) -> None:
    """What is no pipeline is passed over, and nothing of it is markup."""
    page = visit.page
    odd = [None, 7, {"id": 3}, {"id": "x", "name": "<img src=x onerror=alert(1)>"}, {"id": "y", "name": {"a": 1}}]
    for listed in ({"data": "none"}, None, {"data": odd}):
        answer = partial(answered, body=json.dumps(listed))
        await page.route("**/api/v1/pipelines/?urlIdx=1", answer, times=1)
        await settings(page, "Connections")
        if listed == {"data": odd}:
            await expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
            await expect(page.get_by_role("button", name="Settings of")).to_have_count(2)
        else:
            await expect(page.get_by_text("No pipeline yet.")).to_be_visible()
        await page.keyboard.press("Escape")
    assert pipelines.asked("/valves/update") == []
