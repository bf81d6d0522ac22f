"""Listening by services, and what is taken and refused on the way; the local engine is in test_local.py."""

import io
from typing import Any

import pytest

from open_webui.audio import listeners
from tests.open_webui.audio.conftest import SetUp
from tests.support.live import Actor, Live, used
from tests.support.speech_service import KEY, WAV, SpeechService, tone

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
LISTEN = "/api/v1/audio/transcriptions"


def form(data: bytes = WAV, name: str = "a.wav", kind: str = "audio/wav") -> dict[str, Any]:
    return {"file": (name, io.BytesIO(data), kind)}


SERVICES: dict[str, tuple[str, dict[str, Any], str]] = {
    "openai": ("POST /v1/audio/transcriptions", {}, "whisper-1"),
    "deepgram": ("POST /v1/listen?model=nova-3&smart_format=true&language=en", {}, "nova-3"),
    "azure": (
        "POST /speechtotext/transcriptions:transcribe?api-version=2024-11-15",
        {"audio__stt__azure__max_speakers": "3", "audio__stt__azure__locales": "de-DE, en-GB"}, "azure-transcription",
    ),
    "mistral": ("POST /mistral/audio/transcriptions", {"audio__stt__model": "voxtral"}, "voxtral"),
}  # fmt: skip


