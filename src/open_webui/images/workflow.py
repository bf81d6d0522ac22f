"""ComfyUI's workflows in API format: values put into the nodes that the settings name."""

import copy
import random
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import ProviderError
from open_webui.images.port import Order

# The input of a node that a kind of value goes into, where the settings name none.
KEYS: Final[Mapping[str, str]] = {
    "model": "ckpt_name",
    "prompt": "text",
    "negative_prompt": "text",
    "width": "width",
    "height": "height",
    "n": "batch_size",
    "steps": "steps",
    "seed": "seed",
    "image": "image",
}
# Of the workflow that comes with the server.
DEFAULT_NODES: Final[tuple[Mapping[str, Any], ...]] = (
    {"type": "prompt", "key": "text", "node_ids": ["6"]},
    {"type": "negative_prompt", "key": "text", "node_ids": ["7"]},
    {"type": "model", "key": "ckpt_name", "node_ids": ["4"]},
    {"type": "width", "key": "width", "node_ids": ["5"]},
    {"type": "height", "key": "height", "node_ids": ["5"]},
    {"type": "n", "key": "batch_size", "node_ids": ["5"]},
    {"type": "steps", "key": "steps", "node_ids": ["3"]},
    {"type": "seed", "key": "seed", "node_ids": ["3"]},
)
BAD: Final = "The workflow of ComfyUI in the settings is not one: export it there in API format."
NO_PROMPT: Final = "The settings don't say which node of ComfyUI's workflow takes the prompt."


def parsed(text: str) -> dict[str, dict[str, Any]]:
    """A workflow's nodes by their ids. Raises ProviderError."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ProviderError(BAD, status=400) from None
    if not isinstance(found, dict) or not found or not all(_is_node(node) for node in found.values()):
        raise ProviderError(BAD, status=400)
    return found


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def ids_of(node: Mapping[str, Any]) -> list[str]:
    """The ids that a row of the settings names: a list, or a text with commas."""
    given = node.get("node_ids")
    listed = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    return [text for one in listed if (text := str(one).strip())]


def filled(
    workflow: Mapping[str, dict[str, Any]], nodes: Iterable[Mapping[str, Any]], order: Order, images: list[str]
) -> tuple[dict[str, Any], int | None]:
    """A copy of the workflow for an order, and its seed, where it has a place for one. images: names of uploaded pictures.

    Raises ProviderError where nothing takes the prompt.
    """
    out = copy.deepcopy(dict(workflow))
    seed = random.SystemRandom().randrange(2**48) if order.seed is None else order.seed
    values: dict[str, Any] = {
        "model": order.model or None, "prompt": order.prompt, "negative_prompt": order.negative_prompt,
        "width": order.width, "height": order.height, "n": order.count, "steps": order.steps, "seed": seed,
    }  # fmt: skip
    has_prompt = has_seed = False
    for row in nodes:
        kind = str(row.get("type"))
        key = row.get("key") or KEYS.get(kind)
        for place, node_id in enumerate(ids_of(row)):
            node = out.get(node_id)
            if node is None or not isinstance(key, str):
                continue
            # Several nodes for pictures take one each.
            value = (images[place] if place < len(images) else None) if kind == "image" else values.get(kind)
            if value is None:
                continue
            node["inputs"][key] = value
            has_prompt |= kind == "prompt"
            has_seed |= kind == "seed"
    if not has_prompt:
        raise ProviderError(NO_PROMPT, status=400)
    return out, seed if has_seed else None
