"""Services that listen: OpenAI and what is compatible, Deepgram, Azure, Mistral."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import aiohttp
import msgspec

from open_webui.audio.base import Heard, Listener, NoEngine, Part, Recording
from open_webui.audio.remote import LISTENING, Service, needed, segment
from open_webui.config import Config
from open_webui.utils.base64s import in_turn, to_base64

WEB: Final = (
    "The engine 'web' is the browser's own: it listens in the page, and the server listens to nothing. An administrator can"
    " choose another engine in the settings of audio."
)
# Bytes of a recording that these services take.
_OPENAI: Final = 25_000_000
_DEEPGRAM: Final = 2_000_000_000
_AZURE: Final = 250_000_000
_MISTRAL: Final = 100_000_000
# In base64 in a JSON object.
_IN_JSON: Final = 15_000_000
_LOCALES: Final = "en-US es-ES es-MX fr-FR hi-IN it-IT de-DE en-GB en-IN ja-JP ko-KR pt-BR zh-CN".split()
_AZURE_VERSION: Final = "2024-11-15"
_INSTRUCTION: Final = "Write down what is said in this recording, word for word, and nothing else."


class OpenAIListener:
    """See `base.Listener`. Its wire is that of many others."""

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        address, key = config["audio.stt.openai.api_base_url"], config["audio.stt.openai.api_key"]
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._service = Service(http, "The speech service", address, headers, key)
        self._in_json = config["audio.stt.openai.api_request_format"] == "json"
        self.model = config["audio.stt.model"] or "whisper-1"
        self.largest = _IN_JSON if self._in_json else _OPENAI

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """See `base.Listener`."""
        fields = {"model": self.model} | ({"language": language} if language else {})
        if self._in_json:
            sound = {"data": await _base64(recording.path), "format": ending(recording.name)}
            answer = await self._service.sent(
                "/audio/transcriptions", payload=fields | {"input_audio": sound}, timeout=LISTENING
            )
        else:
            answer = await _form(self._service, "/audio/transcriptions", fields, "file", recording)
        return _heard(self._service, answer)


class DeepgramListener:
    """See `base.Listener`."""

    largest = _DEEPGRAM

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.stt.deepgram.api_key"], "Deepgram")
        address = config["audio.stt.deepgram.api_base_url"]
        self._service = Service(http, "Deepgram", address, {"authorization": f"Token {key}"}, key)
        self.model = config["audio.stt.model"] or "nova-3"

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """See `base.Listener`."""
        query = f"?model={segment(self.model)}&smart_format=true"
        query += f"&language={segment(language)}" if language else "&detect_language=true"
        file = await asyncio.to_thread(recording.path.open, "rb")
        try:
            answer = await self._service.sent(
                "/v1/listen" + query, data=file, headers={"content-type": _mime(recording)}, timeout=LISTENING
            )
        finally:
            file.close()
        channel = _first(_at(answer, "results", "channels"))
        alternative = _first(_at(channel, "alternatives"))
        text = _at(alternative, "transcript")
        if not isinstance(text, str):
            raise self._service.odd("no transcript")
        seconds, found = _at(answer, "metadata", "duration"), _at(channel, "detected_language")
        return Heard(text.strip(), found if isinstance(found, str) else language or "", _number(seconds))


class AzureListener:
    """See `base.Listener`. It tells speakers apart where the settings say how many there may be."""

    largest = _AZURE
    model = "azure-transcription"

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.stt.azure.api_key"], "Azure")
        region = config["audio.stt.azure.region"] or "eastus"
        address = config["audio.stt.azure.base_url"] or f"https://{segment(region)}.api.cognitive.microsoft.com"
        self._service = Service(http, "Azure", address, {"Ocp-Apim-Subscription-Key": key}, key)
        self._locales = [one.strip() for one in config["audio.stt.azure.locales"].split(",") if one.strip()] or _LOCALES
        most = config["audio.stt.azure.max_speakers"].strip()
        self._speakers = int(most) if most.isascii() and most.isdigit() else 0

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """See `base.Listener`."""
        locales = [
            one for one in self._locales if language and one.lower().startswith(language.lower())
        ] or self._locales
        definition: dict[str, Any] = {"locales": locales}
        if self._speakers > 1:
            definition["diarization"] = {"enabled": True, "maxSpeakers": self._speakers}
        path = f"/speechtotext/transcriptions:transcribe?api-version={_AZURE_VERSION}"
        fields = {"definition": msgspec.json.encode(definition).decode()}
        answer = await _form(self._service, path, fields, "audio", recording)
        phrases = _at(answer, "combinedPhrases")
        if not isinstance(phrases, list):
            raise self._service.odd("no transcript")
        text = " ".join(found for one in phrases if isinstance(found := _at(one, "text"), str))
        parts = tuple(_phrase(one) for one in _list(_at(answer, "phrases")) if isinstance(one, dict))
        return Heard(text.strip(), "", _number(_at(answer, "durationMilliseconds")) / 1000, parts)


class MistralListener:
    """See `base.Listener`: by its transcriptions, or by a chat model that hears."""

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.stt.mistral.api_key"], "Mistral")
        address = config["audio.stt.mistral.api_base_url"]
        self._service = Service(http, "Mistral", address, {"authorization": f"Bearer {key}"}, key)
        self._in_chat = bool(config["audio.stt.mistral.use_chat_completions"])
        self.model = config["audio.stt.model"] or "voxtral-mini-latest"
        self.largest = _IN_JSON if self._in_chat else _MISTRAL

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """See `base.Listener`."""
        if not self._in_chat:
            fields = {"model": self.model} | ({"language": language} if language else {})
            answer = await _form(self._service, "/audio/transcriptions", fields, "file", recording)
            return _heard(self._service, answer)
        sound = {"type": "input_audio", "input_audio": await _base64(recording.path)}
        asked = {"type": "text", "text": _INSTRUCTION + (f" It is in the language {language}." if language else "")}
        payload = {"model": self.model, "messages": [{"role": "user", "content": [sound, asked]}], "temperature": 0}
        answer = await self._service.sent("/chat/completions", payload=payload, timeout=LISTENING)
        content = _at(_first(_at(answer, "choices")), "message", "content")
        if isinstance(content, list):
            content = "".join(str(_at(one, "text") or "") for one in content)
        if not isinstance(content, str):
            raise self._service.odd("no transcript")
        return Heard(content.strip(), language or "")


async def _form(service: Service, path: str, fields: Mapping[str, str], name: str, recording: Recording) -> Any:
    """The answer to a form with the recording in it, which is read from its file as it is sent."""
    form = aiohttp.FormData()
    for field, value in fields.items():
        form.add_field(field, value)
    file: BinaryIO = await asyncio.to_thread(recording.path.open, "rb")
    try:
        form.add_field(name, file, filename=f"recording.{ending(recording.name)}", content_type=_mime(recording))
        return await service.sent(path, data=form, timeout=LISTENING)
    finally:
        file.close()


async def _base64(path: Path) -> str:
    return await in_turn(to_base64, await asyncio.to_thread(path.read_bytes))


def ending(name: str) -> str:
    """The ending of a recording's name, in small letters; wav where it has none."""
    found = name.rpartition(".")[2].lower() if "." in name else ""
    return found if found.isascii() and found.isalnum() else "wav"


