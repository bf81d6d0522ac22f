"""Language models behind one small interface; an engine is imported only when its backend is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llamaforge.backends import get_backend, list_backends, register_backend
from llamaforge.exceptions import (
    BackendNotFoundError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ParameterError,
)

if TYPE_CHECKING:
    from llamaforge.config import Config
    from llamaforge.forge import LlamaForge
    from llamaforge.model import Model

__all__ = [
    "BackendNotFoundError",
    "Config",
    "LlamaForge",
    "LlamaForgeError",
    "Model",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "ParameterError",
    "get_backend",
    "list_backends",
    "register_backend",
]

_LAZY = {"Config": "llamaforge.config", "LlamaForge": "llamaforge.forge", "Model": "llamaforge.model"}


def __getattr__(name: str) -> Any:
    """The classes that bring more with them are imported when they are first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'llamaforge' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
