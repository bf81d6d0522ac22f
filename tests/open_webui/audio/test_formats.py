"""Formats of speech: which one a client is given, what WAV is made into, and what a process that fails costs."""

import asyncio
import io
import os
import signal
import struct
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx
import openai
import pytest

from open_webui.audio import converting
from open_webui.audio.converting import Converter, chosen, rate_of
from open_webui.audio.remote import MIMES
from open_webui.audio.voices import wav_head
from open_webui.errors import BadRequest, Unavailable
from tests.open_webui.audio.conftest import SetUp
from tests.support.live import Actor, Live
from tests.support.speech_service import SpeechService, tone

sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
SPEECH = "/api/v1/audio/speech"
TEXT = "This is a sentence that takes some seconds to speak, so that its length can be told from that of others."
NAMES = {"mp3": "mp3", "opus": "ogg", "flac": "flac", "aac": "aac", "wav": "wav"}


def seconds_of(sound: bytes, container: str) -> float:
    with av.open(io.BytesIO(sound)) as opened:
        assert opened.format.name == container
        stream = opened.streams.audio[0]
        return sum(frame.samples for frame in opened.decode(stream)) / stream.rate


async def spoken(user: Actor, accept: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if accept is None else {"accept": accept}
    return await user.client.post(SPEECH, json={"input": TEXT} | more, headers=headers, timeout=120)


@sqlite_only
async def test_a_format_is_made_of_what_is_wav(user: Actor, live: Live) -> None:
    """Each as long as the other, each remembered by itself."""
    wav = await spoken(user)
    long = seconds_of(wav.content, "wav")
    assert long > 2
    converter: Converter = live.app.state.oui.audio.speaking.converter
    for form, container in NAMES.items():
        asked = await spoken(user, response_format=form, accept="audio/basic")
        assert (asked.status_code, asked.headers["content-type"]) == (200, MIMES[form])
        assert seconds_of(asked.content, container) == pytest.approx(long, abs=0.2)
        pid = converter.pid
        again = await spoken(user, accept=f"{MIMES[form]};q=0.9, audio/basic")
        assert (again.content, again.headers["content-type"]) == (asked.content, MIMES[form])
        assert converter.pid == pid
    bare = await spoken(user, response_format="pcm")
    assert len(bare.content) / 48_000 == pytest.approx(long, abs=0.1)
    assert bare.headers["content-type"] == "audio/pcm"


@sqlite_only
async def test_who_accepts_nothing_that_there_is_is_told_what_there_is(
    user: Actor, service: SpeechService, set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = await spoken(user, "application/json")
    assert reply.status_code == 406
    assert reply.json()["detail"].endswith(
        "there is audio/mpeg, audio/wav, audio/ogg, audio/aac, audio/flac, audio/pcm."
    )
    monkeypatch.setattr(converting, "has_extra", lambda: False)
    reply = await spoken(user, "audio/mpeg")
    assert (reply.status_code, reply.json()["detail"].endswith("there is audio/wav.")) == (406, True)
    # What the body names is given as far as it can be.
    named = await spoken(user, "audio/mpeg", response_format="mp3")
    assert (named.status_code, named.headers["content-type"]) == (200, "audio/wav")
    await set_up(tts="azure")
    assert (await spoken(user, "audio/wav")).status_code == 406
    assert service.received == []


@pytest.mark.parametrize("accept", ["*/*", "", ",;=", "\xff\xfe", "audio", "audio/mpeg;q=nan", "audio/mpeg;q=-1", ";q=1" * 2000,
                                    "a/b," * 2000 + "*/*", "audio/wav" + ";x=y" * 1500, "x" * 8000])  # fmt: skip
@sqlite_only
async def test_odd_headers_are_no_wish(user: Actor, accept: str) -> None:
    reply = await user.client.post(SPEECH, json={"input": "Hi"}, headers=[(b"accept", accept.encode("latin-1"))])
    assert (reply.status_code, reply.headers["content-type"]) == (200, "audio/wav")


@sqlite_only
async def test_openais_package_asks_for_a_format(user: Actor, live: Live) -> None:
    """It accepts bytes of any kind, which is no wish."""
    async with openai.AsyncOpenAI(base_url=live.url + "/openai", api_key=user.token, max_retries=0) as sdk:
        wav = await sdk.audio.speech.create(model="x", voice="alloy", input=TEXT)
        made = await sdk.audio.speech.create(model="x", voice="alloy", input=TEXT, response_format="flac")
    assert seconds_of(made.content, "flac") == pytest.approx(seconds_of(wav.content, "wav"), abs=0.1)


@sqlite_only
async def test_services_are_asked_for_what_is_accepted(user: Actor, service: SpeechService, set_up: SetUp) -> None:
    await set_up(tts="openai")
    for accept, form in (("audio/ogg", "opus"), ("audio/aac, audio/flac;q=0.5", "aac"), ("*/*", "mp3")):
        assert (await spoken(user, accept)).status_code == 200
        assert service.received[-1][2]["response_format"] == form


def test_the_header_means_what_it_says() -> None:
    there = tuple(MIMES)
    for accept, form in (
        ("audio/mpeg", "mp3"), ("audio/x-wav", "wav"), ("AUDIO/OPUS ; Q=0.3", "opus"), ("audio/flac, */*", "flac"),
        ("audio/*", "wav"), ("audio/wav;q=0, audio/*", "mp3"), ("audio/mpeg;q=0.2, audio/aac;q=0.3, audio/wav;q=0.1", "aac"),
        ("audio/*;q=0.1, */*", "wav"), ("text/html, audio/pcm", "pcm"), ("audio/mpeg, audio/wav", "wav"),
        ("application/json, text/plain, */*", "wav"), ("", "wav"),
    ):  # fmt: skip
        assert chosen(accept, there, "wav") == form, accept
    for accept in ("text/html", "*/*;q=0", "audio/*;q=0.000, */*;q=0", "audio/webm"):
        with pytest.raises(BadRequest) as refused:
            chosen(accept, there, "wav")
        assert refused.value.status == 406


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def joined(converter: Converter, form: str, *given: bytes) -> bytes:
    return b"".join([piece async for piece in converter.converted(form, pieces(*given))])


@sqlite_only
async def test_a_process_that_dies_costs_one_speech(user: Actor, live: Live) -> None:
    converter: Converter = live.app.state.oui.audio.speaking.converter
    sound = tone(2.0)[44:]
    head = wav_head(16_000, None)

    async def cut_off() -> AsyncIterator[bytes]:
        yield head + sound
        assert converter.pid is not None
        os.kill(converter.pid, signal.SIGKILL)
        yield sound

    with pytest.raises(Unavailable, match="could not be converted"):
        async for _ in converter.converted("flac", cut_off()):
            pass
    async with asyncio.timeout(60):
        while (await spoken(user, "audio/flac")).status_code != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)


@sqlite_only
async def test_streams_take_turns_and_odd_ones_are_refused(user: Actor, live: Live) -> None:
    converter: Converter = live.app.state.oui.audio.speaking.converter
    sound, head = tone(2.0)[44:], wav_head(16_000, None)
    # In pieces of any size, and by turns, each is what it is alone.
    alone = await joined(converter, "flac", head + sound)
    odd = [bytes([byte]) for byte in head] + [sound[n : n + 999] for n in range(0, len(sound), 999)]
    both = await asyncio.gather(*(joined(converter, "flac", *odd) for _ in range(3)))
    assert all(seconds_of(one, "flac") == seconds_of(alone, "flac") == 2.0 for one in both)
    for bad in (b"", b"RIFF", b"x" * 100, head[:24] + bytes(4) + head[28:], head[:22] + b"\2" + head[23:] + sound):
        with pytest.raises(Unavailable, match="could not be converted"):
            await joined(converter, "mp3", bad)
    for rate in (1, 3_999, 2**31):
        with pytest.raises(Unavailable, match="odd number of samples"):
            await joined(converter, "mp3", wav_head(16_000, 0)[:24] + struct.pack("<I", rate) + head[28:] + sound)
    # Nothing was said, which is a file too.
    assert await joined(converter, "flac", head)
    assert rate_of(head) == 16_000