def _mime(recording: Recording) -> str:
    kind = recording.mime.partition(";")[0].strip().lower()
    return (
        kind
        if kind.startswith(("audio/", "video/")) and kind.isascii() and " " not in kind
        else "application/octet-stream"
    )


def _heard(service: Service, answer: Any) -> Heard:
    text = _at(answer, "text")
    if not isinstance(text, str):
        raise service.odd("no transcript")
    parts = tuple(
        Part(_number(_at(one, "start")), _number(_at(one, "end")), str(_at(one, "text") or "").strip())
        for one in _list(_at(answer, "segments"))
    )
    language = _at(answer, "language")
    return Heard(text.strip(), language if isinstance(language, str) else "", _number(_at(answer, "duration")), parts)


def _phrase(phrase: dict[str, Any]) -> Part:
    start = _number(phrase.get("offsetMilliseconds")) / 1000
    end = start + _number(phrase.get("durationMilliseconds")) / 1000
    return Part(start, end, str(phrase.get("text") or ""), int(_number(phrase.get("speaker"))))


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


_REMOTE: Final[Mapping[str, Callable[[aiohttp.ClientSession, Config], Listener]]] = {
    "openai": OpenAIListener,
    "deepgram": DeepgramListener,
    "azure": AzureListener,
    "mistral": MistralListener,
}


def remote_listener(config: Config, http: aiohttp.ClientSession) -> Listener:
    """The service that the settings choose. Raises NoEngine where it lacks something."""
    engine = config["audio.stt.engine"]
    if engine == "web":
        raise NoEngine(WEB)
    make = _REMOTE.get(engine)
    if make is None:
        raise NoEngine(f"There is no engine '{engine[:50]}' that listens.")
    return make(http, config)
