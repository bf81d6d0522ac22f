"""Speech, as it goes out, and the forms that come in."""

from typing import Final, NotRequired, TypedDict

import msgspec

from open_webui.config import BY_KEY
from open_webui.schemas.audio import REALTIME, STT, TTS
from open_webui.schemas.replies.settings import shown

_realtime: Final = shown("AudioRealtime", REALTIME)
_tts: Final = shown("AudioSpeaking", TTS)
_stt: Final = shown("AudioListening", STT)
Config: Final = msgspec.defstruct("AudioConfig", [("realtime", _realtime), ("tts", _tts), ("stt", _stt)], kw_only=True)


def _form(name: str, settings: dict[str, str]) -> type[msgspec.Struct]:
    fields = [(wire, BY_KEY[key].type | None | msgspec.UnsetType, msgspec.UNSET) for wire, key in settings.items()]
    return msgspec.defstruct(name, fields, kw_only=True)


ConfigForm: Final = msgspec.defstruct(
    "AudioConfigForm",
    [
        ("tts", _form("AudioSpeakingForm", dict(TTS))),
        ("stt", _form("AudioListeningForm", dict(STT))),
        ("realtime", _form("AudioRealtimeForm", dict(REALTIME)) | None | msgspec.UnsetType, msgspec.UNSET),
    ],
    kw_only=True,
)


class Voice(TypedDict):
    id: str
    name: str


class Voices(TypedDict):
    voices: list[Voice]


class SpeechModel(TypedDict):
    id: str
    name: NotRequired[str]


class SpeechModels(TypedDict):
    models: list[SpeechModel]


class SpeechForm(TypedDict):
    """response_format: mp3, wav, opus, aac, flac or pcm; left out, the header `Accept` decides. What the answer is, its content
    type says. speed: 1 is as usual.
    """

    input: str
    model: NotRequired[str | None]
    voice: NotRequired[str | None]
    response_format: NotRequired[str | None]
    speed: NotRequired[float | None]


class Segment(TypedDict):
    """start, end: in seconds."""

    id: int
    start: float
    end: float
    text: str
    speaker: NotRequired[int]


class Transcript(TypedDict):
    """filename: what the recording is kept as. language, duration, segments: with `response_format` verbose_json."""

    text: str
    filename: str
    task: NotRequired[str]
    language: NotRequired[str]
    duration: NotRequired[float]
    segments: NotRequired[list[Segment]]
