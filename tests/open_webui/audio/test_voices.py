"""Voices of Piper's on this machine: that they speak, which there are, what a text can't do to them, and who is meant."""

import asyncio
import io
import json
import os
import re
import shutil
import signal
import wave
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.audio.voices import Voices, sentences, voices_in, wav_head
from tests.open_webui.audio.conftest import CONFIG, SetUp
from tests.support import real_piper, real_whisper
from tests.support.live import Actor, Live, used

pytestmark = pytest.mark.xdist_group("audio-worker")
sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
TEXT = "Tomorrow we will meet at the station. The garden is full of yellow flowers."


def home_of(live: Live) -> Path:
    return here(live).home


def here(live: Live) -> Voices:
    found: Voices = live.app.state.oui.audio.speaking.voices_here
    return found


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL", str(real_whisper.folder()))


@pytest.fixture
def joe(live: Live) -> Path:
    home = home_of(live)
    home.mkdir(parents=True)
    for file in real_piper.folder().glob("en_US*"):
        os.link(file, home / file.name) if file.stat().st_dev == home.stat().st_dev else shutil.copy(file, home)
    return home


async def spoken(user: Actor, text: str = TEXT, **more: Any) -> httpx.Response:
    return await user.client.post("/api/v1/audio/speech", json={"input": text} | more, timeout=240)


def seconds_of(wav: bytes) -> float:
    assert wav[:4] == b"RIFF"
    assert wav[36:40] == b"data"
    return (len(wav) - 44) / 2 / int.from_bytes(wav[24:28], "little")


@sqlite_only
async def test_what_the_voice_speaks_whisper_hears(
    whisper: None, joe: Path, user: Actor, live: Live, set_up: SetUp
) -> None:
    await set_up(tts="piper")
    reply = await spoken(user)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "audio/wav"), reply.text
    assert 3 < seconds_of(reply.content) < 9
    files = {"file": ("a.wav", reply.content, "audio/wav")}
    heard = await user.client.post("/api/v1/audio/transcriptions", files=files, timeout=240)
    assert heard.status_code == 200, heard.text
    words = set(re.findall(r"[a-z]+", heard.json()["text"].lower()))
    assert {"tomorrow", "meet", "station", "garden", "yellow", "flowers"} <= words
    rows = await used(live, 2)
    assert (rows[0].model_id, rows[0].connection) == ("piper", "audio:piper")
    # One sentence says its length; half the speed takes longer. A process was there, and it is the same.
    pid = here(live).pid
    quick = await spoken(user, "The boats are out.")
    slow = await spoken(user, "The boats are out.", speed=0.5)
    with wave.open(io.BytesIO(quick.content)) as file:
        assert file.getnframes() == pytest.approx(seconds_of(quick.content) * file.getframerate())
    assert seconds_of(slow.content) > 1.5 * seconds_of(quick.content)
    assert here(live).pid == pid


HOSTILE = (
    "...",
    "☃☃☃",
    "\x00\x01\x02",
    "(en)(fr)",
    "-v de --stdout",
    "<speak>&amp;</speak>",
    "a" * 4000,
    "字" * 50,
    "\u202eabc",
)


@sqlite_only
async def test_odd_texts_do_no_harm(joe: Path, user: Actor, live: Live, set_up: SetUp) -> None:
    await set_up(tts="piper")
    assert (await spoken(user, "Hello.")).status_code == 200
    pid = here(live).pid
    for text in HOSTILE:
        reply = await spoken(user, text)
        assert reply.status_code == 200, (text[:20], reply.text)
        assert seconds_of(reply.content) < 600
    assert here(live).pid == pid


@sqlite_only
async def test_a_process_that_dies_costs_one_text(joe: Path, user: Actor, live: Live, set_up: SetUp) -> None:
    await set_up(tts="piper")
    assert (await spoken(user, "Hello.")).status_code == 200
    pid = here(live).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(spoken(user, "Hello again."), name="stuck")
    os.kill(pid, signal.SIGKILL)
    reply = await asking
    assert (reply.status_code, "could not be spoken" in reply.text) == (503, True)
    async with asyncio.timeout(60):
        while (await spoken(user, "Hello again.")).status_code != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    assert here(live).pid not in {None, pid}


@sqlite_only
async def test_what_is_no_voice_is_said_and_not_spoken_with(user: Actor, live: Live, set_up: SetUp) -> None:
    await set_up(tts="piper")
    none = await spoken(user)
    assert none.status_code == 503
    assert "models/piper" in none.json()["detail"]
    assert (await user.client.get("/api/v1/audio/voices")).json() == {"voices": []}
    home = home_of(live)
    home.mkdir(parents=True)
    good = {"phoneme_id_map": {"a": [1]}}
    for about in ({}, good, good | {"phoneme_type": "text"}, good | {"espeak": {"voice": "--path=/etc"}},
                  good | {"audio": {"sample_rate": 10**9}}):  # fmt: skip
        (home / "odd.onnx").write_bytes(b"no model")
        (home / "odd.onnx.json").write_text(json.dumps(about))
        reply = await spoken(user)
        assert reply.status_code == 503, about
        assert reply.json()["detail"].startswith("The text could not be spoken. The "), about


@sqlite_only
async def test_voices_are_those_of_the_folder(user: Actor, live: Live, set_up: SetUp, tmp_path: Path) -> None:
    home = home_of(live)
    home.mkdir(parents=True)
    for name, about in (("one", {}), ("two", {"num_speakers": 2, "speaker_id_map": {"ann": 0, "bob": 1}}), ("bad", [])):
        (home / f"{name}.onnx").touch()
        (home / f"{name}.onnx.json").write_text(json.dumps(about))
    (home / "alone.onnx").touch()
    outside = tmp_path / "outside.onnx"
    outside.touch()
    (home / "link.onnx").symlink_to(outside)
    (home / "link.onnx.json").write_text("{}")
    assert list(voices_in(home)) == ["one", "two", "two#ann", "two#bob"]
    assert voices_in(home / "nowhere") == {}
    await set_up(tts="piper")
    listed = (await user.client.get("/api/v1/audio/voices")).json()["voices"]
    assert [voice["id"] for voice in listed] == ["one", "two", "two#ann", "two#bob"]
    models = (await user.client.get("/api/v1/audio/models")).json()["models"]
    assert [model["id"] for model in models] == ["one", "two"]
    for voice in ("../one", "one.onnx", "ann", "x" * 300):
        reply = await spoken(user, voice=voice)
        assert (reply.status_code, "There is no voice" in reply.text) == (400, True), voice


async def test_the_page_may_choose_it(admin: Actor) -> None:
    now = (await admin.client.get(CONFIG)).json()
    now["tts"]["ENGINE"] = "piper"
    reply = await admin.client.post(f"{CONFIG}/update", json=now)
    assert (reply.status_code, reply.json()["tts"]["ENGINE"]) == (200, "piper")


def test_texts_are_spoken_in_sentences() -> None:
    assert sentences(TEXT) == ["Tomorrow we will meet at the station.", "The garden is full of yellow flowers."]
    assert sentences('He said "no." And left!\nThen 3.5 more') == ['He said "no.', "And left!", "Then 3.5 more"]
    for text in ("", " \n ", "\x00\x01"):
        assert sentences(text) == [" "]
    long = sentences("word " * 500 + "x" * 1000)
    assert max(map(len, long)) <= 300
    assert "".join(long).replace(" ", "") == "word" * 500 + "x" * 1000
    assert len(wav_head(22_050, None)) == len(wav_head(22_050, 0)) == 44
