"""A browser for each test, the complaints of its pages, and the official frontend's build as a client to test with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support import official_frontend as official
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, Pair, Visit, sign_up, signed_up
from tests.support.server import Server
from tests.support.upstream import Upstream


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


@pytest.fixture
async def visit(browser: Browser, server: Server, upstream: Upstream, complaints: Complaints) -> AsyncIterator[Visit]:
    context = await browser.new_context(
        viewport={"width": 1280, "height": 820}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    yield Visit(page, context, server, upstream, complaints)
    await context.close()


@pytest.fixture
async def pair(browser: Browser, server: Server, upstream: Upstream, complaints: Complaints) -> AsyncIterator[Pair]:
    """Ada, the administrator, and Bob, each in a browser of their own, at the same server."""
    del upstream
    ada, bob = [await browser.new_context(viewport={"width": 1280, "height": 820}) for _ in range(2)]
    await signed_up(ada, server, "Ada Lovelace", EMAIL)
    person = {"name": "Bob Byte", "email": BOB, "password": PASSWORD, "role": "user"}
    assert (await ada.request.post(f"{server.url}/api/v1/auths/add", data=person)).ok
    given = {"email": BOB, "password": PASSWORD}
    assert (await bob.request.post(f"{server.url}/api/v1/auths/signin", data=given)).ok
    pages = [await browsers.open_page(each, complaints, server.url) for each in (ada, bob)]
    for page in pages:
        await expect(page.get_by_label("Your message")).to_be_visible()
    yield Pair(*pages, server, complaints)
    for each in (ada, bob):
        await each.close()


@pytest.fixture(scope="session")
def official_frontend() -> Path:
    """The folder of the official frontend's build, for FRONTEND_BUILD_DIR."""
    return official.build()
