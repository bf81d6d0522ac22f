"""Language models behind one small interface; an engine is imported only when its backend is asked for."""

from llamaforge.backends import get_backend, list_backends, register_backend
from llamaforge.exceptions import (
    BackendNotFoundError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ParameterError,
)

__all__ = [
    "BackendNotFoundError",
    "LlamaForgeError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "ParameterError",
    "get_backend",
    "list_backends",
    "register_backend",
]
