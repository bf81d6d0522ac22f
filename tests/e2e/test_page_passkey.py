"""Passkeys on the built-in page, by a virtual authenticator; and what the page asks before it repeats a request."""

from collections.abc import Callable

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.e2e.test_accessibility import AXE
from tests.e2e.test_page_factor import at, sign_out
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import EMAIL, settings, sign_up
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


async def with_authenticator(page: Page) -> None:
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


async def test_a_passkey(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    server = make_server(DATABASE_URL=database_url, ENABLE_PASSKEY_SIGN_IN="true").start()
    context = await browser.new_context(accept_downloads=True)
    await context.add_init_script(AXE)
    # Passkeys need a name.
    page = await browsers.open_page(context, complaints, server.url.replace("127.0.0.1", "localhost"))
    await with_authenticator(page)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await settings(page, "Account")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_label("Name of the passkey").fill("Laptop")
    await page.get_by_role("button", name="Save", exact=True).click()
    await at(page, "Your recovery codes")
    await page.get_by_role("button", name="I have kept them").click()
    await expect(page.get_by_text("on one device, for localhost")).to_be_visible()

    await page.get_by_role("button", name="Close").click()
    complaints.expect("401 ")
    await sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()

    # The server wants a proof, then a reason; each once.
    asked: list[str] = []

    async def want(route: Route) -> None:
        asked.append(route.request.url)
        needs = {1: (403, "proof"), 2: (400, "reason")}.get(len(asked))
        if needs is None:
            await route.continue_()
        else:
            status, word = needs
            await route.fulfill(status=status, headers={"x-needs": word}, json={"detail": "Show that it is you."})

    await page.route("**/api/v1/chats/all/db*", want)
    complaints.expect("403 ", "400 ")
    await settings(page, "People")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Export everybody’s chats").click()
        await at(page, "Show that it is you")
        # Second factors are switched off here, so the password is enough, too.
        await expect(page.get_by_label("Your password")).to_be_visible()
        await page.get_by_role("button", name="Use a passkey").click()
        await page.get_by_label("Why do you look at it?").fill("Complaint № 7")
        await page.get_by_role("button", name="Go on").click()
    assert (await download.value).suggested_filename == "all-chats.json"
    assert len(asked) == 3
    assert asked[-1].endswith("?audit_reason=Complaint+%E2%84%96+7")
    await context.close()
