"""Reading in turns: whatever the pace, the same answer; and what is not due is left in the socket."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import pytest

from open_webui.connections.base import Connection, ModelEntry
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.specs import Spec
from open_webui.errors import ProviderError
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

ASK = {"messages": [{"role": "user", "content": "hello there"}], "stream": True}


@pytest.fixture(params=["openai", "ollama"])
def provider(request: pytest.FixtureRequest, http: aiohttp.ClientSession, upstream: Upstream) -> Connection:
    if request.param == "openai":
        return OpenAIConnection(http, Spec(kind="openai", index=0, url=upstream.openai_url), 5)
    return OllamaConnection(http, Spec(kind="ollama", index=0, url=upstream.url, connection_type="local"), 5)


def entry(provider: Connection, model: str) -> ModelEntry:
    name = f"{model}:latest" if provider.kind == "ollama" else model
    return ModelEntry(id=name, name=name, remote_id=name, connection=provider.key, kind=provider.kind)


async def said(
    provider: Connection, model: str, wait: Callable[[], float], each: Callable[[str], Awaitable[None]] | None = None
) -> list[str]:
    """What each batch says, read at this pace."""
    batches = []
    async with provider.open(entry(provider, model), ASK) as reply:
        reply.pace(wait)
        async for batch in reply.batches():
            chunks = [msgspec.json.decode(chunk) for chunk in batch]
            batches.append("".join(c["delta"].get("content") or "" for k in chunks for c in k.get("choices") or ()))
            if each is not None:
                await each("".join(batches))
    return batches


@pytest.mark.parametrize("model", ["fixed", "slow", "garbage", "hugeline", "mute"])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.03])
async def test_the_answer_is_the_same_at_every_pace(provider: Connection, model: str, seconds: float) -> None:
    if model in {"hugeline", "garbage"}:
        # A line of 20 MB is refused or passed over, and what can't be read is told, at every pace.
        outcomes = []
        for wait in (0.0, seconds):
            try:
                outcomes.append("".join(await said(provider, model, lambda wait=wait: wait)))  # type: ignore[misc]
            except ProviderError as error:
                outcomes.append(error.detail)
        assert outcomes[0] == outcomes[1]
        return
    assert "".join(await said(provider, model, lambda: seconds)) == fixed_text()


@pytest.mark.parametrize("model", ["drop", "cut"])
async def test_an_answer_that_breaks_off_says_so_at_every_pace(provider: Connection, model: str) -> None:
    with pytest.raises(ProviderError):
        await said(provider, model, lambda: 0.01)


async def test_the_first_words_never_wait_and_what_comes_in_a_pause_comes_together(
    provider: Connection, upstream: Upstream
) -> None:
    pauses: list[float] = []

    def wait() -> float:
        pauses.append(0.2)
        # While it lasts, all the other words arrive.
        upstream.release(20)
        return pauses[-1]

    upstream.release(1)
    batches = await said(provider, "gated", wait)
    assert "".join(batches) == fixed_text()
    assert fixed_text().startswith(batches[0].strip()) or not batches[0]
    assert len([b for b in batches if b]) <= 3
    assert pauses


async def test_the_wait_is_asked_for_anew_each_time(provider: Connection, upstream: Upstream) -> None:
    asked = 0

    def wait() -> float:
        nonlocal asked
        asked += 1
        return 0.0

    async def next_word(_text: str) -> None:
        upstream.release(1)

    upstream.release(1)
    batches = await said(provider, "gated", wait, next_word)
    assert "".join(batches) == fixed_text()
    assert asked >= 19


async def test_leaving_in_a_pause_lets_the_provider_go(provider: Connection, upstream: Upstream) -> None:
    paused = asyncio.Event()

    def wait() -> float:
        paused.set()
        return 60.0

    reading = asyncio.create_task(said(provider, "gated", wait))
    upstream.release(1)
    async with asyncio.timeout(30):
        await paused.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
