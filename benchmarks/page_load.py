"""How soon the built-in page can be written in, and what it loads for that: on a telephone, by Chromium.

    python benchmarks/page_load.py [--times 5]

A telephone is Chromium's, with a processor a quarter as fast as this machine's. It loads the page with an empty cache and again
with a full one: over the machine's own network, over Wi-Fi (30 Mbit/s, 20 ms to the server and back), and over 4G (9 Mbit/s,
60 ms). Kilobytes are those of the page's own files, without the vendored ones: as they lie, and as they are sent.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measure import Client
from playwright.async_api import Browser, BrowserContext, async_playwright
from run import ADMIN, free_port, process

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import browser as browsers  # noqa: E402 - found beside this folder

SLOWER = 4
# Megabits a second down, milliseconds there and back.
NETWORKS = {"here": None, "Wi-Fi": (30, 20), "4G": (9, 60)}


class Load:
    """One load of the page: milliseconds until one can write, and bytes of its own files: raw, and as sent."""

    def __init__(self) -> None:
        self.took = 0.0
        self.raw = Counter[str]()
        self.sent = Counter[str]()
        self._own: dict[str, bool] = {}

    def listen(self, session: Any) -> None:
        session.on(
            "Network.responseReceived", lambda e: self._own.update({e["requestId"]: is_own(e["response"]["url"])})
        )
        session.on("Network.dataReceived", lambda e: self.raw.update({e["requestId"]: e["dataLength"]}))
        session.on("Network.loadingFinished", lambda e: self.sent.update({e["requestId"]: e["encodedDataLength"]}))

    def kilobytes(self, of: Counter[str]) -> float:
        return sum(size for request, size in of.items() if self._own.get(request)) / 1e3


def is_own(url: str) -> bool:
    return "/vendor/" not in url and "/api/" not in url and "/ws/" not in url


async def one(context: BrowserContext, url: str, network: tuple[int, int] | None) -> Load:
    page = await context.new_page()
    session, load = await context.new_cdp_session(page), Load()
    await session.send("Network.enable")
    await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    if network is not None:
        megabits, latency = network
        speed = {"downloadThroughput": megabits * 125_000, "uploadThroughput": megabits * 30_000, "latency": latency}
        await session.send("Network.emulateNetworkConditions", {"offline": False, **speed})
    load.listen(session)
    began = time.perf_counter()
    await page.goto(url, wait_until="commit")
    await page.get_by_label("Your message").wait_for(state="visible")
    load.took = (time.perf_counter() - began) * 1e3
    await page.close()
    return load


async def measured(browser: Browser, url: str, token: str, times: int) -> None:
    for name, network in NETWORKS.items():
        cold, warm = [], []
        for _ in range(times):
            context = await browser.new_context(**browsers.phone())
            await context.add_cookies([{"name": "token", "value": token, "url": url}])
            cold.append(await one(context, url, network))
            warm.append(await one(context, url, network))
            await context.close()
        last = cold[-1]
        times_of = [f"{statistics.median(each.took for each in loads):.0f} ms" for loads in (cold, warm)]
        bytes_of = f"{last.kilobytes(last.raw):.0f} KB of its own, {last.kilobytes(last.sent):.0f} as sent"
        print(f"{name:8}{times_of[0]} with an empty cache, {times_of[1]} with a full one; {bytes_of}", flush=True)


async def run(port: int, times: int) -> None:
    token = (await Client(port).post("/api/v1/auths/signup", ADMIN)).json()["token"]
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=browsers.executable())
        await measured(browser, f"http://127.0.0.1:{port}", token, times)
        await browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="oui-bench-") as folder:
        environment = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": folder, "PYTHONPATH": str(ROOT / "src")}
        with process(["-m", "open_webui.cli", "serve"], port, "/health", environment):
            asyncio.run(run(port, given.times))


if __name__ == "__main__":
    main()
