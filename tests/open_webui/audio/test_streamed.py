"""Transcripts as they are written down: by OpenAI's package, by services and by this machine, failing and left."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from open_webui.audio import listeners
from tests.open_webui.audio.conftest import SetUp
from tests.support import real_whisper, spoken
from tests.support.live import Actor, Live, used
from tests.support.speech_service import WAV, SpeechService, tone

pytestmark = [
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
    pytest.mark.xdist_group("audio-worker"),
]
LISTEN = "/api/v1/audio/transcriptions"
SENTENCES = ("Tomorrow we will meet at the station.", "The garden is full of yellow flowers.")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A recording that the service does not take whole: it has three parts or more."""
    pytest.importorskip("av")
    monkeypatch.setattr(listeners, "_OPENAI", 32_000 * 3)
    sound = b"".join([tone(1.5)[44:], tone(0.5, loud=0)[44:]] * 3)
    return WAV[:40] + len(sound).to_bytes(4, "little") + sound


def events_of(reply: httpx.Response) -> list[Any]:
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), reply.text
    *events, end, rest = reply.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def sent(user: Actor, data: bytes = WAV, **fields: str) -> httpx.Response:
    files = {"file": ("a.wav", data, "audio/wav")}
    return await user.client.post(LISTEN, files=files, data={"stream": "true"} | fields, timeout=240)


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL", str(real_whisper.folder()))


async def test_openais_package_reads_what_this_machine_hears(whisper: None, user: Actor, live: Live) -> None:
    # Pieces have five minutes at most, so that there are two.
    long = spoken.recording(SENTENCES[0], 310, SENTENCES[1])
    async with openai.AsyncOpenAI(base_url=live.url + "/api/v1", api_key=user.token, max_retries=0) as sdk:
        stream = await sdk.audio.transcriptions.create(model="w", file=("a.wav", long), stream=True, timeout=240)
        *deltas, done = [event async for event in stream]
    assert done.type == "transcript.text.done"
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) >= 2
    assert "station" in deltas[0].delta
    assert "flowers" not in deltas[0].delta
    assert "".join(event.delta for event in deltas) == done.text
    assert "yellow flowers" in done.text
    assert (await used(live, 1))[0].connection == "audio:local"


async def test_what_a_service_hears_comes_in_its_parts(
    user: Actor, service: SpeechService, set_up: SetUp, in_parts: bytes
) -> None:
    await set_up(stt="openai")
    service.heard = ["one", "", "two", "three"]
    *deltas, done = events_of(await sent(user, in_parts, response_format="text"))
    words = [event["delta"] for event in deltas]
    assert words[:2] == ["one", " two"]
    assert "".join(words) == done["text"]
    # The recording is kept, as it is without.
    assert (await user.client.get(f"/api/v1/files/{done['filename'].partition('.')[0]}/content")).content == in_parts
    # One that is taken whole has one part, and one in which nothing is said has none.
    service.heard = ["hello"]
    assert [event["type"] for event in events_of(await sent(user))] == ["transcript.text.delta", "transcript.text.done"]
    service.heard = [""]
    (done,) = events_of(await sent(user))
    assert done["text"] == ""


async def test_what_fails_is_told_before_and_amid_the_words(
    user: Actor, live: Live, service: SpeechService, set_up: SetUp, in_parts: bytes
) -> None:
    await set_up(stt="openai")
    service.mood = "failing"
    reply = await sent(user)
    assert (reply.status_code, "Out of order" in reply.json()["detail"]) == (500, True)
    service.mood, service.heard = "failing later", ["one", "two"]
    async with openai.AsyncOpenAI(base_url=live.url + "/api/v1", api_key=user.token, max_retries=0) as sdk:
        stream = await sdk.audio.transcriptions.create(model="w", file=("a.wav", in_parts), stream=True)
        assert (await anext(stream)).delta == "one"
        with pytest.raises(openai.APIError):
            await anext(stream)
    for wish in ("yes", "2", "t" * 60_000, "true\x00"):
        reply = await sent(user, stream=wish)
        assert (reply.status_code, reply.json()["detail"]) == (400, "'stream' should be true or false.")
    service.mood = "well"
    assert (await sent(user, stream="False")).json()["text"] == "two"


async def asked(service: SpeechService, count: int) -> None:
    """Returns once the service was asked so often."""
    async with asyncio.timeout(60):
        while len(service.received) < count:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_who_leaves_ends_the_listening(
    user: Actor, live: Live, service: SpeechService, set_up: SetUp, in_parts: bytes
) -> None:
    await set_up(stt="openai")
    service.mood, service.heard = "held", ["one", "two"]
    files = {"file": ("a.wav", in_parts, "audio/wav")}
    async with user.client.stream("POST", LISTEN, files=files, data={"stream": "true"}, timeout=120) as reply:
        # Kept: an iterator that nobody has is closed, and the connection with it.
        lines = reply.aiter_lines()
        assert json.loads((await anext(lines)).removeprefix("data: "))["delta"] == "one"
        await asked(service, 2)
    async with asyncio.timeout(60):
        await service.left.wait()
    # And so before there are any words.
    service.left.clear()
    asking = asyncio.create_task(sent(user), name="leaves early")
    await asked(service, 3)
    asking.cancel()
    async with asyncio.timeout(60):
        await service.left.wait()
    service.mood = "well"
    assert (await sent(user, stream="0")).status_code == 200
