"""Texts are read in a process of their own, whatever is in them: the server goes on."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from open_webui.errors import BadRequest
from open_webui.plugins.sources import Sources
from tests.open_webui.plugins.test_reading import ADDER
from tests.support.turns import frozen_heap, slowness


@pytest.fixture
async def sources() -> AsyncIterator[Sources]:
    made = Sources()
    yield made
    await made.close()


async def test_all_that_it_is_asked(sources: Sources) -> None:
    read = await sources.read(ADDER)
    assert (read.kind, read.manifest["title"], read.members.methods) == ("tool", "Adder", ("add_numbers",))
    assert await sources.check(ADDER, "Valves", {"limit": 3}) == {"limit": 3}
    assert await sources.compare("a\nb", "a\nc", "old", "new") == [
        "--- old",
        "+++ new",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]
    assert await sources.compare("a", "a", "old", "new") == []
    assert await sources.format("x = 1\n") == "x = 1\n"
    for asked in (sources.read("x=1"), sources.check(ADDER, "Valves", {"limit": "x"}), sources.format("def (")):
        with pytest.raises(BadRequest):
            await asked


async def test_a_text_that_takes_too_long_costs_the_server_nothing() -> None:
    """Names of models, each with many fields of the next: written out they would be without end."""
    classes = "".join(
        f"class C{n}(BaseModel):\n" + "".join(f"    f{k}: C{n + 1}\n" for k in range(40)) for n in range(7, -1, -1)
    )
    sources = Sources(seconds=2)
    try:
        loop, longest, slow = asyncio.get_running_loop(), 0.0, slowness()
        with frozen_heap():
            asked = asyncio.create_task(sources.read(f"{classes}class Tools:\n    def run(self, c: C0): ..."))
            while not asked.done():
                before = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - before)
                await asyncio.wait({asked}, timeout=0.01)
        with pytest.raises(BadRequest):
            asked.result()
        assert longest < 0.1 * max(slow, slowness())
        # Nobody waits for what somebody else has sent. Its process begins now, which takes a slow machine a while.
        sources._seconds = 60
        assert (await sources.read("class Pipe: ...")).kind == "pipe"
        assert loop.is_running()
    finally:
        await sources.close()
