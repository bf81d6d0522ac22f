"""Documents are found by what they mean once there is an engine for embeddings, also those that were there before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.open_webui.chat.test_documents import FRUIT, RIVER, put_base, put_file
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


async def until_embedded(admin: Actor, documents: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            state: dict[str, Any] = (await admin.client.get("/api/v1/retrieval/state")).json()
            if state["embedded"] == documents and state["searched"] == state["engine"]:
                return state
            await asyncio.sleep(0.05)


async def test_an_engine_that_comes_later_embeds_what_is_there(live: Live, admin: Actor, upstream: Upstream) -> None:
    await put_file(live, admin, "f1", FRUIT)
    await put_file(live, admin, "f2", RIVER)
    await put_base(live, admin, "b1", "f1", "f2")
    before = (await admin.client.get("/api/v1/retrieval/state")).json()
    assert (before["engine"], before["documents"], before["embedded"]) == (None, 2, 0)
    assert before["why"]
    form = {
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_EMBEDDING_MODEL": "embed",
        "openai_config": {"url": upstream.openai_url, "key": "k"},
    }
    assert (await admin.client.post("/api/v1/retrieval/embedding/update", json=form)).status_code == 200
    state = await until_embedded(admin, 2)
    assert "embed" in state["engine"]
    ask = {"collection_name": "b1", "query": FRUIT, "k": 2}
    found = (await admin.client.post("/api/v1/retrieval/query/doc", json=ask)).json()
    assert found["documents"][0][0] == FRUIT
    assert found["metadatas"][0][0]["scores"]["vectors"] == pytest.approx(1.0, abs=1e-3)
    # What comes later is embedded, too.
    await admin.client.post("/api/v1/files/", files={"file": ("late.txt", b"Herons stand in the water.", "text/plain")})
    await until_embedded(admin, 3)
