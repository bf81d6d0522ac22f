"""Chromium for tests: started as quietly as it can be, and every complaint of a page is kept and told."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

# Nothing that asks the network by itself, and nothing that needs rights which a container has not.
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-dev-shm-usage", "--disable-quic",
    # Tests have no network but loopback, and neither has their browser.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    """The machine's own Chromium; CHROMIUM names another. Raises RuntimeError when there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        found = shutil.which(name) if name else None
        if found is not None:
            return found
    raise RuntimeError(
        "The browser tests need Chromium: install the system package `chromium`, or name it in CHROMIUM."
    )


@contextlib.asynccontextmanager
async def launch() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=executable(), args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Complaints:
    """What pages complained about: console errors, uncaught exceptions, requests that failed or were refused.

    `expect` takes texts that belong to a test: a complaint that contains one is no fault.
    """

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, *texts: str) -> None:
        self.expected += texts

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self._note(f"console: {message.text}", message.type == "error"))
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        # What a page gives up on when it is left is aborted, and no fault.
        page.on("requestfailed", lambda r: self._note(f"{r.failure} {r.url}", r.failure != "net::ERR_ABORTED"))
        page.on("response", lambda reply: self._note(f"{reply.status} {reply.url}", reply.status >= 400))

    def _note(self, text: str, wrong: bool = True) -> None:
        # The browser's own line for a refused request comes beside the line with its address.
        if wrong and "Failed to load resource" not in text:
            self.found.append(text)

    @property
    def faults(self) -> list[str]:
        return [text for text in self.found if not any(part in text for part in self.expected)]


async def open_page(context: BrowserContext, complaints: Complaints, url: str) -> Page:
    """A new tab at this address."""
    page = await context.new_page()
    complaints.listen(page)
    await page.goto(url)
    return page


def phone() -> dict[str, Any]:
    """The context of a small phone that is touched."""
    return {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
