"""Models that people make on the built-in page, with versions and shares; what an answer took; and diagrams in answers."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.test_page_tools import shot
from tests.support import browser as browsers
from tests.support.page import BOB, PASSWORD, Visit, answer, settings, sign_in

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
DRAWN = "```mermaid\ngraph TD\n  A[Ask] --> B{Known?}\n  B -->|yes| C[Answer]\n```"
HOSTILE = '```mermaid\ngraph TD\n  A["<img src=x onerror=alert(1)>"] --> B\n  click A call alert(1)\n```'


async def test_the_life_of_a_model_of_ones_own(visit: Visit, browser: Browser) -> None:
    page, url = visit.page, visit.server.url
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "user"}
    assert (await visit.context.request.post(f"{url}/api/v1/auths/add", data=person)).ok
    await settings(page, "Own models")
    await expect(page.get_by_text("There is no model of somebody’s own for you yet.")).to_be_visible()
    await page.get_by_role("button", name="Make a model").click()
    await page.get_by_label("Name", exact=True).fill("Tea master")
    await expect(page.get_by_label("Id", exact=True)).to_have_value("tea-master")
    await page.get_by_label("Made of").select_option("echo")
    await page.get_by_label("Prompt", exact=True).fill("Speak of tea.\nBe brief.")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    await page.get_by_label("Prompt", exact=True).fill("Speak of tea.\nBe wordy.")
    await page.get_by_label("What changed").fill("longer answers")
    await page.get_by_role("button", name="Save", exact=True).click()
    await shot(page, "own-model")
    # Compared, and brought back.
    await page.get_by_role("button", name="Compare").click()
    diff = page.locator(".diff")
    await expect(diff).to_contain_text("-Be brief.")
    await expect(diff).to_contain_text("+Be wordy.")
    await page.get_by_role("button", name="Restore the earlier one").click()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("Speak of tea.\nBe brief.")
    # Shared with one person, who uses it and can't change it.
    await page.get_by_role("button", name="Share", exact=True).click()
    sharing = page.get_by_role("dialog", name="Share a model")
    await sharing.get_by_label("Chosen people and groups").check()
    await sharing.get_by_label("Find people and groups").fill("Bob")
    await sharing.get_by_role("button", name="Bob").click()
    await expect(sharing.get_by_label("Take Bob off the list")).to_be_visible()
    await sharing.get_by_label("Close").click()
    await expect(page.get_by_text("Shared with others.")).to_be_attached()
    await base_is_shared_with_bob(page)
    await is_used_by_bob(visit, browser)


async def base_is_shared_with_bob(page: Page) -> None:
    """What it is made of is shared under Models."""
    await page.get_by_role("tab", name="Models", exact=True).click()
    await page.get_by_label("Find a model").last.fill("echo")
    await page.get_by_role("button", name="Who may use echo").click()
    who = page.get_by_role("dialog", name="Who may use echo")
    await who.get_by_label("Chosen people and groups").check()
    await who.get_by_label("Find people and groups").fill("Bob")
    await who.get_by_role("button", name="Bob").click()
    await expect(who.get_by_label("Take Bob off the list")).to_be_visible()
    await who.get_by_label("Close").click()
    await page.keyboard.press("Escape")


async def is_used_by_bob(visit: Visit, browser: Browser) -> None:
    # Before he has signed in.
    visit.complaints.expect("401 ")
    context = await browser.new_context(viewport={"width": 1280, "height": 820})
    theirs = await browsers.open_page(context, visit.complaints, visit.server.url)
    await sign_in(theirs, BOB)
    await theirs.locator(".model-button").click()
    await theirs.get_by_role("option", name=re.compile("^Tea master")).click()
    await theirs.get_by_label("Your message").fill("Hello")
    await theirs.keyboard.press("Enter")
    await expect(answer(theirs)).to_have_text("Hello")
    await expect(theirs.locator(".tokens")).to_contain_text("token")
    await context.close()


async def test_diagrams_are_drawn_and_do_nothing_else(visit: Visit) -> None:
    page = visit.page
    await visit.say(f"{DRAWN}\n\n{HOSTILE}\n\n```mermaid\nno diagram\n```", "echo")
    diagrams = page.locator(".message[data-role=assistant]").get_by_role("group", name="Diagram")
    await expect(diagrams).to_have_count(2)
    for diagram in await diagrams.all():
        size = "(picture) => picture.decode().then(() => picture.naturalWidth)"
        assert await diagram.get_by_role("img").evaluate(size) > 40
    await expect(page.get_by_text("This diagram can’t be drawn")).to_have_count(1)
    await shot(page, "diagrams")
    # Its text is there for those who want it.
    code = page.get_by_text("B -->|yes| C[Answer]", exact=False).locator("visible=true")
    shown = page.locator(".message[data-role=assistant]").get_by_role("button", name="Text").first
    await expect(shown).to_have_attribute("aria-pressed", "false")
    before = await code.count()
    await shown.click()
    await expect(shown).to_have_attribute("aria-pressed", "true")
    await expect(code).to_have_count(before + 1)
