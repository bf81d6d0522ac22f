"""Every error that llamaforge raises on purpose, under one root.

Each also derives from the built-in its callers knew before, so that `except ValueError` and
`except RuntimeError` written against the documented behaviour keep working.
"""


class LlamaForgeError(Exception):
    """Root of all errors of this package."""


class BackendNotFoundError(LlamaForgeError, ValueError):
    """No backend is registered under the name asked for."""


class ModelNotFoundError(LlamaForgeError, LookupError):
    """The model asked for does not exist."""


class ModelLoadError(LlamaForgeError, RuntimeError):
    """The model exists but could not be made ready."""


class ModelNotLoadedError(LlamaForgeError, RuntimeError):
    """Text was asked of a backend before a model was loaded into it."""

    def __init__(self, message: str = "No model loaded") -> None:
        super().__init__(message)


class ParameterError(LlamaForgeError, ValueError):
    """An argument or parameter has a type or value that cannot be used."""
