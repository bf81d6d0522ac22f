"""Signing in by another site in a browser, and what administrators read of it: why it went so, and what claims would do."""

import json
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.fake_oidc import CLIENT, SECRET, environment, fake_provider
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


async def test_an_administrator_sets_up_a_site_and_a_directory(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    complaints.expect("401 ", "400 ")
    async with fake_provider() as provider:
        server = make_server(DATABASE_URL=database_url, OAUTH_GROUPS_CLAIM="teams").start()
        ada = await browsers.open_page(await browser.new_context(), complaints, server.url)
        await sign_up(ada, "Ada Lovelace", EMAIL)
        await expect(ada.get_by_role("heading", name="Hello, Ada")).to_be_visible()
        await settings(ada, "Sign-ins")
        site = ada.locator("section.block", has=ada.get_by_role("heading", name="Sites by which people sign in"))
        await expect(site).to_contain_text(f"{server.url}/oauth/oidc/callback")
        await site.get_by_label("Site").select_option("google")
        await expect(site).to_contain_text(f"{server.url}/oauth/google/callback")
        await site.get_by_label("Site").select_option("oidc")
        await site.get_by_label("Address of its description").fill(provider.url)
        await site.get_by_label("Name on the button").fill("Harbour")
        await site.get_by_label("Client id").fill(CLIENT)
        await site.get_by_label("Client secret").fill(SECRET)
        await site.get_by_role("button", name="Save").click()
        await expect(ada.get_by_text("They count from the next sign-in on.").first).to_be_visible()
        rules = ada.locator("section.block", has=ada.get_by_role("heading", name="Whom sites let in"))
        await expect(rules.get_by_label("Claim with the groups")).to_be_disabled()
        await expect(rules).to_contain_text("Fixed by OAUTH_GROUPS_CLAIM")
        await rules.get_by_label("Who has no account gets one").check()
        async with ada.expect_response("**/configs/import") as saved:
            await rules.get_by_role("button", name="Save").click()
        assert (await saved.value).ok
        # A directory that can't be is refused with the reason, and nothing of it stays.
        directory = ada.locator("section.block", has=ada.get_by_role("heading", name="Directory"))
        await directory.get_by_label("Host").fill("ldap.example.com")
        await directory.get_by_label("Where people are (DN)").fill("dc=example,dc=com")
        await directory.get_by_label("Only those who match").fill("(objectClass=")
        await directory.get_by_role("button", name="Save").click()
        await expect(ada.get_by_text("This directory can't be used").first).to_be_visible()
        await directory.get_by_label("Only those who match").fill("(objectClass=person)")
        await directory.get_by_label("People may sign in by the directory").check()
        async with ada.expect_response("**/admin/config/ldap") as switched:
            await directory.get_by_role("button", name="Save").click()
        assert (await (await switched.value).json())["ENABLE_LDAP"] is True
        # Both are there for the next who comes, and the site lets her in.
        ann = await browsers.open_page(await browser.new_context(), complaints, server.url)
        await expect(ann.get_by_role("button", name="Continue with e-mail")).to_be_visible()
        await ann.get_by_role("button", name="Harbour").click()
        await expect(ann.get_by_role("heading", name="Almost there")).to_be_visible()
        for each in browser.contexts:
            await each.close()
