"""VITS models of Transformers on this machine: that they speak, whose voices there are, and what is no model."""

import asyncio
import json
import os
import shutil
import signal
import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.audio import networks
from open_webui.audio.networks import Networks
from tests.open_webui.audio.conftest import CONFIG, SetUp
from tests.support import tiny_vits
from tests.support.live import Actor, Live, used

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
    pytest.mark.xdist_group("audio-worker"),
]
TEXT = "Tomorrow we will meet at the station. The garden is full of yellow flowers."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vits.write_model(tmp_path_factory.mktemp("vits") / "tiny", speakers=3)


def here(live: Live) -> Networks:
    found: Networks = live.app.state.oui.audio.speaking.networks
    return found


@pytest.fixture
def home(live: Live) -> Path:
    home = live.app.state.oui.settings.data_dir / "models"
    home.mkdir(parents=True, exist_ok=True)
    return Path(home)


async def spoken(user: Actor, text: str = TEXT, **more: Any) -> httpx.Response:
    return await user.client.post("/api/v1/audio/speech", json={"input": text} | more, timeout=300)


def seconds_of(reply: httpx.Response) -> float:
    assert (reply.status_code, reply.headers["content-type"]) == (200, "audio/wav"), reply.text
    with wave.open(BytesIO(reply.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (tiny_vits.RATE, 1, 2)
    return (len(reply.content) - 44) / 2 / tiny_vits.RATE


async def test_a_model_speaks(tiny: Path, home: Path, user: Actor, admin: Actor, live: Live, set_up: SetUp) -> None:
    shutil.copytree(tiny, home / "mine")
    now = (await admin.client.get(CONFIG)).json()
    now["tts"] |= {"ENGINE": "transformers", "MODEL": "mine"}
    reply = await admin.client.post(f"{CONFIG}/update", json=now)
    assert (reply.status_code, reply.json()["tts"]["ENGINE"]) == (200, "transformers")
    whole = seconds_of(await spoken(user))
    assert 0.1 < whole < 60
    pid = here(live).pid
    assert seconds_of(await spoken(user, speed=0.5)) > 1.3 * whole
    rows = await used(live, 2)
    assert (rows[0].model_id, rows[0].connection) == ("mine", "audio:transformers")
    listed = (await user.client.get("/api/v1/audio/voices")).json()["voices"]
    assert [voice["id"] for voice in listed] == ["0", "1", "2"]
    assert (await user.client.get("/api/v1/audio/models")).json() == {"models": [{"id": "mine", "name": "mine"}]}
    others = [(await spoken(user, voice=voice)).content for voice in ("1", "2")]
    assert others[0] != others[1]
    for voice in ("3", "-1", "../x", "１"):
        reply = await spoken(user, voice=voice)
        assert (reply.status_code, "There is no voice" in reply.text) == (400, True), voice
    # What has no letter that it knows is spoken as nothing, and ends nothing.
    for text in ("...", "字" * 50, "\x00\x01", "☃"):
        assert seconds_of(await spoken(user, text)) < 5, text
    assert here(live).pid == pid


async def test_a_model_of_the_hubs_cache_speaks(
    tiny: Path, user: Actor, set_up: SetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--somebody--tiny"
    shutil.copytree(tiny, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    await set_up(tts="transformers", audio__tts__model="somebody/tiny", audio__tts__voice="2")
    assert seconds_of(await spoken(user, "Hello.", response_format="wav")) > 0


async def test_a_process_that_dies_costs_one_text(
    tiny: Path, home: Path, user: Actor, live: Live, set_up: SetUp
) -> None:
    shutil.copytree(tiny, home / "mine")
    await set_up(tts="transformers", audio__tts__model="mine")
    assert (await spoken(user, "Hello.")).status_code == 200
    pid = here(live).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(spoken(user, "Hello again."), name="stuck")
    os.kill(pid, signal.SIGKILL)
    reply = await asking
    assert (reply.status_code, "could not be spoken" in reply.text) == (503, True)
    async with asyncio.timeout(120):
        while (await spoken(user, "Hello again.")).status_code != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    assert here(live).pid not in {None, pid}


def written(folder: Path, tiny: Path, name: str, content: bytes | None) -> None:
    """A model one file of which is another, or is missing."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny, folder)
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)


BROKEN: list[tuple[str, bytes | None, str]] = [
    ("config.json", None, "is not on this machine"),
    ("config.json", b"[" * 100_000, "is of another kind"),
    ("config.json", b'{"model_type": "speecht5"}', "is of another kind"),
    ("config.json", b'{"model_type": "vits", "hidden_size": 7}', "The model can't be loaded: "),
    ("model.safetensors", None, "is not on this machine"),
    ("model.safetensors", b"\xff" * 100, "The model can't be loaded: "),
    ("vocab.json", None, "The model can't be loaded: "),
    ("vocab.json", b"[]", "The model can't be loaded: "),
    ("tokenizer_config.json", b'{"phonemize": true}', "reads sounds or Latin letters"),
    ("tokenizer_config.json", b'{"phonemize": false, "is_uroman": true}', "reads sounds or Latin letters"),
]


async def test_what_is_no_model_is_said(tiny: Path, home: Path, user: Actor, live: Live, set_up: SetUp) -> None:
    await set_up(tts="transformers")
    assert "'tts-1'" in (await spoken(user)).json()["detail"]
    assert (await user.client.get("/api/v1/audio/voices")).json() == {"voices": []}
    pids = set()
    for number, (name, content, said) in enumerate(BROKEN):
        written(home / f"odd{number}", tiny, name, content)
        await set_up(audio__tts__model=f"odd{number}")
        reply = await spoken(user)
        assert (reply.status_code, said in reply.text) == (503, True), (name, content, reply.text)
        pids.add(here(live).pid)
    # The process refuses, and goes on.
    assert len(pids - {None}) == 1
    written(home / "pickled", tiny, "model.safetensors", None)
    (home / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    await set_up(audio__tts__model="pickled")
    assert "in pickle files" in (await spoken(user)).json()["detail"]


async def test_names_lead_nowhere_else(
    tiny: Path, home: Path, user: Actor, set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(tiny), f"../../{tiny.name}", "", ".", "x" * 5000, "a\x00b"):
        await set_up(tts="transformers", audio__tts__model=name)
        reply = await spoken(user)
        assert (reply.status_code, str(tiny.parent) in reply.text) == (503, False), (name, reply.text)
    (home / "link").symlink_to(tiny)
    await set_up(audio__tts__model="link")
    assert (await spoken(user)).status_code == 503
    assert json.loads((tiny / "config.json").read_text())["num_speakers"] == 3
    monkeypatch.setattr(networks, "has_extra", lambda: False)
    assert "extra 'transformers'" in (await spoken(user)).json()["detail"]
