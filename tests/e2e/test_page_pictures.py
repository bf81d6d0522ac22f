"""Pictures go along with a message on the built-in page: chosen, pasted, dropped."""

import base64

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support.page import Visit, answer, running
from tests.support.pictures import picture, png

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
HAND_OVER = """([how, name, kind, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0))], name, { type: kind }));
    const target = document.getElementById('composer-input');
    target.dispatchEvent(how === 'paste' ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


async def hand_over(page: Page, how: str, name: str, kind: str, content: bytes) -> None:
    await page.evaluate(HAND_OVER, [how, name, kind, base64.b64encode(content).decode()])


async def test_a_picture_is_chosen_pasted_dropped_and_sent(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    tray = page.get_by_role("list", name="Attachments").get_by_role("img")
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Attach files").click()
    await (await choosing.value).set_files({"name": "one.png", "mimeType": "image/png", "buffer": png(1)})
    await expect(tray).to_have_count(1)
    await hand_over(page, "paste", "two.png", "image/png", png(2))
    await expect(tray).to_have_count(2)
    await hand_over(page, "drop", "three.png", "image/png", png(3))
    await expect(tray).to_have_count(3)
    await page.get_by_role("button", name="Take two.png away").click()
    await expect(tray).to_have_count(2)
    await expect(page.get_by_label("Your message")).to_be_focused()
    await page.keyboard.type("What is this?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_have_text("What is this?")
    await expect(running(page)).to_have_count(0)
    await expect(tray).to_have_count(0)
    # The title of a new chat is asked for at the same time.
    contents = [each.body["messages"][-1]["content"] for each in visit.upstream.chats]
    [asked] = [content for content in contents if isinstance(content, list)]
    sent = [part["image_url"]["url"] for part in asked[1:]]
    assert sent == [picture(1), picture(3)]
    await page.reload()
    await expect(page.locator(".message[data-role=user] img")).to_have_count(2)
    for shown in await page.locator(".message[data-role=user] img").all():
        await expect(shown).to_have_js_property("naturalWidth", 36)


async def test_the_page_is_no_wider_than_a_phone(visit: Visit, browser: Browser) -> None:
    context = await browser.new_context(**browsers.phone(), storage_state=await visit.context.storage_state())
    page = await browsers.open_page(context, visit.complaints, visit.server.url)
    await expect(page.get_by_role("button", name="Attach files")).to_be_visible()
    assert await page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    await context.close()


async def test_a_picture_that_the_browser_cannot_read_is_refused(visit: Visit) -> None:
    page = visit.page
    await hand_over(page, "drop", "odd.tiff", "image/tiff", b"II*")
    await expect(page.get_by_role("alert")).to_have_text("odd.tiff is no picture that this browser can read.")
    await expect(page.get_by_role("list", name="Attachments")).to_be_hidden()
