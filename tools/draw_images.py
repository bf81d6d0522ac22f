"""Draw the server's own pictures from their SVG sources with headless Chromium; run by hand when a drawing changes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

STATIC = Path(__file__).resolve().parent.parent / "src" / "open_webui" / "static"
PERSON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#dfece7"/>
<circle cx="32" cy="25" r="11" fill="#12806a"/><path d="M10 60a22 22 0 0 1 44 0z" fill="#12806a"/></svg>"""
BUBBLE = "M32 4C16 4 4 15.6 4 30c0 7.9 3.5 14.8 9.2 19.5L11.6 60l12-4.7c2.7.6 5.5.9 8.4.9 16 0 28-11.6 28-26S48 4 32 4z"


def mark(fill: str, tick: str, frame: str = "0 0 64 64", ground: str = "none") -> str:
    """The logo, a speech bubble that says yes, in the given colours."""
    x, y, width, height = frame.split()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{frame}">'
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{ground}"/><path d="{BUBBLE}" fill="{fill}"/>'
        f'<path d="M19.5 31.5l8.5 8.5 17-18" fill="none" stroke="{tick}" stroke-width="6.5" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )


@dataclass(frozen=True)
class Picture:
    """One PNG: its name, its width and height in pixels, and its drawing."""

    name: str
    size: int
    svg: str


GREEN = mark("#12806a", "#ffffff")
PICTURES = (
    Picture("favicon.png", 96, GREEN),
    Picture("favicon-dark.png", 96, mark("#74ccb7", "#0a1f1a")),
    Picture("logo.png", 500, GREEN),
    Picture("model.png", 128, mark("#12806a", "#ffffff", "-14 -14 92 92", "#f3f1ec")),
    Picture("splash.png", 256, GREEN),
    Picture("splash-dark.png", 256, mark("#74ccb7", "#0a1f1a")),
    Picture("apple-touch-icon.png", 180, mark("#ffffff", "#12806a", "-16 -16 96 96", "#12806a")),
    Picture("icon-192.png", 192, mark("#ffffff", "#12806a", "-16 -16 96 96", "#12806a")),
    Picture("icon-512.png", 512, mark("#ffffff", "#12806a", "-16 -16 96 96", "#12806a")),
    Picture("user.png", 128, PERSON),
)


def draw(page: Page, picture: Picture) -> None:
    """Fill a page of exactly the picture's size with the drawing and take its image, transparent where nothing is drawn."""
    page.set_viewport_size({"width": picture.size, "height": picture.size})
    page.set_content(f"<style>body{{margin:0}}svg{{display:block;width:100vw;height:100vh}}</style>{picture.svg}")
    page.screenshot(path=str(STATIC / picture.name), omit_background=True)


def main(argv: list[str]) -> int:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    path = parser.parse_args(argv).chromium
    (STATIC / "favicon.svg").write_text(GREEN + "\n", encoding="utf-8")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for picture in PICTURES:
            draw(page, picture)
            print(f"{picture.name}: {(STATIC / picture.name).stat().st_size} bytes")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
