"""Services that speak: OpenAI and what is compatible, ElevenLabs, Azure, Mistral."""

import html
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp

from open_webui.audio.base import Asked, Named, NoEngine, Speaker, Speech
from open_webui.audio.espeak import EspeakSpeaker
from open_webui.audio.networks import ENGINE as TRANSFORMERS
from open_webui.audio.networks import Networks, TransformersSpeaker
from open_webui.audio.remote import MIMES, Service, needed, segment
from open_webui.audio.voices import ENGINE as PIPER
from open_webui.audio.voices import PiperSpeaker, Voices
from open_webui.config import Config
from open_webui.errors import ProviderError

# As the settings name them. "": pages speak themselves, by their browsers; whoever asks the server hears espeak-ng.
ENGINES: Final = ("", "espeak", PIPER, TRANSFORMERS, "openai", "elevenlabs", "azure", "mistral")
_VOICES: Final = [Named(name, name) for name in ("alloy", "echo", "fable", "onyx", "nova", "shimmer")]
_MODELS: Final = [Named(name, name) for name in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")]
_OPENAI: Final = "https://api.openai.com"
# ElevenLabs' names of what can be asked for.
_FORMS: Final[Mapping[str, str]] = {
    "mp3": "mp3_44100_128",
    "opus": "opus_48000_64",
    "pcm": "pcm_24000",
    "wav": "wav_24000",
}
_MOST_LISTED: Final = 2_000


class OpenAISpeaker:
    """See `base.Speaker`. Its wire is that of many others."""

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        address, key = config["audio.tts.openai.api_base_url"], config["audio.tts.openai.api_key"]
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._service = Service(http, "The speech service", address, headers, key)
        self._params = config["audio.tts.openai.params"] or {}
        always = str(self._params.get("response_format", ""))
        self.own = always if always in MIMES else "mp3"
        self.forms = frozenset({self.own} if always else MIMES)
        self.identity = f"openai {self._service.address} {sorted(self._params.items())!r}"

    def speak(self, asked: Asked) -> AbstractAsyncContextManager[Speech]:
        """See `base.Speaker`."""
        wanted: dict[str, Any] = {
            "model": asked.model,
            "input": asked.text,
            "voice": asked.voice,
            "response_format": asked.form,
        }
        wanted |= {"speed": asked.speed} if asked.speed != 1.0 else {}
        payload = wanted | self._params
        return self._service.speech("/audio/speech", payload, str(payload["response_format"]))

    async def voices(self) -> list[Named]:
        """See `base.Speaker`: those of OpenAI, where a service lists none."""
        return await self._listed("/audio/voices", "voices", _VOICES)

    async def models(self) -> list[Named]:
        """See `base.Speaker`: those of OpenAI, where a service lists none."""
        if self._service.address.startswith(_OPENAI):
            return _MODELS
        return await self._listed("/audio/models", "models", []) or await self._listed("/models", "data", _MODELS)

    async def _listed(self, path: str, name: str, otherwise: list[Named]) -> list[Named]:
        if self._service.address.startswith(_OPENAI):
            return otherwise
        try:
            answer = await self._service.got(path)
        except ProviderError:
            return otherwise
        return entries_of(answer.get(name) if isinstance(answer, dict) else answer, ("id", "name")) or otherwise


class ElevenLabsSpeaker:
    """See `base.Speaker`."""

    forms = frozenset(_FORMS)
    own = "mp3"

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.tts.api_key"], "ElevenLabs")
        address = config["audio.tts.elevenlabs.api_base_url"]
        self._service = Service(http, "ElevenLabs", address, {"xi-api-key": key}, key)
        self.identity = f"elevenlabs {self._service.address}"

    def speak(self, asked: Asked) -> AbstractAsyncContextManager[Speech]:
        """See `base.Speaker`."""
        form = asked.form if asked.form in self.forms else self.own
        path = f"/v1/text-to-speech/{segment(asked.voice)}/stream?output_format={_FORMS[form]}"
        payload: dict[str, Any] = {"text": asked.text, "model_id": asked.model}
        payload |= {"voice_settings": {"speed": asked.speed}} if asked.speed != 1.0 else {}
        return self._service.speech(path, payload, form)

    async def voices(self) -> list[Named]:
        """See `base.Speaker`."""
        answer = await self._service.got("/v1/voices")
        return entries_of(answer.get("voices") if isinstance(answer, dict) else None, ("voice_id", "name"))

    async def models(self) -> list[Named]:
        """See `base.Speaker`."""
        return entries_of(await self._service.got("/v1/models"), ("model_id", "name"))


class AzureSpeaker:
    """See `base.Speaker`. Its models are its voices."""

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.tts.api_key"], "Azure")
        region = config["audio.tts.azure.speech_region"] or "eastus"
        address = config["audio.tts.azure.speech_base_url"] or f"https://{segment(region)}.tts.speech.microsoft.com"
        self._form = config["audio.tts.azure.speech_output_format"] or "audio-24khz-160kbitrate-mono-mp3"
        self._service = Service(http, "Azure", address, {"Ocp-Apim-Subscription-Key": key}, key)
        # Azure calls WAV by the container's name, and samples without one raw.
        called = self._form.replace("riff", "wav").replace("raw", "pcm")
        self.own = next((name for name in MIMES if name in called), "mp3")
        self.forms = frozenset({self.own})
        self.identity = f"azure {self._service.address} {self._form}"

    def speak(self, asked: Asked) -> AbstractAsyncContextManager[Speech]:
        """See `base.Speaker`. Its format is that of the settings."""
        headers = {"content-type": "application/ssml+xml", "x-microsoft-outputformat": self._form}
        body = ssml(asked).encode()
        return self._service.speech("/cognitiveservices/v1", None, self.own, data=body, headers=headers)

    async def voices(self) -> list[Named]:
        """See `base.Speaker`."""
        answer = await self._service.got("/cognitiveservices/voices/list")
        found = entries_of(answer, ("ShortName", "DisplayName"))
        return [Named(voice.id, f"{voice.name} ({voice.id})") for voice in found]

    async def models(self) -> list[Named]:
        """See `base.Speaker`: it has none."""
        return []


class MistralSpeaker:
    """See `base.Speaker`. Its answers come whole."""

    forms = frozenset({"mp3", "wav", "pcm", "flac", "opus"})
    own = "mp3"

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        key = needed(config["audio.tts.mistral.api_key"], "Mistral")
        address = config["audio.tts.mistral.api_base_url"]
        self._service = Service(http, "Mistral", address, {"authorization": f"Bearer {key}"}, key)
        self.identity = f"mistral {self._service.address}"

    def speak(self, asked: Asked) -> AbstractAsyncContextManager[Speech]:
        """See `base.Speaker`."""
        form = asked.form if asked.form in self.forms else self.own
        payload = {"model": asked.model, "input": asked.text, "voice_id": asked.voice, "response_format": form}
        return self._service.speech("/audio/speech", payload, form)

    async def voices(self) -> list[Named]:
        """See `base.Speaker`."""
        answer = await self._service.got("/audio/voices")
        items = answer.get("items", answer.get("data")) if isinstance(answer, dict) else answer
        return entries_of(items, ("id", "name"))

    async def models(self) -> list[Named]:
        """See `base.Speaker`: those of its models that speak."""
        answer = await self._service.got("/models")
        found = entries_of(answer.get("data") if isinstance(answer, dict) else answer, ("id", "name"))
        return [model for model in found if "tts" in model.id]


def entries_of(items: Any, fields: tuple[str, str]) -> list[Named]:
    """The voices or models of a service's list; what has no id is left out. fields: where id and name stand."""
    out = []
    for item in items[:_MOST_LISTED] if isinstance(items, list) else ():
        if isinstance(item, str) and item:
            out.append(Named(item[:200], item[:200]))
        elif isinstance(item, dict) and isinstance(found := item.get(fields[0]) or item.get("name"), str) and found:
            name = item.get(fields[1])
            out.append(Named(found[:200], name[:200] if isinstance(name, str) and name else found[:200]))
    return out


def ssml(asked: Asked) -> str:
    """The text as Azure reads it: nothing in it, and nothing in a voice's name, is markup."""
    parts = asked.voice.split("-")
    language = "-".join(parts[:2]) if len(parts) > 2 else "en-US"
    text = html.escape("".join(c for c in asked.text if c >= " " or c in "\t\n\r"))
    spoken = text if asked.speed == 1.0 else f'<prosody rate="{asked.speed:g}">{text}</prosody>'
    return (
        f'<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="{html.escape(language)}">'
        f'<voice name="{html.escape(asked.voice)}">{spoken}</voice></speak>'
    )


_REMOTE: Final[Mapping[str, Callable[[aiohttp.ClientSession, Config], Speaker]]] = {
    "openai": OpenAISpeaker,
    "elevenlabs": ElevenLabsSpeaker,
    "azure": AzureSpeaker,
    "mistral": MistralSpeaker,
}


def speaker_of(
    config: Config, http: aiohttp.ClientSession, espeak: EspeakSpeaker, voices: Voices, networks: Networks
) -> Speaker:
    """The engine that the settings choose. Raises NoEngine where it lacks something."""
    engine = config["audio.tts.engine"]
    if engine in {"", "espeak"}:
        return espeak
    if engine == PIPER:
        return PiperSpeaker(voices, config["audio.tts.model"], config["audio.tts.voice"])
    if engine == TRANSFORMERS:
        return TransformersSpeaker(networks, config)
    make = _REMOTE.get(engine)
    if make is None:
        raise NoEngine(f"There is no engine '{engine[:50]}' that speaks.")
    return make(http, config)
