"""Every backend by its type."""

from __future__ import annotations

from os import PathLike
from typing import Any

from consciousness.base import TextGenerationBackend
from consciousness.local import LlamaCppConsciousnessBackend, LocalBackend, TransformersConsciousnessBackend
from consciousness.oobabooga import OobaboogaBackend
from llamaforge.exceptions import ParameterError
from llamaforge.parameters import unknown

_LOCAL: dict[str, type[LocalBackend]] = {
    "llamacpp": LlamaCppConsciousnessBackend,
    "transformers": TransformersConsciousnessBackend,
}
_TYPES = (*_LOCAL, "oobabooga")


def create_consciousness_backend(
    backend_type: str = "llamacpp", model_path: str | PathLike[str] | None = None, **kwargs: Any
) -> TextGenerationBackend:
    """A backend of this type: "llamacpp" or "transformers", which need a `model_path`, or "oobabooga", where it is the name
    of a model and may be left out. Case does not matter.

    kwargs: of the class. Raises ParameterError (a ValueError) for an unknown type, a missing path and an unknown parameter of
    a load; TypeError for a keyword that OobaboogaBackend does not have.
    """
    if not isinstance(backend_type, str):
        raise ParameterError("The type of a backend must be text.")
    kind = backend_type.lower()
    if kind not in _TYPES:
        raise ParameterError(f"Unknown backend type: {unknown(backend_type, _TYPES, 'type of backend')}")
    if kind == "oobabooga":
        return OobaboogaBackend(None if model_path is None else str(model_path), **kwargs)
    if model_path is None:
        raise ParameterError(f"A backend of the type '{kind}' needs a model_path.")
    return _LOCAL[kind](model_path, **kwargs)
