"""The registry: backend classes by name, the built-in ones imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from llamaforge.exceptions import BackendNotFoundError, ParameterError

if TYPE_CHECKING:
    from llamaforge.backends.base import BaseBackend

_REQUIRED = ("load_model", "generate", "generate_stream", "is_model_loaded")

# A built-in stands as "module:class" until it is asked for, so that listing the names imports no engine.
_registry: dict[str, type[BaseBackend] | str] = {
    "llama.cpp": "llamaforge.backends.llama_cpp:LlamaCppBackend",
    "huggingface": "llamaforge.backends.huggingface:HuggingFaceBackend",
    "openai": "llamaforge.backends.openai_api:OpenAIBackend",
    "eliza": "llamaforge.backends.eliza:ElizaBackend",
}


def register_backend(name: str, cls: type[BaseBackend]) -> None:
    """Make `cls` known as `name`; a name already taken is replaced and keeps its place in the list.

    The four documented methods are checked instead of the base class: a class that has them works.
    Raises ParameterError when the name is blank or the class lacks one of them.
    """
    if not isinstance(name, str):
        raise ParameterError("The name of a backend must be text.")
    if not name.strip():
        raise ParameterError("A backend needs a name that is not blank.")
    if not isinstance(cls, type):
        raise ParameterError(f"The backend '{name}' must be a class, not an instance or a function.")
    missing = [method for method in _REQUIRED if not callable(getattr(cls, method, None))]
    if missing:
        raise ParameterError(f"The backend '{name}' lacks {', '.join(missing)}.")
    _registry[name] = cls


def get_backend(name: str) -> type[BaseBackend]:
    """The class registered as `name` (not an instance). Raises BackendNotFoundError."""
    entry = _registry.get(name)
    if entry is None:
        raise BackendNotFoundError(f"There is no backend '{name}'. Available: {', '.join(_registry)}.")
    if not isinstance(entry, str):
        return entry
    module, _, attribute = entry.partition(":")
    cls = cast("type[BaseBackend]", getattr(import_module(module), attribute))
    _registry[name] = cls
    return cls


def list_backends() -> list[str]:
    """The registered names, in the order of registration."""
    return list(_registry)
