"""Chromium for tests: started as quietly as it can be, and every complaint of a page is kept and told."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Playwright, Request, async_playwright, expect

# Nothing that asks the network by itself, and nothing that needs rights which a container has not.
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-dev-shm-usage", "--disable-quic",
    # A microphone that beeps, and nobody who is asked whether it may be heard.
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    # Tests have no network but loopback, and neither has their browser.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)  # fmt: skip
# How long a page may take to show what is expected, in milliseconds: the tests of other processors' seconds run beside it.
expect.set_options(timeout=60_000)
# How long pages may go on to ask when their silence is waited for.
SILENCE_SECONDS = 60
# The browser's own line for a refused request, which comes beside the line with its address; and what it says of a page that is
# left, or closes its connection, while that is being made.
HARMLESS = ("Failed to load resource", "WebSocket is closed before the connection is established")
# The first is the same without what only windows need: two thirds of the CPU.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    """The machine's own Chromium; CHROMIUM names another. Raises RuntimeError when there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        found = shutil.which(name) if name else None
        if found is not None:
            return found
    raise RuntimeError(
        "The browser tests need Chromium: install the system package `chromium-headless-shell`, or name it in CHROMIUM."
    )


@contextlib.asynccontextmanager
async def launch(*arguments: str) -> AsyncIterator[Browser]:
    """arguments: more of Chromium's."""
    async with keep(*arguments) as kept:
        yield await kept.browser()


class Kept:
    """A browser that several tests use one after the other, in contexts of their own: its start takes a second."""

    def __init__(self, driver: Playwright, arguments: tuple[str, ...] = ()) -> None:
        self._driver = driver
        self._arguments = [*QUIET, *arguments]
        self._browser: Browser | None = None

    async def browser(self) -> Browser:
        """The one that runs; another, where a test has ended it."""
        if self._browser is None or not self._browser.is_connected():
            self._browser = await self._driver.chromium.launch(executable_path=executable(), args=self._arguments)
        return self._browser

    async def close(self) -> None:
        if self._browser is not None:
            await self._browser.close()


@contextlib.asynccontextmanager
async def keep(*arguments: str) -> AsyncIterator[Kept]:
    """For browsers of the running event loop. arguments: more of Chromium's."""
    async with async_playwright() as driver:
        kept = Kept(driver, arguments)
        try:
            yield kept
        finally:
            await kept.close()


@dataclass
class Complaints:
    """What pages complained about: console errors, uncaught exceptions, requests that failed or were refused.

    `expect` takes texts that belong to a test: a complaint that contains one is no fault.
    """

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    # What pages have asked for and wait for.
    asked: set[Request] = field(default_factory=set)

    def expect(self, *texts: str) -> None:
        self.expected += texts

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self._note(f"console: {message.text}", message.type == "error"))
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        # What a page gives up on when it is left is aborted, and no fault.
        page.on("requestfailed", lambda r: self._note(f"{r.failure} {r.url}", r.failure != "net::ERR_ABORTED"))
        page.on("response", lambda reply: self._note(f"{reply.status} {reply.url}", reply.status >= 400))
        own: set[Request] = set()

        def asked(request: Request) -> None:
            own.add(request)
            self.asked.add(request)

        def over(request: Request) -> None:
            own.discard(request)
            self.asked.discard(request)

        page.on("request", asked)
        page.on("requestfinished", over)
        page.on("requestfailed", over)
        # Of what a page waited for when it was closed nothing more is told.
        page.on("close", lambda _: self.asked.difference_update(own))

    async def silence(self) -> None:
        """Waits until pages have asked for nothing for a while. (Playwright's `networkidle` is over once a page has loaded.)

        Raises AssertionError when they still ask after SILENCE_SECONDS.
        """
        still = 0
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                while still < 10:
                    await asyncio.sleep(0.05)
                    still = 0 if self.asked else still + 1
        except TimeoutError:
            waiting = sorted(f"{request.method} {request.url}" for request in self.asked)
            raise AssertionError(f"pages never fell silent; asked for and not answered: {waiting}") from None

    def _note(self, text: str, wrong: bool = True) -> None:
        if wrong and not any(part in text for part in HARMLESS):
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
