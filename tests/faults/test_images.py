"""kill -9 while an engine draws: the picture is made anew, once, and comes into the message whose answer is over by then."""

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.conftest import at_page, models_are_there
from tests.support.engines import engines
from tests.support.pictures import png
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_killed_while_a_picture_is_made(
    make_server: Callable[..., Server], database_url: str, upstream: Upstream
) -> None:
    async with engines() as engine:
        engine.hold = asyncio.Event()
        server = make_server(
            DATABASE_URL=database_url, OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream",
            ENABLE_BUILTIN_TOOLS="false", ENABLE_IMAGE_GENERATION="true", ENABLE_IMAGE_PROMPT_GENERATION="false",
            IMAGES_OPENAI_API_BASE_URL=engine.url,
        )  # fmt: skip
        await asyncio.to_thread(server.start)
        async with at_page(server, new=True) as page:
            await models_are_there(page)
            body = page.ask("fixed", "Draw a cat", features={"image_generation": True})
            chat_id = (await page.post(body))["chat_id"]
            await asyncio.wait_for(engine.arrived.wait(), 60)
            server.kill()
        engine.hold.set()
        await asyncio.to_thread(server.start)
        async with at_page(server) as page, asyncio.timeout(90):
            while not (files := (await page.message(chat_id, body["id"])).get("files")):  # noqa: ASYNC110 - it is a row
                await asyncio.sleep(0.2)
            (entry,) = files
            assert (await page.http.get(entry["url"])).content == png(1)
            assert [one["id"] for one in (await page.http.get("/api/v1/images/made")).json()] == [entry["id"]]
    assert len(engine.bodies("/images/generations")) == 2
