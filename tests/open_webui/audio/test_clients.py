"""OpenAI's package speaks and listens under the server's keys; and recordings that are uploaded become documents."""

import asyncio
from typing import Any

import openai
import pytest

from tests.open_webui.audio.conftest import SetUp
from tests.support.live import Actor, Live, used
from tests.support.speech_service import WAV, SpeechService

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
KEYS = "/api/v1/auths/keys"


async def key(actor: Actor, admin: Actor, **limits: Any) -> str:
    await admin.client.post("/api/v1/configs/import", json={"config": {"auth.enable_api_keys": True}})
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree["features"]["api_keys"] = True
    await admin.client.post("/api/v1/users/default/permissions", json=tree)
    reply = await actor.client.post(KEYS, json={"name": "k"} | limits)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["api_key"])


def client(live: Live, token: str, base: str = "/api/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=live.url + base, api_key=token, max_retries=0)


async def test_openais_package_speaks_and_listens(
    user: Actor, admin: Actor, live: Live, service: SpeechService, set_up: SetUp
) -> None:
    await set_up(stt="openai")
    async with client(live, await key(user, admin)) as sdk:
        spoken = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.")
        assert spoken.content[:4] == b"RIFF"
        async with sdk.audio.speech.with_streaming_response.create(model="x", voice="alloy", input="Hello.") as stream:
            assert len(await stream.read()) > 1000
        heard = await sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV))
        assert heard.text == "hello from the service"
        text = await sdk.audio.transcriptions.create(model="w", file=("a.wav", WAV), response_format="text")
        assert str(text).strip() == "hello from the service"
        whole = await sdk.audio.transcriptions.create(model="w", file=("a.wav", WAV), response_format="verbose_json")
        assert (whole.duration, whole.segments[0].text) == (1.5, "hello from the service")
        with pytest.raises(openai.BadRequestError):
            await sdk.audio.speech.create(model="tts-1", voice="alloy", input="")
    async with client(live, user.token, "/openai") as sdk:
        spoken = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.")
        assert spoken.content[:4] == b"RIFF"
    # What was spoken before is not asked for again, and doesn't count.
    assert [row.connection for row in await used(live, 5)] == ["audio:espeak"] * 2 + ["audio:openai"] * 3


async def test_a_key_for_other_things_neither_speaks_nor_listens(
    user: Actor, admin: Actor, live: Live, set_up: SetUp
) -> None:
    await set_up(stt="openai")
    for limits in ({"scopes": ["chats"]}, {"models": ["fixed"]}):
        async with client(live, await key(user, admin, **limits)) as sdk:
            with pytest.raises(openai.PermissionDeniedError):
                await sdk.audio.speech.create(model="fixed", voice="alloy", input="Hello.")
            with pytest.raises(openai.PermissionDeniedError):
                await sdk.audio.transcriptions.create(model="fixed", file=("a.wav", WAV))
    async with client(live, await key(user, admin, scopes=["audio"], models=["espeak-ng"])) as sdk:
        assert (await sdk.audio.speech.create(model="x", voice="alloy", input="Hello.")).content


async def uploaded(actor: Actor, name: str = "talk.mp3", kind: str = "audio/mpeg") -> dict[str, Any]:
    reply = await actor.client.post("/api/v1/files/", files={"file": (name, WAV, kind)})
    assert reply.status_code == 200, reply.text
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await actor.client.get(f"/api/v1/files/{reply.json()['id']}")).json()
            if found["data"].get("status") in {"completed", "failed"}:
                return found
            await asyncio.sleep(0.05)


async def test_a_recording_that_is_uploaded_becomes_a_document(
    user: Actor, admin: Actor, live: Live, service: SpeechService, set_up: SetUp
) -> None:
    await set_up(stt="openai")
    service.heard = ["The meeting is on Tuesday."]
    for name, kind in (("talk.mp3", "audio/mpeg"), ("film.mp4", "video/mp4")):
        found = await uploaded(user, name, kind)
        assert (found["data"]["status"], found["data"]["content"]) == ("completed", "The meeting is on Tuesday.")
    assert {row.user_id for row in await used(live, 2)} == {user.id}
    service.heard = [""]
    assert "Nothing is said" in (await uploaded(user))["data"]["error"]
    await set_up(stt="web")
    assert "the browser's own" in (await uploaded(user))["data"]["error"]
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree["chat"]["stt"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=tree)
    assert "may not" in (await uploaded(user))["data"]["error"]
    # TypeScript is no film, whatever browsers call it.
    source = await user.client.post(
        "/api/v1/files/?process_in_background=false", files={"file": ("a.ts", b"let a = 1", "video/mp2t")}
    )
    assert source.status_code == 200
