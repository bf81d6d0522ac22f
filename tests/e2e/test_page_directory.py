"""Signing in by a directory and by a proxy's word, in the built-in page and in the official one."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.open_webui.ldap.conftest import variables
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.server import Server
from tests.support.slapd import PASSWORD, Slapd

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]
# Nobody has a session yet, and a wrong password is one.
REFUSED = ("401", "400")


async def fill(page: Page, user: str, password: str) -> None:
    await page.get_by_label("User name").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def test_by_a_directory(
    browser: Browser, complaints: Complaints, tmp_path: Path, official_frontend: Path
) -> None:
    complaints.expect(*REFUSED)
    slapd = Slapd()
    slapd.start()
    server = Server(tmp_path, variables(slapd)).start()
    try:
        context = await browser.new_context()
        page = await browsers.open_page(context, complaints, server.url)
        await page.get_by_role("button", name="Continue with the directory").click()
        await fill(page, "ann", "wrong")
        await expect(page.get_by_role("alert")).to_contain_text("The user name or the password is not correct.")
        await fill(page, "ann", PASSWORD)
        await expect(page.get_by_role("heading", name="Hello, Ann")).to_be_visible()
        await context.close()
        # Somebody is there now: the directory's form comes first.
        context = await browser.new_context()
        page = await browsers.open_page(context, complaints, server.url)
        await fill(page, "cid", PASSWORD)
        await expect(page.get_by_text("Almost there")).to_be_visible()
        await context.close()
        server.stop()
        server.environment["FRONTEND_BUILD_DIR"] = str(official_frontend)
        server.start()
        context = await browser.new_context()
        page = await browsers.open_page(context, complaints, f"{server.url}/auth")
        await page.get_by_label("Username").fill("ann")
        await page.locator("input[type=password]").fill(PASSWORD)
        await page.get_by_role("button", name="Authenticate").click()
        await expect(page.get_by_text("You're now logged in.")).to_be_visible()
        await context.close()
    finally:
        server.kill()
        slapd.stop()


async def test_by_a_proxy(browser: Browser, complaints: Complaints, tmp_path: Path, official_frontend: Path) -> None:
    """The browser is the proxy: what it adds to each request comes from a listed address."""
    complaints.expect(*REFUSED)
    given = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "WEBUI_AUTH_TRUSTED_EMAIL_HEADER": "X-Auth-Email"}
    server = Server(tmp_path, given).start()
    try:
        nobody = await browser.new_context()
        page = await browsers.open_page(nobody, complaints, server.url)
        await expect(page.get_by_role("alert")).to_contain_text("the proxy did not say who you are")
        await nobody.set_extra_http_headers({"X-Auth-Email": "ada@example.org"})
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("heading", name="Hello, ada")).to_be_visible()
        # Somebody else sits down: their own account, and nothing of hers.
        await nobody.set_extra_http_headers({"X-Auth-Email": "bob@example.org"})
        await page.reload()
        await expect(page.get_by_text("Signed in as bob@example.org")).to_be_visible()
        await nobody.close()
        server.stop()
        server.environment["FRONTEND_BUILD_DIR"] = str(official_frontend)
        server.start()
        context = await browser.new_context(extra_http_headers={"X-Auth-Email": "ada@example.org"})
        page = await browsers.open_page(context, complaints, server.url)
        await expect(page.get_by_text("You're now logged in.")).to_be_visible()
        await context.close()
    finally:
        server.kill()
