"""Speaking: espeak-ng as it is, four services as they answer well and badly, and what is remembered."""

import asyncio
import io
import struct
import wave
from typing import Any

import httpx
import pytest

from open_webui.audio import espeak
from open_webui.audio.base import Asked
from open_webui.audio.speakers import entries_of, ssml
from tests.open_webui.audio.conftest import SetUp
from tests.support.live import Actor, Live, used
from tests.support.speech_service import KEY, WAV, SpeechService

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
SPEECH = "/api/v1/audio/speech"


async def test_espeak_speaks_without_any_setting(user: Actor, live: Live) -> None:
    reply = await user.client.post(SPEECH, json={"input": "This is a sentence.", "voice": "alloy", "model": "tts-1"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "audio/wav"
    assert reply.headers["x-content-type-options"] == "nosniff"
    with wave.open(io.BytesIO(reply.content)) as file:
        seconds = file.getnframes() / file.getframerate()
    # Its sizes are true, which a program that writes into a pipe can't know.
    assert struct.unpack("<I", reply.content[4:8])[0] == len(reply.content) - 8
    assert 0.5 < seconds < 10
    slower = await user.client.post(SPEECH, json={"input": "This is a sentence.", "speed": 0.5})
    assert len(slower.content) > len(reply.content) * 1.3
    (row, _) = await used(live, 2)
    assert (row.model_id, row.connection, row.kind, row.status) == ("espeak-ng", "audio:espeak", "api", 200)


async def test_its_voices_are_listed_and_act(user: Actor) -> None:
    voices = (await user.client.get("/api/v1/audio/voices")).json()["voices"]
    assert {"id": "de", "name": "German"} in voices
    german = await user.client.post(SPEECH, json={"input": "Guten Tag", "voice": "de"})
    english = await user.client.post(SPEECH, json={"input": "Guten Tag", "voice": "en"})
    assert german.status_code == 200
    assert german.content != english.content
    odd = await user.client.post(SPEECH, json={"input": "x", "voice": "--help"})
    assert (odd.status_code, odd.json()["detail"][:32]) == (400, "There is no voice '--help' here.")
    assert (await user.client.get("/api/v1/audio/models")).json()["models"][0]["id"] == "espeak-ng"


async def test_a_text_is_only_ever_spoken(user: Actor) -> None:
    for text in ("-h --version", "<speak>&\0;$(id) `id` \U0001f600", "[[h@'loU]] ..", "\n\n.\n" * 100):
        reply = await user.client.post(SPEECH, json={"input": text})
        assert reply.status_code == 200, reply.text
        assert reply.content[:4] == b"RIFF"


async def test_a_machine_without_the_program_says_so(user: Actor, live: Live) -> None:
    live.app.state.oui.audio.speaking.espeak = espeak.EspeakSpeaker("no-such-program")
    reply = await user.client.post(SPEECH, json={"input": "x"})
    assert (reply.status_code, reply.json()) == (503, {"detail": espeak.MISSING})
    assert (await user.client.get("/api/v1/audio/voices")).json() == {"voices": []}


async def test_a_program_that_hangs_or_fails_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, database_kind: str
) -> None:
    monkeypatch.setattr(espeak, "SECONDS", 0.2)
    for script, said in (("exec sleep 60", "longer than"), ("exit 3", "could not speak"), ("exec yes", "longer|more")):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(espeak.Unavailable, match=said):
            await espeak.EspeakSpeaker(str(program)).voices()


IMPOSSIBLE = [
    (b"", "Invalid JSON payload"),
    (b"{", "Invalid JSON payload"),
    (b"[]", "Invalid JSON payload"),
    (b"{}", "'input' should be the text to speak."),
    (b'{"input": "  "}', "'input' should be the text to speak."),
    (b'{"input": 3}', "'input' should be the text to speak."),
    (b'{"input": "%s"}' % (b"x" * 4097), "The text is too long"),
    (b'{"input": "x", "voice": 3}', "'voice' should be"),
    (b'{"input": "x", "response_format": "exe"}', "'response_format' should be one of"),
    (b'{"input": "x", "speed": 99}', "'speed' should be between"),
    (b'{"input": "x", "speed": true}', "'speed' should be between"),
]


async def test_what_can_not_be_spoken_is_refused(user: Actor) -> None:
    for body, said in IMPOSSIBLE:
        reply = await user.client.post(SPEECH, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 400, reply.text
        assert said in reply.json()["detail"]


SERVICES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": ("POST /v1/audio/speech", "ada", {"model": "m", "input": "Hi", "voice": "ada", "response_format": "mp3"}),
    "elevenlabs": (
        "POST /v1/text-to-speech/ada/stream?output_format=mp3_44100_128", "Rachel", {"text": "Hi", "model_id": "m"}
    ),
    "azure": ("POST /cognitiveservices/v1", "Jenny (en-US-JennyNeural)", {}),
    "mistral": (
        "POST /mistral/audio/speech", "Marie",
        {"model": "m", "input": "Hi", "voice_id": "ada", "response_format": "mp3"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", SERVICES)
async def test_services_speak(engine: str, user: Actor, service: SpeechService, set_up: SetUp, live: Live) -> None:
    path, voice, payload = SERVICES[engine]
    await set_up(tts=engine, audio__tts__model="m")
    reply = await user.client.post(SPEECH, json={"input": "Hi", "voice": "ada", "model": "whatever"})
    assert reply.status_code == 200, reply.text
    assert reply.content == WAV
    assert reply.headers["content-type"].startswith("audio/")
    asked, headers, body = service.received[-1]
    assert asked == path
    assert KEY in str(headers)
    if engine == "azure":
        assert b'<voice name="ada">Hi</voice>' in body
    else:
        assert body == payload
    (row,) = await used(live, 1)
    assert (row.model_id, row.connection) == ("m", f"audio:{engine}")
    voices = (await user.client.get("/api/v1/audio/voices")).json()["voices"]
    assert [one["name"] for one in voices] == [voice] if engine != "openai" else [{"id": "ada", "name": "Ada"}]
    assert (await user.client.get("/api/v1/audio/models")).status_code == 200


async def test_a_service_that_fails_is_told_of(user: Actor, service: SpeechService, set_up: SetUp) -> None:
    for engine in SERVICES:
        await set_up(tts=engine)
        for mood, said in (("failing", "Out of order, ***"), ("odd", "no speech (text/html)")):
            service.mood = mood
            reply = await user.client.post(SPEECH, json={"input": "Hi", "voice": "ada"})
            assert reply.status_code >= 500
            assert said in reply.json()["detail"]
            assert KEY not in reply.text
            listed = (await user.client.get("/api/v1/audio/voices")).json()["voices"]
            assert (listed == []) is (engine != "openai")
        if engine != "openai":
            await set_up(tts=engine, audio__tts__api_key="", audio__tts__mistral__api_key="")
            reply = await user.client.post(SPEECH, json={"input": "Hi"})
            assert reply.status_code == 503
            assert reply.json()["detail"].endswith(" needs a key: an administrator sets it in the settings of audio.")


async def test_speech_is_remembered_by_all_that_it_depends_on(
    user: Actor, other: Actor, service: SpeechService, set_up: SetUp, live: Live
) -> None:
    await set_up(tts="openai")

    async def speak(actor: Actor, **more: Any) -> bytes:
        reply = await actor.client.post(SPEECH, json={"input": "Hi", "voice": "ada"} | more)
        assert reply.status_code == 200
        return reply.content

    assert await speak(user) == await speak(other) == WAV
    assert len(service.received) == 1
    for count, more in enumerate(({"voice": "echo"}, {"input": "Ho"}, {"speed": 2}, {"response_format": "wav"}), 2):
        await speak(user, **more)
        assert len(service.received) == count
    await set_up(audio__tts__model="tts-2")
    await speak(user)
    assert len(service.received) == 6
    # What the collection took is made anew, and nothing is remembered where an administrator wants that.
    state = live.app.state.oui
    for kept in state.audio.speaking.remembered._kept.values():
        assert await state.blobs.delete(kept.blob, 2**40)
    await speak(user)
    assert len(service.received) == 7
    await set_up(audio__tts__cache_size=0)
    await speak(user)
    assert len(service.received) == 8
    assert len(await used(live, 8)) == 8


async def test_no_more_is_remembered_than_may_be(live: Live, database_kind: str) -> None:
    state = live.app.state.oui
    remembered = state.audio.speaking.remembered
    for n in range(5):
        await remembered.keep(state.blobs, str(n), "audio/wav", bytes([n]) * 40, 100)
    assert [await remembered.find(state.blobs, str(n)) is not None for n in range(5)] == [False] * 3 + [True] * 2
    await remembered.keep(state.blobs, "large", "audio/wav", bytes(101), 100)
    assert await remembered.find(state.blobs, "large") is None


async def test_broken_speech_is_not_remembered(user: Actor, service: SpeechService, set_up: SetUp, live: Live) -> None:
    await set_up(tts="openai")
    for mood in ("empty", "cut"):
        service.mood = mood
        try:
            failed = (await user.client.post(SPEECH, json={"input": mood})).status_code >= 500
        except httpx.RemoteProtocolError:
            failed = True
        assert failed, mood
        service.mood = "well"
        assert (await user.client.post(SPEECH, json={"input": mood})).content == WAV
    assert [row.status >= 500 for row in await used(live, 4)] == [True, False, True, False]


async def test_speech_comes_as_the_engine_gives_it_and_who_leaves_ends_it(
    user: Actor, service: SpeechService, set_up: SetUp
) -> None:
    await set_up(tts="openai")
    service.mood = "held"
    async with asyncio.timeout(30), user.client.stream("POST", SPEECH, json={"input": "Hi"}) as reply:
        arriving = reply.aiter_raw()
        first = await anext(arriving)
        assert first == WAV[: len(first)]
    async with asyncio.timeout(30):
        await service.left.wait()


async def test_who_may_not_hear_hears_nothing(user: Actor, pending: Actor, admin: Actor) -> None:
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree["chat"]["tts"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=tree)
    for actor in (user, pending):
        assert (await actor.client.post(SPEECH, json={"input": "Hi"})).status_code == 401
    assert (await admin.client.post(SPEECH, json={"input": "Hi"})).status_code == 200


def test_markup_in_a_text_is_no_markup(database_kind: str) -> None:
    made = ssml(Asked(text='</voice> & "x" \x01', voice="en-GB-A'><x>", model="", speed=1.5))
    assert "&lt;/voice&gt; &amp; &quot;x&quot;" in made
    assert 'xml:lang="en-GB"' in made
    assert "<x>" not in made
    assert "\x01" not in made


def test_odd_lists_of_voices_are_read(database_kind: str) -> None:
    assert entries_of({"a": 1}, ("id", "name")) == []
    assert [one.id for one in entries_of(["a", {"id": 3}, {"id": "b", "name": 2}, None, ""], ("id", "name"))] == [
        "a",
        "b",
    ]