@pytest.mark.parametrize("engine", SERVICES)
async def test_services_listen(
    engine: str, user: Actor, other: Actor, service: SpeechService, set_up: SetUp, live: Live
) -> None:
    path, settings, model = SERVICES[engine]
    await set_up(stt=engine, **settings)
    reply = await user.client.post(LISTEN, files=form(), data={"language": "en"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["text"] == "hello from the service"
    name = reply.json()["filename"]
    assert name.endswith(".wav")
    asked, headers, body = service.received[-1]
    assert asked == path
    assert KEY in str(headers)
    if engine == "deepgram":
        assert body == WAV
    else:
        assert body["audio" if engine == "azure" else "file"] == ("recording.wav", WAV)
    if engine == "azure":
        assert body["definition"] == '{"locales":["en-GB"],"diarization":{"enabled":true,"maxSpeakers":3}}'
    (row,) = await used(live, 1)
    assert (row.model_id, row.connection, row.user_id) == (model, f"audio:{engine}", user.id)
    # The recording is the asker's for a while, and nobody else's.
    kept = f"/api/v1/files/{name.partition('.')[0]}/content"
    assert (await user.client.get(kept)).content == WAV
    assert (await other.client.get(kept)).status_code == 404


async def test_services_listen_to_a_recording_inside_json(user: Actor, service: SpeechService, set_up: SetUp) -> None:
    in_json = {"audio__stt__openai__api_request_format": "json", "audio__stt__mistral__use_chat_completions": True}
    for engine in ("openai", "mistral"):
        await set_up(stt=engine, **in_json)
        reply = await user.client.post(LISTEN, files=form())
        assert reply.json()["text"] == "hello from the service"
        _, _, body = service.received[-1]
        sound = body["input_audio"] if engine == "openai" else body["messages"][0]["content"][0]["input_audio"]
        assert sound if engine == "mistral" else sound["format"] == "wav"


async def test_a_service_that_fails_is_told_of(user: Actor, service: SpeechService, set_up: SetUp) -> None:
    for engine in SERVICES:
        await set_up(stt=engine)
        for mood, said in (("failing", "Out of order, ***"), ("odd", "not JSON")):
            service.mood = mood
            reply = await user.client.post(LISTEN, files=form())
            assert reply.status_code >= 500
            assert said in reply.json()["detail"]
            assert KEY not in reply.text


async def test_the_answer_comes_in_the_form_that_is_asked_for(
    user: Actor, service: SpeechService, set_up: SetUp
) -> None:
    await set_up(stt="openai")
    text = await user.client.post(LISTEN, files=form(), data={"response_format": "text"})
    assert (text.text, text.headers["content-type"]) == ("hello from the service", "text/plain; charset=utf-8")
    whole = (await user.client.post(LISTEN, files=form(), data={"response_format": "verbose_json"})).json()
    assert whole["duration"] == 1.5
    assert whole["segments"] == [{"id": 0, "start": 0.0, "end": 1.5, "text": "hello from the service"}]
    await set_up(stt="azure")
    whole = (await user.client.post(LISTEN, files=form(), data={"response_format": "verbose_json"})).json()
    assert whole["segments"] == [{"id": 0, "start": 0.5, "end": 1.5, "text": "hello from the service", "speaker": 2}]


IMPOSSIBLE: list[tuple[dict[str, Any], int, str]] = [
    ({"files": form(b"text", "a.txt", "text/plain")}, 400, "Oops! It seems like the file format"),
    ({"files": form(WAV, "a.exe", "audio/wav")}, 400, "Oops! It seems like the file format"),
    ({"files": form(WAV, "a", "audio/wav")}, 400, "Oops! It seems like the file format"),
    ({"files": form(b"")}, 400, "The recording is empty."),
    ({"files": form(bytes(2**20 + 1))}, 413, "larger than 1 MB"),
    ({"files": {"other": ("a.wav", b"x", "audio/wav")}}, 422, "Field required"),
    ({"json": {"file": "x"}}, 422, "Field required"),
    ({"files": form(), "data": {"language": "../en"}}, 400, "'language' should be"),
    ({"files": form(), "data": {"response_format": "srt"}}, 400, "'response_format' should be one of"),
    ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "can't be read"),
]


async def test_what_can_not_be_listened_to_is_refused(user: Actor, set_up: SetUp, service: SpeechService) -> None:
    await set_up(stt="openai", audio__stt__max_size=1)
    for given, status, said in IMPOSSIBLE:
        reply = await user.client.post(LISTEN, **given)
        assert reply.status_code == status, reply.text
        assert said in reply.text
    assert service.received == []


async def test_types_and_endings_are_those_of_the_settings(user: Actor, set_up: SetUp) -> None:
    await set_up(stt="openai", audio__stt__supported_content_types=["audio/x-*"], audio__stt__allowed_extensions=[""])
    assert (await user.client.post(LISTEN, files=form(WAV, "a.wav", "audio/wav"))).status_code == 400
    assert (await user.client.post(LISTEN, files=form(WAV, "a.odd", "audio/x-odd; codecs=1"))).status_code == 200


async def test_a_browser_that_listens_itself_needs_no_server(user: Actor, set_up: SetUp) -> None:
    await set_up(stt="web")
    assert (await user.client.get("/api/config")).json()["audio"]["stt"] == {"engine": "web"}
    reply = await user.client.post(LISTEN, files=form())
    assert (reply.status_code, reply.json()["detail"]) == (503, listeners.WEB)


async def test_a_long_recording_goes_to_a_service_in_parts(
    user: Actor, service: SpeechService, set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut where it is quiet, sent in order, and its times are those of the whole."""
    pytest.importorskip("av")
    monkeypatch.setattr(listeners, "_OPENAI", 32_000 * 3)
    service.heard = ["one", "two", "three"]
    await set_up(stt="openai")
    sound = b"".join([tone(1.5)[44:], tone(0.5, loud=0)[44:]] * 2)
    data = WAV[:40] + len(sound).to_bytes(4, "little") + sound
    reply = await user.client.post(LISTEN, files=form(data), data={"response_format": "verbose_json"})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    sent = [body["file"][1] for _, _, body in service.received]
    assert found["text"].split() == ["one", "two", "three"][: len(sent)]
    assert len(sent) >= 2
    assert all(len(one) <= 32_000 * 3 for one in sent)
    assert sum(len(one) - 44 for one in sent) == pytest.approx(len(sound), abs=64)
    # The first cut is in the silence after the first note.
    assert 1.5 * 32_000 <= len(sent[0]) - 44 <= 2.0 * 32_000
    starts = [segment["start"] for segment in found["segments"]]
    assert starts == sorted(starts)
    assert starts[1] == pytest.approx((len(sent[0]) - 44) / 32_000)


async def test_without_the_extra_a_long_recording_is_refused(
    user: Actor, set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_OPENAI", 1000)
    monkeypatch.setattr("open_webui.services.audio.hearing.has_extra", lambda: False)
    await set_up(stt="openai")
    reply = await user.client.post(LISTEN, files=form())
    assert (reply.status_code, "extra 'speech'" in reply.json()["detail"]) == (413, True)


async def test_who_may_not_speak_is_not_heard(user: Actor, pending: Actor, admin: Actor, set_up: SetUp) -> None:
    await set_up(stt="openai")
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree["chat"]["stt"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=tree)
    for actor in (user, pending):
        assert (await actor.client.post(LISTEN, files=form())).status_code == 401
    assert (await admin.client.post(LISTEN, files=form())).status_code == 200
