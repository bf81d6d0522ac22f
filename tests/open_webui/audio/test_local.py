"""Listening on this machine: what the process decodes, cuts, hears and refuses, and that it dies at worst."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from open_webui.audio.base import NoEngine, NoSpeech, Recording
from open_webui.audio.local import Worker, folder_of
from open_webui.audio.worker.cutting import pieces, quiet_moment
from open_webui.audio.worker.decoding import RATE
from tests.open_webui.audio import recordings
from tests.support import real_whisper
from tests.support.live import Actor, Live, used
from tests.support.speech_service import tone

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audio-worker")]
sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
SECOND = 32_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    made = Worker(SimpleNamespace(local_models_idle_seconds=300))  # type: ignore[arg-type]
    yield made
    await made.close()


def recording(folder: Path, data: bytes) -> Recording:
    path = folder / "recording"
    path.write_bytes(data)
    return Recording(path=path, name="a.wav", mime="audio/wav", size=len(data))


async def cut(worker: Worker, folder: Path, data: bytes, *, each: int = 600, most: int = 60) -> list[bytes]:
    """What a recording is cut into: samples without headers."""
    found = await worker.cut(recording(folder, data), folder, each, most)
    return [samples_of(one.path) for one in found]


def samples_of(path: str) -> bytes:
    return Path(path).read_bytes()[44:]


FORMS = [("mp3", "mp3"), ("ogg", "libopus"), ("webm", "libopus"), ("mp4", "aac"), ("flac", "flac"), ("adts", "aac")]


async def test_any_container_is_decoded(worker: Worker, tmp_path: Path) -> None:
    for container, codec in FORMS:
        (samples,) = await cut(worker, tmp_path, recordings.encoded(container, codec))
        assert len(samples) == pytest.approx(2 * SECOND, rel=0.1), container
        heard = np.frombuffer(samples, "<i2").astype(float)
        assert 2000 < np.sqrt(np.mean(heard**2)) < 12000, container


async def test_a_recording_that_breaks_off_is_heard_to_there(worker: Worker, tmp_path: Path) -> None:
    for data in (recordings.promising(), recordings.encoded("mp3", "mp3")[:-3000], tone(0.5)[:9000]):
        assert len(b"".join(await cut(worker, tmp_path, data))) > 0.2 * SECOND


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello " * 100,
    "noise": bytes(range(256)) * 400,
    "zip": b"PK\x03\x04" + bytes(2000),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(2000),
    "page": b"<html><audio src='http://127.0.0.1:1/'></html>",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>http://127.0.0.1:1/</BaseURL></MPD>",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 4000 RTP/AVP 0\n",
    "head of a wav": tone(0.5)[:30],
    "half an mp4": recordings.encoded("mp4", "aac")[:1500],
    "an atom of 4 GB": b"\xff\xff\xff\xffftypisom" + bytes(64),
    "no channel": tone(0.5)[:22] + bytes(2) + tone(0.5)[24:],
    "65,535 channels": recordings.many_channels(),
    "a film without sound": recordings.film_without_sound(),
}  # fmt: skip


async def test_what_is_no_recording_is_refused_and_the_process_goes_on(worker: Worker, tmp_path: Path) -> None:
    for name, data in HOSTILE.items():
        with pytest.raises(NoSpeech) as raised:
            await cut(worker, tmp_path, data)
        assert raised.value.status == 400, name
        assert raised.value.detail[0].isupper(), name
        assert raised.value.detail.endswith("."), name
    assert len(worker.pids) == 1


async def test_a_small_file_of_endless_silence_is_given_up(worker: Worker, tmp_path: Path) -> None:
    data = recordings.encoded("flac", "flac", 130.0, loud=0)
    assert len(data) < 200_000
    with pytest.raises(NoSpeech, match="longer than 2 minutes"):
        await cut(worker, tmp_path, data, most=120)


async def test_what_kills_the_process_is_a_sentence_and_the_next_is_heard(worker: Worker, tmp_path: Path) -> None:
    for end in ("crash", "cancel"):
        await cut(worker, tmp_path, tone(0.5))
        (pid,) = worker.pids
        os.kill(pid, signal.SIGSTOP)
        stuck = asyncio.create_task(cut(worker, tmp_path, tone(0.5)), name="stuck")
        await asyncio.sleep(0)
        if end == "crash":
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(NoSpeech, match="has crashed"):
                await stuck
        else:
            stuck.cancel()
            await asyncio.wait({stuck})
        assert pid not in worker.pids
        assert len(await cut(worker, tmp_path, tone(0.5))) == 1


async def test_a_recording_is_cut_where_it_is_quiet_and_whole() -> None:
    rng = np.random.default_rng(3)
    loud = rng.uniform(-0.5, 0.5, RATE * 40).astype(np.float32)
    for second in (8, 17, 25, 33):
        loud[second * RATE : second * RATE + RATE // 2] *= 0.001
    found = list(pieces(np.array_split(loud, 37), 10))
    assert np.array_equal(np.concatenate([piece for _, piece in found]), loud)
    assert [first for first, _ in found] == [0, *np.cumsum([len(piece) for _, piece in found])[:-1]]
    assert all(len(piece) <= 10 * RATE for _, piece in found)
    assert [round(first / RATE - 0.25) for first, _ in found[1:]] == [8, 17, 25, 33]
    assert 0 < quiet_moment(np.zeros(10, np.float32)) <= 10
    assert list(pieces([], 10)) == []


class _Config(dict[str, Any]):
    def locked_by(self, _key: str) -> None:
        return None


async def test_models_are_found_by_their_names_in_two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings: Any = SimpleNamespace(data_dir=tmp_path / "data", local_models_trust_admins=False)

    def find(name: str) -> Path:
        return folder_of(_Config({"audio.stt.whisper_model": name}), settings)  # type: ignore[arg-type]

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name in ("config.json", "model.bin", "tokenizer.json"):
            (folder / name).touch()
        return folder

    for name in ("base", "owner/mine", "../../outside", "x" * 5000, "a\0b"):
        with pytest.raises(NoEngine, match="is not on this machine"):
            find(name)
    mine = make(tmp_path / "data" / "models" / "mine")
    snapshot = make(tmp_path / "hub" / "models--Systran--faster-whisper-base" / "snapshots" / "c0ffee")
    reference = snapshot.parents[1] / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("c0ffee")
    outside = make(tmp_path / "outside")
    assert (find("mine"), find("base")) == (mine, snapshot)
    with pytest.raises(NoEngine):
        find(f"../../{outside.name}")
    monkeypatch.setattr("open_webui.audio.local.has_extra", lambda: False)
    with pytest.raises(NoEngine, match="extra 'speech'"):
        find("mine")


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL", str(real_whisper.folder()))


@sqlite_only
@pytest.mark.asyncio(loop_scope="function")
async def test_what_espeak_speaks_the_model_hears(whisper: None, user: Actor, live: Live) -> None:
    assert (await user.client.get("/api/config")).json()["audio"]["stt"] == {"engine": ""}
    said = {"input": "Tomorrow we will meet at the station.", "voice": "en-us", "speed": 0.8}
    spoken = await user.client.post("/api/v1/audio/speech", json=said)
    files = {"file": ("a.wav", spoken.content, "audio/wav")}
    heard = await user.client.post(
        "/api/v1/audio/transcriptions", files=files, data={"response_format": "verbose_json"}, timeout=120
    )
    assert heard.status_code == 200, heard.text
    words = re.findall(r"[a-z]+", heard.json()["text"].lower())
    assert {"tomorrow", "meet", "station"} <= set(words)
    assert heard.json()["language"] == "en"
    assert heard.json()["segments"][0]["start"] == pytest.approx(0, abs=1)
    rows = await used(live, 2)
    assert (rows[1].model_id, rows[1].connection) == ("whisper-tiny", "audio:local")
    # Silence is nothing, and a language that there is not is said.
    files = {"file": ("a.wav", tone(1.0, loud=0), "audio/wav")}
    assert (await user.client.post("/api/v1/audio/transcriptions", files=files)).json()["text"] == ""
    files = {"file": ("a.wav", spoken.content, "audio/wav")}
    odd = await user.client.post("/api/v1/audio/transcriptions", files=files, data={"language": "xx"}, timeout=60)
    assert (odd.status_code, odd.json()["detail"]) == (400, "The model does not know the language 'xx'.")
