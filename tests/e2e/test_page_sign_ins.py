"""Signing in by another site in a browser, and what administrators read of it: why it went so, and what claims would do."""

import json
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.fake_oidc import environment, fake_provider
from tests.support.page import EMAIL, settings, sign_up
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_by_another_site(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    # Each page begins by asking who is signed in.
    complaints.expect("401 ")
    async with fake_provider() as provider:
        variables = environment(provider.url, OAUTH_PROVIDER_NAME="Harbour", OAUTH_ALLOWED_DOMAINS="example.com")
        server = make_server(DATABASE_URL=database_url, **variables).start()
        ada = await browsers.open_page(await browser.new_context(), complaints, server.url)
        await sign_up(ada, "Ada Lovelace", EMAIL)
        await expect(ada.get_by_role("heading", name="Hello, Ada")).to_be_visible()
        # Ann comes by the site, and waits to be let in; somebody of another company doesn't come in at all.
        ann = await browsers.open_page(await browser.new_context(), complaints, server.url)
        await ann.get_by_role("button", name="Harbour").click()
        await expect(ann.get_by_role("heading", name="Almost there")).to_be_visible()
        provider.person = {"sub": "eve", "email": "eve@evil.example", "email_verified": True, "name": "Eve"}
        eve = await browsers.open_page(await browser.new_context(), complaints, server.url)
        await eve.get_by_role("button", name="Harbour").click()
        await expect(eve.get_by_role("alert")).to_contain_text(".")
        await expect(eve.get_by_role("button", name="Harbour")).to_be_visible()
        # Why, stands in the settings.
        await settings(ada, "Sign-ins")
        rows = ada.get_by_role("listitem")
        refused = rows.filter(has_text="eve@evil.example").first
        await expect(refused).to_contain_text("refused")
        await refused.locator("summary").first.click()
        await expect(refused).to_contain_text("OAUTH_ALLOWED_DOMAINS")
        await refused.get_by_role("button", name="What would come of it now?").click()
        await expect(refused.get_by_role("status")).to_contain_text("OAUTH_ALLOWED_DOMAINS")
        await expect(rows.filter(has_text="ann@example.com").first).to_contain_text("let in")
        # And what would come of somebody of whom the site says this.
        pasted = ada.get_by_label("Claims, as JSON")
        await pasted.fill("[1]")
        await ada.get_by_role("button", name="Explain", exact=True).click()
        await expect(ada.get_by_role("alert").filter(has_text="one JSON object")).to_be_visible()
        await pasted.fill(json.dumps({"sub": "z", "email": "zoe@example.com", "email_verified": True, "name": "Zoe"}))
        await ada.get_by_role("button", name="Explain", exact=True).click()
        trial = ada.locator("section.block", has=pasted).get_by_role("status")
        await expect(trial).to_contain_text("An account is made for them.")
        await expect(trial).to_contain_text("Zoe")
        for each in browser.contexts:
            await each.close()
