"""The engines that the settings name, and one that an administrator is about to set up."""

import base64
from collections.abc import Mapping
from typing import Any, Final, Protocol

import aiohttp

from open_webui.config import Config
from open_webui.config.images import GEMINI_URL, OPENAI_URL, WORKFLOW
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.images.automatic1111 import Automatic1111
from open_webui.images.comfyui import ComfyUI
from open_webui.images.gemini import Gemini
from open_webui.images.local import Local, Worker
from open_webui.images.openai import OpenAI
from open_webui.images.port import Engine
from open_webui.images.wire import Wire
from open_webui.services.images.settings import engine_name, seconds

# Seconds for a question to an engine that makes nothing.
LOOK_SECONDS: Final = 15.0
# The engine that is no service.
LOCAL: Final = "diffusers"
UNKNOWN: Final = "There is no engine for pictures that is called {!r}."


class Deps(Protocol):
    """What an engine needs of the state."""

    config: Config
    settings: Settings
    http: Any
    pictures: Any


def engine(deps: Deps, *, changing: bool, looking: bool = False) -> Engine:
    """The engine that makes pictures, or changes them. looking: for a question that makes nothing.

    Raises ProviderError for an address that is none, BadRequest for an engine that there isn't.
    """
    config, session = deps.config, deps.http
    area, name = "images.edit" if changing else "image_generation", engine_name(config, changing=changing)
    limit = LOOK_SECONDS if looking else seconds(config)

    def at(address: str, headers: Mapping[str, str], sentence: str) -> Wire:
        return Wire(session, address, headers, seconds=limit, name=sentence)

    match name:
        case "openai":
            key, version = config[f"{area}.openai.api_key"], config[f"{area}.openai.api_version"]
            found = at(
                config[f"{area}.openai.api_base_url"] or OPENAI_URL, _bearer(key, azure=bool(version)), "The engine"
            )
            params = {} if changing else config["image_generation.openai.params"]
            return OpenAI(found, version=version, params=params)
        case "gemini":
            found = at(
                config[f"{area}.gemini.api_base_url"] or GEMINI_URL, _google(config[f"{area}.gemini.api_key"]), "Gemini"
            )
            return Gemini(found, method="" if changing else config["image_generation.gemini.endpoint_method"])
        case "automatic1111":
            base, auth = (config[f"image_generation.automatic1111.{part}"] for part in ("base_url", "api_auth"))
            params = config["image_generation.automatic1111.api_params"]
            return Automatic1111(at(base, _basic(auth), "Automatic1111"), params=params)
        case "comfyui":
            found = at(config[f"{area}.comfyui.base_url"], _bearer(config[f"{area}.comfyui.api_key"]), "ComfyUI")
            flow = config[f"{area}.comfyui.workflow"] or ("" if changing else WORKFLOW)
            return ComfyUI(found, flow, config[f"{area}.comfyui.nodes"])
        case "diffusers":
            return local(deps, limit)
        case other:
            raise BadRequest(UNKNOWN.format(other[:50]))


def local(deps: Deps, limit: float) -> Local:
    """The engine of this machine. limit: seconds for an order."""

    def opened() -> Worker:
        if deps.pictures.worker is None:
            deps.pictures.worker = Worker(deps.settings.local_models_idle_seconds)
        worker: Worker = deps.pictures.worker
        return worker

    return Local(deps.config, deps.settings, opened, limit)


def engine_at(session: aiohttp.ClientSession, name: str, url: str, key: str) -> Engine:
    """An engine that an administrator is about to set up, to be asked whether it is there. Raises BadRequest, ProviderError."""
    match name:
        case "openai":
            return OpenAI(Wire(session, url, _bearer(key), seconds=LOOK_SECONDS, name="The engine"))
        case "gemini":
            return Gemini(Wire(session, url, _google(key), seconds=LOOK_SECONDS, name="Gemini"))
        case "automatic1111":
            return Automatic1111(Wire(session, url, _basic(key), seconds=LOOK_SECONDS, name="Automatic1111"))
        case "comfyui":
            return ComfyUI(Wire(session, url, _bearer(key), seconds=LOOK_SECONDS, name="ComfyUI"), WORKFLOW, ())
    raise BadRequest(UNKNOWN.format(name[:50]))


def _bearer(key: str, *, azure: bool = False) -> dict[str, str]:
    if not key:
        return {}
    return {"api-key": key} if azure else {"authorization": f"Bearer {key}"}


def _google(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key} if key else {}


def _basic(auth: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
