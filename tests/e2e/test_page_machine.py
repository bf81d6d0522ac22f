"""What an administrator does on the built-in page for the machine: models in its folder, names of providers, moods."""

import re
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support import tiny_gguf
from tests.support.browser import Complaints
from tests.support.page import EMAIL, answer, menu, running, settings, sign_up
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(120),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@dataclass(frozen=True)
class Machine:
    """An administrator's page, and the folder of the server's models."""

    page: Page
    models: Path

    async def tab(self, name: str) -> None:
        if await self.page.get_by_role("dialog", name="Settings").count() == 0:
            await settings(self.page, name)
        await self.page.get_by_role("tab", name=name, exact=True).click()


@pytest_asyncio.fixture(loop_scope="session")
async def machine(
    browser: Browser,
    make_server: Callable[..., Server],
    database_url: str,
    upstream: Upstream,
    complaints: Complaints,
) -> AsyncIterator[Machine]:
    server = make_server(
        DATABASE_URL=database_url,
        OPENAI_API_BASE_URLS=upstream.openai_url,
        OPENAI_API_KEYS="sk-1",
    ).start()
    context = await browser.new_context()
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    yield Machine(page, server.folder / "data" / "models")
    await context.close()


async def test_a_model_of_this_machine_is_found_loaded_asked_unloaded_and_removed(
    machine: Machine, tmp_path: Path, complaints: Complaints
) -> None:
    complaints.expect("403 ")
    page = machine.page
    await machine.tab("This machine")
    await expect(page.get_by_text("No model lies there yet.")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("other")
    await page.get_by_label("Where it comes from").fill("/etc/passwd")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    machine.models.mkdir(exist_ok=True)
    shutil.copyfile(
        tiny_gguf.write_gguf(tmp_path / "tiny.gguf", says="Hello from this machine."), machine.models / "tiny.gguf"
    )
    await page.get_by_label("Look at the folder again").click()
    row = page.locator(".row[data-name=tiny]")
    await expect(row).to_contain_text("not loaded")
    await row.get_by_label("Load tiny").focus()
    await page.keyboard.press("Enter")
    await expect(row).to_contain_text(re.compile(r"^tinyloaded"), timeout=60_000)
    await expect(page.get_by_text("of memory in use")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.locator(".model-button").click()
    await page.get_by_role("option", name=re.compile("^tiny")).click()
    await page.get_by_label("Your message").fill("Hi")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_have_text("Hello from this machine.", timeout=30_000)
    await machine.tab("This machine")
    await row.get_by_label("Unload tiny").click()
    await expect(row).to_contain_text("not loaded")
    # One that was added can be removed.
    await page.get_by_label("Name", exact=True).fill("renamed")
    await page.get_by_label("Where it comes from").fill("tiny.gguf")
    await page.keyboard.press("Enter")
    added = page.locator(".row[data-name=renamed]")
    await added.get_by_label("Remove renamed").click()
    await page.get_by_role("button", name="Remove", exact=True).click()
    await expect(added).to_have_count(0)
    assert (machine.models / "tiny.gguf").exists()


async def test_a_provider_has_a_name_and_its_models_a_prefix(
    browser: Browser, make_server: Callable[..., Server], database_url: str, upstream: Upstream, complaints: Complaints
) -> None:
    server = make_server(DATABASE_URL=database_url).start()
    page = await browsers.open_page(await browser.new_context(), complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await settings(page, "Connections")
    openai = page.locator(".block").filter(has=page.get_by_role("heading", name="OpenAI-compatible"))
    await expect(openai).to_be_visible()
    while await openai.locator(".connection").count():
        await openai.get_by_label("Remove connection").first.click()
    await openai.get_by_role("button", name="Add a connection").click()
    await openai.get_by_label("Address").fill(upstream.openai_url)
    await openai.get_by_label("Name, shown with its models").fill("The lab")
    await openai.get_by_label("Prefix of its models").fill("lab")
    await openai.get_by_role("switch").check()
    await openai.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Connections saved.")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.locator(".model-button").click()
    await page.get_by_role("combobox", name="Find a model").fill("lab.fixed")
    await expect(page.get_by_role("option")).to_have_text("fixedlab.fixed · The lab")
    await browser.contexts[0].close()


async def test_moods_for_all_models_and_for_one_chat(machine: Machine) -> None:
    page = machine.page
    await machine.tab("Moods")
    await page.get_by_label("All models have moods").check()
    await expect(page.get_by_text("Moods saved.").first).to_be_visible()
    # What is said of a change is gone after some seconds: that the next one is stored is seen by its request.
    async with page.expect_response(
        lambda reply: reply.request.method == "POST" and reply.url.endswith("/api/v1/configs/models")
    ) as stored:
        await page.get_by_label("Character").select_option("warm")
    assert (await stored.value).ok
    await expect(page.get_by_text("Moods saved.").last).to_be_visible()
    await page.get_by_role("tab", name="General").click()
    await page.get_by_role("tab", name="Moods").click()
    await expect(page.get_by_label("All models have moods")).to_be_checked()
    await expect(page.get_by_label("Character")).to_have_value("warm")
    await page.keyboard.press("Escape")
    await page.get_by_label("Your message").fill("What a wonderful day, I love it!")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/c/"))
    await expect(running(page)).to_have_count(0)
    await menu(page, "Mood")
    mood = page.get_by_role("dialog", name="Mood")
    await expect(mood.get_by_role("status")).to_have_text(re.compile("^Now: "))
    await expect(mood.get_by_role("meter").first).to_be_visible()
    await mood.get_by_label("Moods in this chat").select_option("Off")
    await expect(mood.get_by_role("status")).to_have_text("The next answer has no mood.")
    await mood.get_by_label("Moods in this chat").select_option("As the model says")
    await mood.get_by_label("Character").select_option("calm")
    await expect(mood.get_by_role("status")).to_have_text(re.compile("^Now: "))
    await page.keyboard.press("Escape")
    await menu(page, "Mood")
    await expect(mood.get_by_label("Character")).to_have_value("calm")
