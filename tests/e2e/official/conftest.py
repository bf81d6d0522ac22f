"""One server and one browser serve all of these tests: a frontend of this size takes seconds to load for the first time."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.official.driver import Frontend
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest.fixture(scope="package")
def shared_upstream() -> Iterator[Upstream]:
    provider = Upstream().start()
    yield provider
    provider.stop()


@pytest.fixture(scope="package")
def shared_server(
    shared_upstream: Upstream, official_frontend: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    made = Server(
        tmp_path_factory.mktemp("official"),
        {
            "OPENAI_API_BASE_URLS": shared_upstream.openai_url,
            "OPENAI_API_KEYS": "sk-upstream",
            "FRONTEND_BUILD_DIR": str(official_frontend),
        },
    )
    yield made.start()
    made.kill()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def signed_up(shared_server: Server, shared_upstream: Upstream) -> AsyncIterator[Frontend]:
    """The browser of the first account, which has just been made."""
    async with browsers.launch() as browser:
        context = await browser.new_context(
            viewport={"width": 1280, "height": 850}, permissions=["clipboard-read", "clipboard-write"]
        )
        context.set_default_timeout(90_000)
        page, complaints = await context.new_page(), Complaints()
        complaints.listen(page)
        frontend = Frontend(page, context, shared_server, shared_upstream, complaints)
        await frontend.sign_up()
        yield frontend


@pytest_asyncio.fixture(loop_scope="session")
async def frontend(signed_up: Frontend) -> AsyncIterator[Frontend]:
    """The signed-in frontend; every complaint of its pages that the test did not expect fails the test."""
    yield signed_up
    heard, signed_up.complaints.found[:], signed_up.complaints.expected[:] = signed_up.complaints.faults, [], []
    for page in signed_up.context.pages:
        if page is not signed_up.page:
            await page.close()
    assert heard == []
