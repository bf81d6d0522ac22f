"""The page /docs of a developer's server in a real browser: it is this server's own, and calls can be tried there."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.live import PASSWORD
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@pytest.fixture
def developed(make_server, database_url: str) -> Server:
    return make_server(DATABASE_URL=database_url, ENV="dev", ENABLE_API_KEYS="true").start()


async def try_out(page: Page, operation: str) -> str:
    """Executes an operation without parameters; what the page shows as the server's status."""
    block = page.locator(f"[id$={operation}]")
    await block.locator(".opblock-summary-control").click()
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute").click()
    status = block.locator(".live-responses-table .response-col_status").last
    await expect(status).to_be_visible()
    return (await status.inner_text()).split()[0]


async def test_calls_are_tried_with_either_credential(
    developed: Server, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context()
    # The account is made beside the page, which has no cookie of it then.
    form = {"name": "Dev", "email": "dev@example.com", "password": PASSWORD}
    reply = await context.request.post(f"{developed.url}/api/v1/auths/signup", data=form)
    made = await reply.json()
    own = {"Authorization": f"Bearer {made['token']}", "Content-Type": "application/json"}
    made |= await (await context.request.post(f"{developed.url}/api/v1/auths/api_key", headers=own)).json()
    await context.clear_cookies()
    foreign: list[str] = []
    context.on("request", lambda r: None if r.url.startswith((developed.url, "data:")) else foreign.append(r.url))
    page = await browsers.open_page(context, complaints, f"{developed.url}/docs")
    # All operations are one page: on a busy machine a click takes its time.
    page.set_default_timeout(120_000)
    await page.locator("#operations-tag-users").click()

    complaints.expect("401")
    assert await try_out(page, "get_api_v1_users_permissions") == "401"
    for credential, operation in (("token", "get_api_v1_users_groups"), ("api_key", "get_api_v1_users_user_settings")):
        await page.locator(".auth-wrapper").get_by_role("button", name="Authorize").click()
        if credential == "api_key":
            await page.get_by_role("button", name="Remove authorization").first.click()
        await page.locator("form", has_text="bearer (http").locator("#auth-bearer-value").fill(made[credential])
        await page.get_by_role("button", name="Apply credentials").first.click()
        await page.locator(".btn-done").first.click()
        assert await try_out(page, operation) == "200"
    assert foreign == []
    await context.close()
