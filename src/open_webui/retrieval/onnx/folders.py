"""Where the models of this machine that onnxruntime runs lie, found by name without a network."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from llamaforge import hub_cache
from llamaforge.exceptions import how_to_install
from open_webui.env import Settings

_MODULES: Final = ("numpy", "onnxruntime", "tokenizers")
# Who publishes the sentence models that people name without an owner.
_OWNER: Final = "sentence-transformers"
_TOLD: Final = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
)


class NoModel(Exception):
    """Why a model can't be run here, as a sentence for an admin."""


def folder_of(name: str, settings: Settings, *, is_operators: bool) -> Path:
    """The folder of a model: a path, a folder in DATA_DIR/models, or one of the hub's cache.

    is_operators: the name comes from the environment, so that it may be any path. Raises NoModel.
    """
    if any(importlib.util.find_spec(module) is None for module in _MODULES):
        raise NoModel(f"Models for embeddings need the extra 'embed'. Install it with: {how_to_install('embed')}")
    for folder in _places(name, settings, is_operators=is_operators):
        if folder is not None and _is_model(folder):
            return folder
    raise NoModel(
        f"The model {name} is not on this machine. Put its folder (tokenizer.json, config.json, and onnx/model.onnx or"
        f" model.safetensors) at {settings.data_dir / 'models' / name}, or choose another engine."
    )


def tokenizer_of(name: str, settings: Settings, *, is_operators: bool) -> Path | None:
    """The tokenizer.json of a model, which need not have weights; None where there is none, or the extra is missing."""
    if importlib.util.find_spec("tokenizers") is None:
        return None
    for folder in _places(name, settings, is_operators=is_operators):
        if folder is not None and (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    return None


def _places(name: str, settings: Settings, *, is_operators: bool) -> list[Path | None]:
    home = settings.data_dir.resolve() / "models"
    inside = home / name
    trusted = is_operators or settings.local_models_trust_admins
    return [
        inside if trusted or inside.resolve().is_relative_to(home.resolve()) else None,
        hub_cache.find(name),
        hub_cache.find(f"{_OWNER}/{name}") if "/" not in name else None,
    ]


def _is_model(folder: Path) -> bool:
    try:
        has_weights = (
            (folder / "model.safetensors").is_file() or any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx"))
        )
        return has_weights and (folder / "tokenizer.json").is_file()
    except (OSError, ValueError):
        return False


def fingerprint(folder: Path) -> str:
    """What tells a model's vectors from those of another state of it: its small files, and the sizes of its weights."""
    digest = hashlib.sha256()
    for name in _TOLD:
        if (path := folder / name).is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes())
    for path in sorted((*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx"), *folder.glob("*.safetensors"))):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()[:16]
