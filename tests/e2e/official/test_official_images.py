"""The unmodified official frontend's pictures: made in a chat and in its playground, changed, and their settings."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.official.driver import Frontend
from tests.support.engines import Engines, engines
from tests.support.pictures import png

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("official")]
CONFIG = "/api/v1/images/config"


@pytest_asyncio.fixture(loop_scope="session")
async def engine() -> AsyncIterator[Engines]:
    async with engines() as played:
        yield played


@pytest_asyncio.fixture(loop_scope="session")
async def drawing(frontend: Frontend, engine: Engines) -> AsyncIterator[Frontend]:
    """The frontend at a server that makes and changes pictures; afterwards its settings are as they were."""
    before = await frontend.request("GET", CONFIG, None)
    on = dict.fromkeys(("ENABLE_IMAGE_GENERATION", "ENABLE_IMAGE_EDIT"), True)
    at = {
        f"IMAGES_{edit}OPENAI_API_{part}": value
        for edit in ("", "EDIT_")
        for part, value in (("BASE_URL", engine.url), ("KEY", "k"))
    }
    await frontend.request(
        "POST",
        f"{CONFIG}/update",
        before | on | at | {"IMAGE_GENERATION_ENGINE": "openai", "IMAGE_EDIT_ENGINE": "openai"},
    )
    yield frontend
    await frontend.open()
    await frontend.request("POST", f"{CONFIG}/update", before)


def shown(page: Page) -> Any:
    return page.locator("img[src*='/files/']")


async def are_seen(page: Page, count: int) -> None:
    await expect(shown(page)).to_have_count(count)
    await page.wait_for_function(
        "() => [...document.querySelectorAll(\"img[src*='/files/']\")].every((i) => i.complete && i.naturalWidth > 0)"
    )


async def switch_on(page: Page) -> None:
    """The composer's switch for pictures."""
    await page.get_by_role("button", name="Integrations").click()
    await (
        page.get_by_role("switch", name="Image")
        .or_(page.locator("[aria-checked]").filter(has_text="Image"))
        .first.click()
    )
    await page.keyboard.press("Escape")


async def test_a_picture_is_made_in_a_chat_and_is_there_after_a_reload(drawing: Frontend, engine: Engines) -> None:
    page = drawing.page
    await drawing.open()
    await drawing.choose("fixed")
    await switch_on(page)
    await drawing.say("Draw a cat")
    await are_seen(page, 1)
    await drawing.chat_url()
    assert len(engine.bodies("/images/generations")) == 1
    await page.reload()
    await are_seen(page, 1)


async def test_a_picture_that_is_attached_is_changed(drawing: Frontend, engine: Engines, tmp_path: Any) -> None:
    page, file = drawing.page, tmp_path / "cat.png"
    file.write_bytes(png(7))
    await drawing.open()
    await drawing.choose("fixed")
    await switch_on(page)
    await page.locator("input[type=file]").first.set_input_files(file)
    await expect(page.locator("img[alt='cat.png'], img[alt='Uploaded image'], .composer img").first).to_be_visible()
    await drawing.say("Give it a hat")
    await are_seen(page, 2)
    assert [name for name, _ in engine.bodies("/images/edits")[0]][-1] == "image"


async def test_the_playground_makes_and_changes_pictures(drawing: Frontend, engine: Engines, tmp_path: Any) -> None:
    page, file = drawing.page, tmp_path / "dog.png"
    await drawing.open("/playground/images")
    await page.locator("textarea").first.fill("A dog")
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/images/generations")) as made:
        await page.get_by_role("button", name=re.compile("Generate|Run|Create", re.IGNORECASE)).last.click()
    assert (await made.value).ok
    await are_seen(page, 1)
    file.write_bytes(png(8))
    await page.locator("input[type=file]").first.set_input_files(file)
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/images/edit")) as changed:
        await page.get_by_role("button", name=re.compile("Generate|Edit|Run|Create", re.IGNORECASE)).last.click()
    assert (await changed.value).ok
    await drawing.complaints.silence()


@pytest.mark.parametrize("name", ["openai", "comfyui", "automatic1111", "gemini"])
async def test_the_settings_are_saved_as_they_are_with_every_engine(
    drawing: Frontend, engine: Engines, name: str
) -> None:
    given = await drawing.request("GET", CONFIG, None)
    chosen = {"IMAGE_GENERATION_ENGINE": name, "IMAGE_EDIT_ENGINE": "openai" if name == "automatic1111" else name}
    at = {"AUTOMATIC1111_BASE_URL": engine.url, "COMFYUI_BASE_URL": engine.url, "IMAGES_EDIT_COMFYUI_BASE_URL": engine.url,
          "IMAGES_GEMINI_API_BASE_URL": engine.url, "IMAGES_EDIT_GEMINI_API_BASE_URL": engine.url, "IMAGES_GEMINI_API_KEY": "k",
          "IMAGES_EDIT_GEMINI_API_KEY": "k"}  # fmt: skip
    await drawing.request("POST", f"{CONFIG}/update", given | at | chosen)
    before = await drawing.request("GET", CONFIG, None)
    await drawing.open("/?settings=admin:images")
    dialog = drawing.page.get_by_role("dialog")
    await drawing.complaints.silence()
    async with drawing.page.expect_response(lambda r: r.url.endswith(f"{CONFIG}/update")) as saved:
        await dialog.get_by_role("button", name="Save", exact=True).first.click()
    assert (await saved.value).ok
    await drawing.complaints.silence()
    after = await drawing.request("GET", CONFIG, None)
    assert {key for key in before if before[key] != after[key]} == set()
