"""The page about pictures: its object put together from settings and taken apart again."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.config import BY_KEY, Config
from open_webui.config.images import TIMEOUT, WIRE, WORKFLOW
from open_webui.errors import BadRequest, ProviderError
from open_webui.images import workflow as workflows
from open_webui.images.wire import size_of
from open_webui.internal.guarded_http import Unreachable, checked_url
from open_webui.models.base import clean_json

MAKING: Final = ("openai", "comfyui", "automatic1111", "gemini", "diffusers")
CHANGING: Final = MAKING
METHODS: Final = ("", "predict", "generateContent")
LONGEST_SECONDS: Final = 3_600
_MOST_STEPS: Final = 1_000
_LONGEST: Final = 10_000
_LONGEST_WORKFLOW: Final = 2**20
_MOST_NODES: Final = 200
_FLOW: Final = WIRE["COMFYUI_WORKFLOW"]
_SIZE: Final = re.compile(r"(auto|[0-9]{1,5}x[0-9]{1,5})?", re.ASCII)
# What null, or an empty field, stands for.
_EMPTY: Final[Mapping[type, Any]] = {str: "", dict: {}, list: []}


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force."""
    # Who sets ComfyUI up sees which workflow is used, and changes it.
    return {name: config[key] for name, key in WIRE.items()} | {"COMFYUI_WORKFLOW": config[_FLOW] or WORKFLOW}


def changes(posted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a posted object changes; what it leaves out stays. Raises BadRequest naming a value that can't be one."""
    out: dict[str, Any] = {}
    for name, key in WIRE.items():
        if name in posted:
            value = _read(name, key, posted[name])
            if value is not None:
                out[key] = _checked(name, value)
    try:
        cleaned: dict[str, Any] = clean_json(out)
    except ValueError as error:
        raise BadRequest(f"The settings can't be stored: a value {error}.") from None
    return cleaned


def _read(name: str, key: str, value: Any) -> Any:
    """A value in its setting's type: pages send numbers and objects as texts. None: nothing is said."""
    kind = BY_KEY[key].type
    if name == "AUTOMATIC1111_API_AUTH" and isinstance(value, dict):
        value = ":".join(str(value.get(part, "")) for part in ("username", "password"))
    if value is None or (isinstance(value, str) and not value.strip() and kind is not str):
        return _EMPTY.get(kind)
    if isinstance(value, str) and kind is int and re.fullmatch(r"\s*\+?[0-9]{1,9}\s*", value, re.ASCII):
        return int(value)
    if isinstance(value, str) and kind in {dict, list}:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            raise BadRequest(f"{name} should be JSON.", status=422) from None
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not BY_KEY[key].accepts(value):
        raise BadRequest(f"{name} should be {_KINDS[kind]}.", status=422)
    return value.strip() if isinstance(value, str) else value


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    str: "a text",
    list: "a list of objects",
    dict: "an object",
}


def _checked(name: str, value: Any) -> Any:
    def refuse(why: str) -> BadRequest:
        return BadRequest(f"{name} {why}.", status=422)

    if isinstance(value, str) and len(value) > (_LONGEST_WORKFLOW if name.endswith("WORKFLOW") else _LONGEST):
        raise refuse("is too long")
    if name.endswith("_ENGINE") and value not in {*MAKING, ""}:
        raise refuse(f"should be one of {', '.join(MAKING)}")
    if name.endswith("_ENDPOINT_METHOD") and value not in METHODS:
        raise refuse("should be 'predict', 'generateContent' or empty")
    if name.endswith("_BASE_URL") and value:
        try:
            checked_url(value)
        except Unreachable as error:
            raise refuse(f"is no address: {error}".rstrip(".")) from None
    if name.endswith("_SIZE") and not _SIZE.fullmatch(value):
        raise refuse("should be like 512x512, 'auto' or empty")
    if name == "IMAGE_STEPS" and not 0 <= value <= _MOST_STEPS:
        raise refuse(f"should be between 0 and {_MOST_STEPS}")
    if name.endswith("_NODES") and not (len(value) <= _MOST_NODES and all(isinstance(one, dict) for one in value)):
        raise refuse(f"should be a list of at most {_MOST_NODES} objects")
    if name.endswith("WORKFLOW") and value.strip() and "_NODES" not in name:
        _check_workflow(name, value)
    return value


def _check_workflow(name: str, value: str) -> None:
    try:
        workflows.parsed(value)
    except ProviderError:
        raise BadRequest(f"{name} is no workflow: export it in ComfyUI in API format.", status=422) from None


def check_size(size: str | None) -> str:
    """A size as somebody asks for it; empty where nobody says. Raises BadRequest."""
    text = (size or "").strip().lower()
    width, height = size_of(text)
    if not _SIZE.fullmatch(text) or (
        width is not None and not 16 <= min(width, height or 0) <= max(width, height or 0) <= 8_192
    ):
        raise BadRequest("The size should be like 512x512, of 16 to 8192 pixels, or 'auto'.")
    return text


def seconds(config: Config) -> float:
    """How long an engine may take for an order."""
    given: int = config[TIMEOUT]
    return float(min(max(given, 1), LONGEST_SECONDS))


def engine_name(config: Config, *, changing: bool) -> str:
    """The engine of the settings."""
    name: str = config["images.edit.engine" if changing else "image_generation.engine"]
    return name or "openai"
