"""The page about audio: its recorded shape, what it stores, what it refuses, and what pages are told of engines."""

from typing import Any

import pytest

from open_webui.config import BY_KEY, effect
from open_webui.schemas.audio import PARTS
from tests.support.live import Actor

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CONFIG = "/api/v1/audio/config"
UPDATE = "/api/v1/audio/config/update"
# As it was recorded of the wire's own server at its first start.
RECORDED: dict[str, Any] = {
    "realtime": {
        "ENABLED": False, "PROVIDER": "openai", "AUTH_TYPE": "api_key",
        "OPENAI_API_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "", "MODEL": "gpt-realtime-2.1-mini",
        "VOICE": "marin", "TRANSCRIPTION_MODEL": "gpt-transcribe", "INPUT_PARAMS": None,
        "REALTIME_CALL_PROMPT_TEMPLATE": None,
    },
    "tts": {
        "OPENAI_API_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "", "OPENAI_PARAMS": {}, "API_KEY": "",
        "ENGINE": "", "MODEL": "tts-1", "VOICE": "alloy", "REALTIME_TTS_PROMPT_TEMPLATE": None,
        "SPLIT_ON": "punctuation", "AZURE_SPEECH_REGION": "", "AZURE_SPEECH_BASE_URL": "",
        "AZURE_SPEECH_OUTPUT_FORMAT": "audio-24khz-160kbitrate-mono-mp3", "MISTRAL_API_KEY": "",
        "MISTRAL_API_BASE_URL": "https://api.mistral.ai/v1",
    },
    "stt": {
        "OPENAI_API_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "",
        "OPENAI_API_REQUEST_FORMAT": "multipart", "ENGINE": "", "MODEL": "", "SUPPORTED_CONTENT_TYPES": [],
        "ALLOWED_EXTENSIONS": ["mp3", "wav", "m4a", "webm", "ogg", "flac", "mp4", "mpga", "mpeg"],
        "WHISPER_MODEL": "base", "DEEPGRAM_API_KEY": "", "AZURE_API_KEY": "", "AZURE_REGION": "", "AZURE_LOCALES": "",
        "AZURE_BASE_URL": "", "AZURE_MAX_SPEAKERS": "", "MISTRAL_API_KEY": "",
        "MISTRAL_API_BASE_URL": "https://api.mistral.ai/v1", "MISTRAL_USE_CHAT_COMPLETIONS": False,
    },
}  # fmt: skip


def test_every_setting_of_the_wire_stands_on_the_page(database_kind: str) -> None:
    own = {"audio.tts.cache_size", "audio.tts.elevenlabs.api_base_url", "audio.stt.deepgram.api_base_url",
           "audio.stt.max_seconds", "audio.stt.max_size"}  # fmt: skip
    shown = {key for names in PARTS.values() for key in names.values()}
    assert shown == {key for key in BY_KEY if key.startswith("audio.")} - own
    assert {key for key in shown if effect(key) == "kept"} == {"audio.tts.realtime.prompt_template"}


async def test_the_page_is_as_recorded_and_saves_itself(admin: Actor, user: Actor) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    assert shown == RECORDED
    assert [list(part) for part in shown.values()] == [list(part) for part in RECORDED.values()]
    # As the page posts it: fields of text may hold numbers, lists are split texts, nothing is emptied.
    posted = {
        "realtime": shown["realtime"],
        "tts": shown["tts"]
        | {"ENGINE": "openai", "OPENAI_API_KEY": "k", "VOICE": "nova", "OPENAI_PARAMS": {"speed": 2}},
        "stt": shown["stt"] | {"SUPPORTED_CONTENT_TYPES": [""], "AZURE_MAX_SPEAKERS": 3},
    }
    saved = await admin.client.post(UPDATE, json=posted)
    assert saved.status_code == 200, saved.text
    assert saved.json() == posted | {"stt": posted["stt"] | {"AZURE_MAX_SPEAKERS": "3"}}
    assert (await admin.client.get(CONFIG)).json() == saved.json()
    told = (await user.client.get("/api/config")).json()["audio"]
    assert told["tts"] == {"engine": "openai", "voice": "nova", "split_on": "punctuation"}
    # This machine has no model that could listen.
    assert told["stt"] == {"engine": "web"}
    assert told["realtime"] == {"enabled": False, "model": "gpt-realtime-2.1-mini", "voice": "marin"}
    called = {"ENABLED": True, "MODEL": "m", "VOICE": "v", "INPUT_PARAMS": {"noise_reduction": {"type": "near_field"}}}
    assert (await admin.client.post(UPDATE, json={"tts": {}, "stt": {}, "realtime": called})).status_code == 200
    told = (await user.client.get("/api/config")).json()["audio"]
    assert told["realtime"] == {"enabled": True, "model": "m", "voice": "v"}
    for reply in (await user.client.get(CONFIG), await user.client.post(UPDATE, json=posted)):
        assert reply.status_code == 401


