"""What the browser tests do in the built-in page again and again."""

from playwright.async_api import Locator, Page, expect

EMAIL = "ada@example.com"
BOB = "bob@example.com"
PASSWORD = "a long enough password"


def running(page: Page) -> Locator:
    return page.locator(".message[data-running], .waiting:visible")


def answer(page: Page) -> Locator:
    return page.locator(".message[data-role=assistant]").last.locator(".prose")


async def settings(page: Page, tab: str) -> None:
    """The settings dialog at one of its tabs."""
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Settings").click()
    await page.get_by_role("tab", name=tab, exact=True).click()


async def add_person(page: Page, name: str, email: str, role: str) -> None:
    """A new account, from the tab People."""
    add = page.locator("form", has=page.get_by_role("button", name="Create account"))
    await add.get_by_label("Name").fill(name)
    await add.get_by_label("E-mail").fill(email)
    await add.get_by_label("Password").fill(PASSWORD)
    await add.get_by_label("Role").select_option(role)
    await add.get_by_role("button", name="Create account").click()
    await expect(page.get_by_text("2 people")).to_be_visible()


async def sign_in(page: Page, email: str) -> None:
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")


async def sign_up(page: Page, name: str, email: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
