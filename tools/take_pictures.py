"""Take the README's pictures of the built-in page, talking with the built-in model; run by hand when the page changes."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.async_api import Browser, Page, expect  # noqa: E402

from tests.support import browser as browsers  # noqa: E402
from tests.support.page import EMAIL, answer, running, sign_in, sign_up  # noqa: E402
from tests.support.server import Server  # noqa: E402

PICTURES = ROOT / "docs" / "images"
EARLIER = (
    "How do I add people?",
    "I remember the smell of my grandmother's kitchen.",
    "I dreamed about a harbour full of paper boats.",
)
TALK = ("How do I connect Ollama?", "But first I need a holiday.", "My boss wants everything at once.")
WIDE: dict[str, Any] = {
    "viewport": {"width": 1120, "height": 720},
    "device_scale_factor": 1.25,
    "color_scheme": "light",
}
PHONE: dict[str, Any] = browsers.phone() | {
    "viewport": {"width": 390, "height": 720}, "device_scale_factor": 1.5, "color_scheme": "dark",
}  # fmt: skip


async def say(page: Page, text: str) -> None:
    """Says something and waits for the whole answer."""
    await page.get_by_label("Your message").fill(text)
    await page.keyboard.press("Enter")
    await expect(page.locator(".message[data-role=user]").last).to_contain_text(text)
    await expect(answer(page)).to_contain_text(re.compile("[.?]"))
    await expect(running(page)).to_have_count(0, timeout=20_000)


async def open_page(browser: Browser, server: Server, options: dict[str, Any]) -> Page:
    context = await browser.new_context(**options, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(server.url)
    return page


async def take(page: Page, name: str) -> None:
    await page.locator(".message .prose").last.scroll_into_view_if_needed()
    await page.wait_for_timeout(1000)  # what moves has come to rest
    await page.screenshot(path=PICTURES / name)
    print(f"{name}: {(PICTURES / name).stat().st_size} bytes")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            async with browsers.launch() as browser:
                page = await open_page(browser, server, WIDE)
                await sign_up(page, "Ada Example", EMAIL)
                for text in EARLIER:
                    await say(page, text)
                    await page.get_by_role("button", name="New chat").first.click()
                for text in TALK:
                    await say(page, text)
                await page.mouse.move(0, 0)
                await take(page, "chat.png")
                phone = await open_page(browser, server, PHONE)
                await sign_in(phone, EMAIL)
                await phone.get_by_label("Your message").wait_for()
                await phone.goto(page.url)
                await expect(answer(phone)).to_contain_text(re.compile("[.?]"))
                await take(phone, "phone.png")
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
