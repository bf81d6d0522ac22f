"""The services of speech, and an administrator who has set them up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.live import Actor
from tests.support.speech_service import KEY, SpeechService, speech_service

CONFIG = "/api/v1/audio/config"
SetUp = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def service() -> AsyncIterator[SpeechService]:
    async with speech_service() as running:
        yield running


@pytest.fixture
async def set_up(admin: Actor, service: SpeechService) -> SetUp:
    """Sets engines, each with the address and key of the services, and other settings: `set_up(tts="openai")`."""

    async def change(tts: str | None = None, stt: str | None = None, **settings: Any) -> dict[str, Any]:
        places = {"openai": "/v1", "mistral": "/mistral"}
        given: dict[str, Any] = {}
        if tts is not None:
            base = service.url + places.get(tts, "")
            given |= {"audio.tts.engine": tts, "audio.tts.api_key": KEY, "audio.tts.elevenlabs.api_base_url": base,
                      "audio.tts.openai.api_base_url": base, "audio.tts.openai.api_key": KEY,
                      "audio.tts.azure.speech_base_url": base, "audio.tts.mistral.api_base_url": base,
                      "audio.tts.mistral.api_key": KEY}  # fmt: skip
        if stt is not None:
            base = service.url + places.get(stt, "")
            given |= {"audio.stt.engine": stt, "audio.stt.openai.api_base_url": base, "audio.stt.openai.api_key": KEY,
                      "audio.stt.deepgram.api_base_url": base, "audio.stt.deepgram.api_key": KEY,
                      "audio.stt.azure.base_url": base, "audio.stt.azure.api_key": KEY,
                      "audio.stt.mistral.api_base_url": base, "audio.stt.mistral.api_key": KEY}  # fmt: skip
        given |= {key.replace("__", "."): value for key, value in settings.items()}
        reply = await admin.client.post("/api/v1/configs/import", json={"config": given})
        assert reply.status_code == 200, reply.text
        assert "refused" not in reply.json(), reply.json()["refused"]
        return reply.json()  # type: ignore[no-any-return]

    return change
