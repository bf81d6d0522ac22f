"""Who may ask a model: people are asked once, whenever the next question comes."""

import asyncio

import pytest

from open_webui.services.mcp_leaves import Leaves

KEY = ("ann", "chat", "server")


@pytest.mark.parametrize("turns", range(10))
async def test_a_yes_holds_for_whoever_comes_at_any_moment(turns: int) -> None:
    leaves, asked = Leaves(), 0

    async def ask() -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return True

    first = asyncio.create_task(leaves.given(KEY, ask))
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await leaves.given(KEY, ask)
    assert await first
    assert asked == 1


async def test_a_no_holds_for_those_who_wait_with_it() -> None:
    leaves, gate = Leaves(), asyncio.Event()

    async def refuse() -> bool:
        await gate.wait()
        return False

    async def fail() -> bool:
        raise TimeoutError

    waiting = [asyncio.create_task(leaves.given(KEY, refuse)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [False] * 3
    # A question that fails stands in nobody's way.
    failed = await asyncio.gather(leaves.given(KEY, fail), return_exceptions=True)
    assert isinstance(failed[0], TimeoutError)

    async def allow() -> bool:
        return True

    assert await leaves.given(KEY, allow)
