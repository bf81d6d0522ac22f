"""A browser for all tests of a process, the complaints of its pages, and the official frontend's build as a client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support import official_frontend as official
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, Pair, Visit, signed_up
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers_kept() -> AsyncIterator[browsers.Kept]:
    async with browsers.keep() as kept:
        yield kept


@pytest_asyncio.fixture(loop_scope="session")
async def browser(browsers_kept: browsers.Kept) -> AsyncIterator[Browser]:
    """A running browser without any page."""
    started = await browsers_kept.browser()
    yield started
    for context in started.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def complaints() -> AsyncIterator[Complaints]:
    """Every console error, uncaught exception and refused request that the test did not expect fails it."""
    heard = Complaints()
    yield heard
    assert heard.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, server: Server, upstream: Upstream, complaints: Complaints) -> AsyncIterator[Visit]:
    context = await browser.new_context(
        viewport={"width": 1280, "height": 820}, permissions=["clipboard-read", "clipboard-write"]
    )
    await signed_up(context, server, "Ada Lovelace", EMAIL)
    page = await browsers.open_page(context, complaints, server.url)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    yield Visit(page, context, server, upstream, complaints)
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
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
