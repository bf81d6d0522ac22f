"""Second factors on the built-in page: switched on, set up at sign-in, asked for, and a recovery code in their place."""

import json
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.test_accessibility import AXE, SETTLED, violations
from tests.support import browser as browsers
from tests.support.authenticator import Authenticator
from tests.support.browser import Complaints
from tests.support.page import EMAIL, settings, sign_in, sign_up
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def at(page: Page, heading: str) -> None:
    """A step is shown, and anybody can use it."""
    await expect(page.get_by_role("heading", name=heading)).to_be_visible()
    await page.evaluate(SETTLED)
    assert await violations(page, heading, {}) == []


async def sign_out(page: Page) -> None:
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def set_up(page: Page) -> tuple[Authenticator, list[str]]:
    """Sets an app up at sign-in: it, and the recovery codes as they are shown and downloaded."""
    await at(page, "Set up your authenticator")
    assert await page.locator(".qr-code").evaluate("(image) => image.complete && image.naturalWidth > 100")
    await page.get_by_text("Type the key instead").click()
    app = Authenticator(await page.get_by_label("The key", exact=True).input_value())
    await page.get_by_label("The code that the app shows").fill(app.code())
    await page.keyboard.press("Enter")
    await at(page, "Your recovery codes")
    codes = await page.locator(".recovery-codes code").all_inner_texts()
    assert len(codes) == 10
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    assert (await (await download.value).path()).read_text().split() == codes
    await page.get_by_role("button", name="I have kept them").click()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    return app, codes


async def test_a_second_factor(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    server = make_server(DATABASE_URL=database_url).start()
    context = await browser.new_context(accept_downloads=True)
    await context.add_init_script(AXE)
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await settings(page, "People")
    # What an administrator demands of everybody holds at once.
    complaints.expect("401 ", "400 ", "socket.io")
    await page.get_by_role("switch", name="Ask for a second factor").click()
    await page.get_by_role("button", name="Switch it on").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()

    await sign_in(page, EMAIL)
    app, codes = await set_up(page)

    await sign_out(page)
    await sign_in(page, EMAIL)
    await at(page, "One more step")
    await page.get_by_label("Code", exact=True).fill("000 000")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("The code is not correct")
    # The one that set the app up was used; the next one is good already.
    await page.get_by_label("Code", exact=True).fill(app.code(later=30))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()

    await sign_out(page)
    await sign_in(page, EMAIL)
    await page.get_by_role("button", name="Use a recovery code").click()
    await at(page, "Recovery code")
    await page.get_by_label("Recovery code").fill(codes[0].upper())
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()

    await settings(page, "Account")
    await expect(page.get_by_text("You have an authenticator, and 9 recovery codes.")).to_be_visible()
    await page.get_by_role("button", name="New recovery codes").click()
    await page.get_by_label("Code", exact=True).fill(codes[1])
    await page.get_by_label("This is a recovery code").check()
    await page.get_by_role("button", name="Continue").click()
    await at(page, "Your recovery codes")
    await page.get_by_role("button", name="I have kept them").click()
    await expect(page.get_by_text("You have an authenticator, and 10 recovery codes.")).to_be_visible()
    assert (
        json.loads(await page.evaluate("JSON.stringify(localStorage)")).keys().isdisjoint({"token", "challenge_token"})
    )
    await context.close()
