"""What an admin may change about making pictures: engines, their addresses and keys. Named as in the contract."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.config.setting import Json, Setting, flag, parse_json

OPENAI_URL: Final = "https://api.openai.com/v1"
GEMINI_URL: Final = "https://generativelanguage.googleapis.com/v1beta"


def _workflow() -> str:
    """ComfyUI's plainest way from a prompt to a picture, in its API format."""

    def text(said: str) -> dict[str, Any]:
        return {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": said}}

    latent = {"width": 512, "height": 512, "batch_size": 1}
    sampler = {
        "seed": 0, "steps": 20, "cfg": 8, "denoise": 1, "sampler_name": "euler", "scheduler": "normal",
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
    }  # fmt: skip
    nodes = {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "model.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": latent},
        "6": text("A picture"),
        "7": text(""),
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "picture", "images": ["8", 0]}},
    }
    return msgspec.json.format(msgspec.json.encode(nodes), indent=2).decode()


def parse_object(text: str) -> Json:
    """An object as JSON; empty for none."""
    return parse_json(text) if text.strip() else {}


WORKFLOW: Final = _workflow()
GENERATION: Final[tuple[Setting, ...]] = (
    flag("image_generation.enable", "ENABLE_IMAGE_GENERATION", False),
    flag("image_generation.prompt.enable", "ENABLE_IMAGE_PROMPT_GENERATION", True),
    Setting("image_generation.engine", str, "openai", ("IMAGE_GENERATION_ENGINE",)),
    Setting("image_generation.model", str, "", ("IMAGE_GENERATION_MODEL",)),
    Setting("image_generation.size", str, "512x512", ("IMAGE_SIZE",)),
    Setting("image_generation.steps", int, 50, ("IMAGE_STEPS",)),
    Setting("image_generation.openai.api_base_url", str, OPENAI_URL, ("IMAGES_OPENAI_API_BASE_URL",)),
    Setting("image_generation.openai.api_key", str, "", ("IMAGES_OPENAI_API_KEY",), secret=True),
    Setting("image_generation.openai.api_version", str, "", ("IMAGES_OPENAI_API_VERSION",)),
    Setting("image_generation.openai.params", dict, {}, ("IMAGES_OPENAI_API_PARAMS",), parse_object),
    Setting("image_generation.automatic1111.base_url", str, "", ("AUTOMATIC1111_BASE_URL",)),
    Setting("image_generation.automatic1111.api_auth", str, "", ("AUTOMATIC1111_API_AUTH",), secret=True),
    Setting("image_generation.automatic1111.api_params", dict, {}, ("AUTOMATIC1111_PARAMS",), parse_object),
    Setting("image_generation.comfyui.base_url", str, "", ("COMFYUI_BASE_URL",)),
    Setting("image_generation.comfyui.api_key", str, "", ("COMFYUI_API_KEY",), secret=True),
    Setting("image_generation.comfyui.workflow", str, "", ("COMFYUI_WORKFLOW",)),
    Setting("image_generation.comfyui.nodes", list, [], ("COMFYUI_WORKFLOW_NODES",)),
    Setting("image_generation.gemini.api_base_url", str, "", ("IMAGES_GEMINI_API_BASE_URL",)),
    Setting("image_generation.gemini.api_key", str, "", ("IMAGES_GEMINI_API_KEY",), secret=True),
    Setting("image_generation.gemini.endpoint_method", str, "", ("IMAGES_GEMINI_ENDPOINT_METHOD",)),
)
EDITING: Final[tuple[Setting, ...]] = (
    flag("images.edit.enable", "ENABLE_IMAGE_EDIT", False),
    Setting("images.edit.engine", str, "openai", ("IMAGE_EDIT_ENGINE",)),
    Setting("images.edit.model", str, "", ("IMAGE_EDIT_MODEL",)),
    Setting("images.edit.size", str, "", ("IMAGE_EDIT_SIZE",)),
    Setting("images.edit.openai.api_base_url", str, OPENAI_URL, ("IMAGES_EDIT_OPENAI_API_BASE_URL",)),
    Setting("images.edit.openai.api_key", str, "", ("IMAGES_EDIT_OPENAI_API_KEY",), secret=True),
    Setting("images.edit.openai.api_version", str, "", ("IMAGES_EDIT_OPENAI_API_VERSION",)),
    Setting("images.edit.gemini.api_base_url", str, "", ("IMAGES_EDIT_GEMINI_API_BASE_URL",)),
    Setting("images.edit.gemini.api_key", str, "", ("IMAGES_EDIT_GEMINI_API_KEY",), secret=True),
    Setting("images.edit.comfyui.base_url", str, "", ("IMAGES_EDIT_COMFYUI_BASE_URL",)),
    Setting("images.edit.comfyui.api_key", str, "", ("IMAGES_EDIT_COMFYUI_API_KEY",), secret=True),
    Setting("images.edit.comfyui.workflow", str, "", ("IMAGES_EDIT_COMFYUI_WORKFLOW",)),
    Setting("images.edit.comfyui.nodes", list, [], ("IMAGES_EDIT_COMFYUI_WORKFLOW_NODES",)),
)
# Seconds that an engine may take for an order.
TIMEOUT: Final = "images.timeout"
SETTINGS: Final = (*GENERATION, *EDITING, Setting(TIMEOUT, int, 600, ("IMAGES_TIMEOUT",)))
# The names of the wire's object, and what stands behind them.
WIRE: Final[Mapping[str, str]] = {s.variables[0]: s.key for s in (*GENERATION, *EDITING)}
