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


class UnsupportedError(LlamaForgeError, NotImplementedError):
    """The backend, or its model, can't do what was asked."""


class MissingExtraError(ModelLoadError, ImportError):
    """An engine is not installed."""

    def __init__(self, extra: str, engine: str) -> None:
        """extra: the name of the optional dependency. engine: the library that it brings."""
        super().__init__(f"{engine} is not installed. Install it with: pip install 'oui-backend[{extra}]'")
        self.extra = extra


class GenerationError(LlamaForgeError, RuntimeError):
    """The engine failed while it was writing an answer."""


class ContextLengthError(GenerationError, ValueError):
    """The prompt does not fit into the model's context."""

    def __init__(self, message: str, *, prompt_tokens: int | None = None, context_tokens: int | None = None) -> None:
        """prompt_tokens, context_tokens: both lengths in tokens, where the engine tells them."""
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class APIError(GenerationError):
    """A provider refused, failed, or could not be reached."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        """status: of its HTTP answer, where there was one. retry_after: how long it asks to wait, in seconds."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class AuthenticationError(APIError):
    """A provider does not accept the key, or does not allow it this."""


class ConfigError(LlamaForgeError, ValueError):
    """The configuration file can't be read, or a value in it can't be used."""


class PluginError(LlamaForgeError, ValueError):
    """A plugin is unknown, or can't be used as asked."""


class DownloadError(LlamaForgeError, RuntimeError):
    """A model could not be fetched."""


class ModelBusyError(LlamaForgeError, RuntimeError):
    """The model takes no more requests: too many wait for it, or it is being shut down."""