async def test_what_is_left_out_or_empty_keeps_or_empties(admin: Actor) -> None:
    await admin.client.post(UPDATE, json={"tts": {"VOICE": "echo", "OPENAI_PARAMS": {"a": 1}}, "stt": {}})
    after = (await admin.client.post(UPDATE, json={"tts": {"OPENAI_PARAMS": ""}, "stt": {"MODEL": None}})).json()
    assert (after["tts"]["VOICE"], after["tts"]["OPENAI_PARAMS"], after["stt"]["MODEL"]) == ("echo", {}, "")


IMPOSSIBLE: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "'tts' should be an object."),
    ({"tts": {}}, 422, "'stt' should be an object."),
    ({"tts": {"ENGINE": "parrot"}, "stt": {}}, 422, "tts.ENGINE should be one of"),
    ({"tts": {"MODEL": []}, "stt": {}}, 422, "tts.MODEL should be a text."),
    ({"tts": {"MODEL": "x" * 20_001}, "stt": {}}, 422, "tts.MODEL is too long."),
    ({"tts": {"OPENAI_API_BASE_URL": "ftp://x"}, "stt": {}}, 422, "should begin with http:// or https://."),
    ({"tts": {}, "stt": {"ALLOWED_EXTENSIONS": [1]}}, 422, "stt.ALLOWED_EXTENSIONS should be a list of texts."),
    ({"tts": {}, "stt": {"MISTRAL_USE_CHAT_COMPLETIONS": "yes"}}, 422, "should be true or false."),
    ({"tts": {}, "stt": {}, "realtime": {"ENABLED": "yes"}}, 422, "realtime.ENABLED should be true or false."),
    ({"tts": {}, "stt": {}, "realtime": {"INPUT_PARAMS": [1]}}, 422, "realtime.INPUT_PARAMS should be an object."),
    ({"tts": {}, "stt": {}, "realtime": {"PROVIDER": "x"}}, 422, "realtime.PROVIDER should be one of"),
]


async def test_what_can_not_be_is_refused_and_named(admin: Actor) -> None:
    for body, status, said in IMPOSSIBLE:
        reply = await admin.client.post(UPDATE, json=body)
        assert reply.status_code == status, reply.text
        assert said in reply.json()["detail"]
    assert (await admin.client.get(CONFIG)).json() == RECORDED


async def test_the_environment_fixes_them(make_live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_TTS_ENGINE", "espeak")
    monkeypatch.setenv("AUDIO_STT_ALLOWED_EXTENSIONS", "wav,flac")
    monkeypatch.setenv("WHISPER_MODEL", "tiny")
    monkeypatch.setenv("AUDIO_REALTIME_ENABLED", "true")
    monkeypatch.setenv("AUDIO_REALTIME_INPUT_PARAMS", '{"turn_detection": {"threshold": 0.7}}')
    monkeypatch.setenv("REALTIME_CALL_PROMPT_TEMPLATE", "Be brief.")
    live = await make_live()
    config = live.app.state.oui.config
    assert config["audio.tts.engine"] == "espeak"
    assert config["audio.stt.allowed_extensions"] == ["wav", "flac"]
    assert config.locked_by("audio.stt.whisper_model") == "WHISPER_MODEL"
    assert config["audio.realtime.enabled"]
    assert config["audio.realtime.input_params"] == {"turn_detection": {"threshold": 0.7}}
    assert config["audio.realtime.prompt_template"] == "Be brief."
