"""The page about audio: its object put together from settings and taken apart again, and what pages are told of engines."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.audio import local
from open_webui.audio.speakers import ENGINES as SPEAKERS
from open_webui.config import BY_KEY, Config
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.models.base import clean_json
from open_webui.schemas.audio import PARTS

LISTENERS: Final = ("", "openai", "web", "deepgram", "azure", "mistral")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "audio.tts.engine": SPEAKERS,
    "audio.tts.split_on": ("punctuation", "paragraphs", "none"),
    "audio.stt.engine": LISTENERS,
    "audio.stt.openai.api_request_format": ("multipart", "json"),
    "audio.realtime.provider": ("openai", "azure"),
    "audio.realtime.auth_type": ("api_key", "microsoft_entra_id"),
}
_LONGEST: Final = 20_000
_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    str: "a text",
    list: "a list of texts",
    dict: "an object",
}


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force."""
    return {part: {name: config[key] for name, key in names.items()} for part, names in PARTS.items()}


def changes(posted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a posted object changes; what it leaves out stays. Raises BadRequest naming a bad value."""
    out: dict[str, Any] = {}
    for part, names in PARTS.items():
        given = posted.get(part)
        if given is None and part == "realtime":
            continue
        if not isinstance(given, dict):
            raise BadRequest(f"'{part}' should be an object.", status=422)
        for name, key in names.items():
            if name in given:
                out[key] = _checked(f"{part}.{name}", key, given[name])
    return out


def _checked(name: str, key: str, given: Any) -> Any:
    setting = BY_KEY[key]
    value = given
    if given is None and not setting.nullable:
        # An emptied field of the page.
        value = setting.type()
    elif given == "" and setting.type is dict:
        value = None if setting.nullable else {}
    elif setting.type is str and isinstance(given, int | float) and not isinstance(given, bool):
        value = str(given)
    if not setting.accepts(value) or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
        raise BadRequest(f"{name} should be {_KINDS[setting.type]}.", status=422)
    if _length(value) > _LONGEST:
        raise BadRequest(f"{name} is too long.", status=422)
    if key in _CHOICES and value not in _CHOICES[key]:
        named = ", ".join(f"'{choice}'" for choice in _CHOICES[key])
        raise BadRequest(f"{name} should be one of {named}.", status=422)
    if isinstance(value, str) and key.endswith("base_url"):
        value = value.strip()
        if value and not value.startswith(("http://", "https://")):
            raise BadRequest(f"{name} should begin with http:// or https://.", status=422)
    try:
        return clean_json(value)
    except ValueError as error:
        raise BadRequest(f"{name} can't be stored: it {error}.", status=422) from None


def _length(value: Any) -> int:
    """Characters of a text, or of a list or an object as JSON."""
    return len(value) if isinstance(value, str) else len(msgspec.json.encode(value))


def shown(config: Config, settings: Settings) -> dict[str, Any]:
    """What pages are told. An engine "" of this machine that can't listen is "web": the browser listens then."""
    engine = config["audio.stt.engine"]
    if engine == "" and not local.is_there(config, settings):
        engine = "web"
    return {
        "realtime": {
            "enabled": config["audio.realtime.enabled"],
            "model": config["audio.realtime.model"],
            "voice": config["audio.realtime.voice"],
        },
        "tts": {
            "engine": config["audio.tts.engine"],
            "voice": config["audio.tts.voice"],
            "split_on": config["audio.tts.split_on"],
        },
        "stt": {"engine": engine},
    }
