"""The application with engines of pictures that a test plays."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.engines import Engines, engines
from tests.support.live import Live

Set = Callable[..., Awaitable[None]]


@pytest.fixture
async def engine() -> AsyncIterator[Engines]:
    async with engines() as played:
        yield played


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
def use(live: Live, engine: Engines) -> Set:
    """Sets an engine up; `more` are settings besides."""

    async def set_up(name: str = "openai", **more: Any) -> None:
        settings: dict[str, Any] = {
            "image_generation.enable": True, "image_generation.engine": name, "images.edit.enable": True,
            "images.edit.engine": name, "image_generation.automatic1111.base_url": engine.url,
            "image_generation.automatic1111.api_auth": "ann:secret",
        }  # fmt: skip
        for area in ("image_generation", "images.edit"):
            settings |= {f"{area}.{one}.api_base_url": engine.url for one in ("openai", "gemini")}
            settings |= {f"{area}.{one}.api_key": "k" for one in ("openai", "gemini", "comfyui")}
            settings[f"{area}.comfyui.base_url"] = engine.url
        await live.app.state.oui.save_config(settings | {key.replace("__", "."): value for key, value in more.items()})

    return set_up
