"""What an administrator does in the built-in page for other people, in a real browser against the real server."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, add_person, answer, running, settings, sign_in, sign_up
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

# One database is enough here, as for the other tests of the page.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@dataclass(frozen=True)
class Office:
    """An administrator's page at a server to which nothing is connected."""

    page: Page
    server: Server
    browser: Browser
    complaints: Complaints

    async def visitor(self) -> Page:
        """The page in another browser, where nobody is signed in."""
        self.complaints.expect("401 ")
        return await browsers.open_page(await self.browser.new_context(), self.complaints, self.server.url)


@pytest_asyncio.fixture(loop_scope="session")
async def office(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> AsyncIterator[Office]:
    server = make_server(DATABASE_URL=database_url).start()
    page = await browsers.open_page(await browser.new_context(), complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    yield Office(page, server, browser, complaints)
    for context in browser.contexts:
        await context.close()


async def connect(page: Page, url: str) -> None:
    """An OpenAI-compatible provider, from the tab Connections."""
    openai = page.locator(".block").filter(has=page.get_by_role("heading", name="OpenAI-compatible"))
    while await openai.locator(".connection").count():
        await openai.get_by_label("Remove connection").first.click()
    await openai.get_by_role("button", name="Add a connection").click()
    await openai.get_by_label("Address").fill(url)
    await openai.get_by_role("switch").check()
    await openai.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Connections saved.")).to_be_visible()


async def test_an_admin_adds_a_person_who_waits_and_is_let_in(office: Office) -> None:
    page = office.page
    await settings(page, "People")
    await add_person(page, "Bob", BOB, "pending")
    bob = await office.visitor()
    await sign_in(bob, BOB)
    await expect(bob.get_by_role("heading", name="Almost there")).to_be_visible()
    await page.get_by_label("Role of Bob").select_option("user")
    await expect(page.get_by_text("Bob is now user.")).to_be_visible()
    await bob.get_by_role("button", name="Check again").click()
    await expect(bob.locator(".account-name")).to_have_text("Bob")


async def test_an_admin_connects_another_provider(office: Office, upstream: Upstream) -> None:
    page = office.page
    await settings(page, "Connections")
    ollama = page.locator(".block").filter(has=page.get_by_role("heading", name="Ollama"))
    await expect(ollama).to_be_visible()
    while await ollama.locator(".connection").count():
        await ollama.get_by_label("Remove connection").first.click()
    await ollama.get_by_role("button", name="Add a connection").click()
    await ollama.get_by_label("Address").fill(upstream.url)
    await ollama.get_by_role("button", name="Test").click()
    await expect(page.get_by_text("The connection works")).to_be_visible()
    switch = ollama.get_by_role("switch")
    if not await switch.is_checked():
        await switch.check()
    await ollama.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Connections saved.")).to_be_visible()
    await page.keyboard.press("Escape")
    stored = await page.evaluate("fetch('/ollama/config').then((reply) => reply.json())")
    assert stored["OLLAMA_BASE_URLS"] == [upstream.url]


async def test_an_admin_opens_a_model_to_everyone(office: Office, upstream: Upstream) -> None:
    page = office.page
    await settings(page, "Models")
    # The built-in model is everybody's without a word of an admin.
    await expect(page.get_by_role("switch", name="Everyone may use Eliza")).to_be_checked()
    await page.get_by_role("tab", name="People").click()
    await add_person(page, "Bob", BOB, "user")
    await page.get_by_role("tab", name="Connections").click()
    await connect(page, upstream.openai_url)

    await page.get_by_role("tab", name="Models", exact=True).click()
    await page.get_by_label("Find a model").fill("fix")
    await expect(page.get_by_text("1 model", exact=True)).to_be_visible()
    everyone = page.get_by_role("switch", name="Everyone may use fixed")
    await expect(everyone).not_to_be_checked()
    await everyone.focus()
    async with page.expect_response("**/api/models"):
        await page.keyboard.press("Space")
    await expect(everyone).to_be_checked()
    await expect(everyone).to_be_focused()

    bob = await office.visitor()
    await sign_in(bob, BOB)
    await expect(bob.locator(".model-name")).to_have_text("fixed")
    await bob.get_by_label("Your message").fill("Hello")
    await bob.keyboard.press("Enter")
    await expect(answer(bob)).to_have_text(fixed_text().strip())

    shown = page.get_by_role("switch", name="fixed is shown")
    for switch in (shown, everyone):
        async with page.expect_response("**/api/models"):
            await switch.uncheck()
    async with page.expect_response("**/api/models"):
        await shown.check()
    await page.get_by_label("Ask the connections again").click()
    await expect(everyone).not_to_be_checked()
    await expect(shown).to_be_checked()
    await bob.reload()
    await expect(bob.locator(".model-name")).to_have_text("No model")


async def test_a_switch_that_the_server_refuses_goes_back(office: Office) -> None:
    office.complaints.expect("422 ")
    page = office.page

    async def spoil(route: Route) -> None:
        await route.continue_(post_data={"id": "eliza"})

    await settings(page, "Models")
    everyone = page.get_by_role("switch", name="Everyone may use Eliza")
    await expect(everyone).to_be_checked()
    await page.route("**/api/v1/models/create", spoil)
    await everyone.click()
    await expect(page.get_by_role("alert").get_by_text("Field required")).to_be_visible()
    await expect(everyone).to_be_checked()
    await page.unroute("**/api/v1/models/create")
    async with page.expect_response("**/api/models"):
        await everyone.uncheck()
    await expect(everyone).not_to_be_checked()


async def test_an_answer_has_the_name_of_its_model_after_a_reload(office: Office) -> None:
    page = office.page
    await page.get_by_label("Your message").fill("I need a holiday.")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message-from")).to_have_text("Eliza")
    await expect(page).to_have_url(re.compile("/c/"))
    await expect(running(page)).to_have_count(0)
    await page.reload()
    await expect(answer(page)).to_contain_text("What would a holiday change for you?")
    await expect(page.locator(".message-from")).to_have_text("Eliza")


async def test_a_question_is_answered_from_the_documentation_with_a_link_that_leads_there(office: Office) -> None:
    page = office.page
    await page.get_by_label("Your message").fill("How do I back up and restore?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("From the documentation: How do I back up and restore?")
    async with page.context.expect_page() as opened:
        await answer(page).get_by_role("link", name="How do I back up").click()
    manual = await opened.value
    heading = manual.get_by_role("heading", name="How do I back up and restore?")
    await expect(heading).to_be_in_viewport()
    await manual.get_by_role("link", name="the changelog").click()
    await expect(manual.get_by_role("heading", name="Changelog")).to_be_visible()
    await manual.get_by_role("link", name="Settings", exact=True).click()
    await expect(manual).to_have_title("Configuration")
    await manual.goto(f"{office.server.url}/static/manual.html?docs/architecture/configuration.md#BUILTIN_MODEL")
    await expect(manual.locator("tr:target")).to_contain_text("Eliza")
    await manual.goto(f"{office.server.url}/static/manual.html?README.md")
    picture = manual.get_by_role("img", name="A conversation with the built-in model")
    await expect(picture).to_have_js_property("complete", value=True)
    assert await picture.evaluate("(image) => image.naturalWidth") > 100
    await manual.goto(f"{office.server.url}/static/manual.html?../../etc/passwd.md")
    await expect(manual.get_by_text("There is no such page")).to_be_visible()
    office.complaints.expect("404 ")
    await manual.goto(f"{office.server.url}/static/manual.html?docs/nothing.md")
    await expect(manual.get_by_text("There is no such page")).to_be_visible()


async def test_what_the_environment_fixes_is_shown_and_locked(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    server = make_server(
        DATABASE_URL=database_url,
        ENABLE_SIGNUP="true",
        OPENAI_API_BASE_URL="http://127.0.0.1:9/v1",
        OPENAI_API_KEY="sk-1",
    ).start()
    page = await browsers.open_page(await browser.new_context(), complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await settings(page, "People")
    await expect(page.get_by_text("Fixed by ENABLE_SIGNUP in the server")).to_be_visible()
    await expect(page.get_by_label("People may sign up by themselves")).to_be_disabled()
    await expect(page.get_by_label("Role of new accounts")).to_be_enabled()
    await page.get_by_role("tab", name="Connections", exact=True).click()
    openai = page.locator(".block").filter(has=page.get_by_role("heading", name="OpenAI-compatible"))
    await expect(openai.get_by_text("Fixed by OPENAI_API_BASE_URL, OPENAI_API_KEY in the server")).to_be_visible()
    await expect(openai.get_by_label("Address")).to_be_disabled()
    await expect(openai.get_by_label("Key", exact=True)).to_be_disabled()
    await expect(openai.get_by_role("button", name="Add a connection")).to_be_disabled()
    await expect(openai.get_by_role("switch")).to_be_enabled()
    await browser.contexts[0].close()


async def test_documents_are_found_by_meaning_once_an_engine_is_chosen(office: Office, upstream: Upstream) -> None:
    page = office.page
    await settings(page, "Documents")
    found = page.locator(".block").filter(has=page.get_by_role("heading", name="Finding"))
    await expect(found.get_by_role("status")).to_contain_text("0 documents, found by their words. The model ")
    await found.get_by_label("What finds by meaning").select_option("openai")
    await found.get_by_label("Its model").fill("embed")
    await found.get_by_label("Address").fill(upstream.openai_url)
    await found.get_by_role("button", name="Save").click()
    await expect(found.get_by_role("status")).to_have_text("0 documents, found by their words and by meaning.")
    answers = page.locator(".block").filter(has=page.get_by_role("heading", name="Answers"))
    await answers.get_by_label("Passages for a question").fill("7")
    await answers.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Settings saved.").last).to_be_visible()
    await page.reload()
    await settings(page, "Documents")
    await expect(page.get_by_label("Passages for a question")).to_have_value("7")
    await expect(page.get_by_label("What finds by meaning")).to_have_value("openai")
