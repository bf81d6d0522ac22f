"""Mixed load for a while: the memory of a process stops growing, and it keeps no descriptors.

`OUI_SOAK_SECONDS=600` makes it last as long as the promise is about; a minute shows what leaks fast.
"""

import asyncio
import os
import time
from collections.abc import Callable

import psutil
import pytest

from tests.faults.fleet import Fleet, make_fleet
from tests.faults.test_fleet import is_over
from tests.support.server import Server
from tests.support.upstream import Upstream

SECONDS = float(os.environ.get("OUI_SOAK_SECONDS", "60"))
DATABASES = ["sqlite", "postgresql"] if "OUI_SOAK_SECONDS" in os.environ else ["sqlite"]
# MB that the memory may grow in a minute, after it has grown to what the load needs: that takes so many rounds of requests.
SLOPE = 1.0
WARM = 800
# So often it is looked for so long that it does not.
WINDOWS = 4
pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(3 * SECONDS + 300)]


class Load:
    """What goes on until `over`. rounds: how often all kinds of requests were made."""

    def __init__(self) -> None:
        self.over = False
        self.rounds = 0


async def chats(fleet: Fleet, load: Load) -> None:
    """Questions of pages that come and go, each in a new chat that is then removed."""
    while not load.over:
        async with fleet.page() as page:
            for _ in range(3):
                body = page.ask("slow", "Tell me", max_tokens=20)
                chat_id = (await page.post(body))["chat_id"]
                await page.until(lambda p, i=body["id"]: is_over(p, i), timeout=30)
                await page.stored(chat_id)
                assert (await page.http.delete(f"/api/v1/chats/{chat_id}")).status_code == 200


async def requests(fleet: Fleet, load: Load) -> None:
    """API streams, whole answers, lists, a search, and a refusal."""
    question = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]}
    while not load.over:
        load.rounds += 1
        for stream in (True, False):
            reply = await fleet.request("POST", "/api/chat/completions", json=question | {"stream": stream})
            assert reply.status_code == 200
        for path in ("/api/v1/chats/?page=1", "/api/v1/chats/search?text=fox", "/api/models", "/api/config"):
            await fleet.get(path)
        assert (await fleet.request("POST", "/api/chat/completions", json={"model": "none"})).status_code >= 400
        await asyncio.sleep(0.02)


def slope(points: list[tuple[float, float]]) -> float:
    """Of the straight line that lies best through the points."""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


async def watched(process: psutil.Process, seconds: float) -> tuple[list[tuple[float, float]], list[int]]:
    """What a process has for a while: (minutes, MB) of memory, and descriptors."""
    began = time.monotonic()
    memory: list[tuple[float, float]] = []
    descriptors: list[int] = []
    while time.monotonic() < began + seconds:
        await asyncio.sleep(0.5)
        memory.append(((time.monotonic() - began) / 60, process.memory_info().rss / 2**20))
        descriptors.append(process.num_fds())
    return memory, descriptors


@pytest.mark.parametrize("database_kind", DATABASES, indirect=True)
async def test_memory_and_descriptors_stop_growing(
    make_server: Callable[..., Server], database_url: str, upstream: Upstream
) -> None:
    environment = {
        "DATABASE_URL": database_url, "OPENAI_API_BASE_URLS": upstream.openai_url, "OPENAI_API_KEYS": "sk",
        # Else what is kept of a growing file grows, for an hour and up to its bound.
        "DATABASE_SQLITE_PRAGMA_CACHE_SIZE": "-400",
    }  # fmt: skip
    fleet = make_fleet(make_server, 1, 1, **environment)
    await fleet.start()
    await fleet.models_are_there()
    process = psutil.Process(fleet.servers[0].pid)
    began = time.monotonic()
    load = Load()
    going = [asyncio.create_task(work(fleet, load)) for work in (chats, chats, chats, requests, requests)]
    # What it needs at all it has then: on a busy machine later.
    while load.rounds < WARM or time.monotonic() < began + SECONDS / 2:
        assert not any(task.done() for task in going)
        await asyncio.sleep(0.5)
    # What leaks grows in each of them; a step of the allocator falls into one.
    for _ in range(WINDOWS):
        memory, descriptors = await watched(process, SECONDS / 2)
        if slope(memory) < SLOPE:
            break
    load.over = True
    await asyncio.gather(*going)
    assert slope(memory) < SLOPE, memory[:: max(1, len(memory) // 20)]
    middle = len(descriptors) // 2
    assert max(descriptors[middle:]) <= max(descriptors[:middle]) + 10, descriptors
