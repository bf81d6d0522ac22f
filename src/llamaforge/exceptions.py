"""Every error that llamaforge raises on purpose, and the root of those of synthora, in one family.

Each also derives from the built-in its callers knew before, so that `except ValueError` and
`except RuntimeError` written against the documented behaviour keep working.
"""

import sys
from pathlib import Path
from typing import Final

# What an answer with one of these statuses says may succeed when it is asked again.
RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


class LlamaForgeError(Exception):
    """Root of all errors of this package.

    status: the HTTP status that the error has, or gets where it is an answer; None where no answer came. kind, code:
    OpenAI's `type` and `code` of it. retryable: whether the same request may succeed later. retry_after: seconds that the
    provider asks to wait.
    """

    status: int | None = 500
    kind: str = "server_error"
    code: str | None = None
    retryable: bool = False
    retry_after: float | None = None


class BackendNotFoundError(LlamaForgeError, ValueError):
    """No backend is registered under the name asked for."""

    code = "backend_not_found"


class ModelNotFoundError(LlamaForgeError, LookupError):
    """The model asked for does not exist."""

    status = 404
    kind = "invalid_request_error"
    code = "model_not_found"


class ModelLoadError(LlamaForgeError, RuntimeError):
    """The model exists but could not be made ready."""

    code = "model_load_failed"


class ModelNotLoadedError(LlamaForgeError, RuntimeError):
    """Text was asked of a backend before a model was loaded into it."""

    status = 503
    code = "model_not_loaded"

    def __init__(self, message: str = "No model loaded") -> None:
        super().__init__(message)


class ParameterError(LlamaForgeError, ValueError):
    """An argument or parameter has a type or value that cannot be used."""

    status = 400
    kind = "invalid_request_error"


class UnsupportedError(LlamaForgeError, NotImplementedError):
    """The backend, or its model, can't do what was asked."""

    status = 501
    kind = "not_supported_error"


class MissingExtraError(ModelLoadError, ImportError):
    """An engine is not installed."""

    def __init__(self, extra: str, engine: str) -> None:
        """extra: the name of the optional dependency. engine: the library that it brings."""
        super().__init__(f"{engine} is not installed. Install it with: {how_to_install(extra)}")
        self.extra = extra


def how_to_install(extra: str) -> str:
    """The command that installs an optional extra for the Python that runs. It names the clone: no index has the package."""
    clone = Path(__file__).resolve().parents[2]
    if not (clone / "start.sh").is_file():
        return f"pip install '<folder of the clone>[{extra}]'"
    if Path(sys.prefix).resolve() != clone / ".venv":
        return f"pip install '{clone}[{extra}]'"
    if sys.platform == "win32":
        return f"set OUI_EXTRAS={extra}, then start_windows.bat (in {clone})"
    return f"OUI_EXTRAS={extra} ./start.sh (in {clone})"


class GenerationError(LlamaForgeError, RuntimeError):
    """The engine failed while it was writing an answer."""


class ContextLengthError(GenerationError, ValueError):
    """The prompt does not fit into the model's context."""

    status = 400
    kind = "exceed_context_size_error"
    code = "context_length_exceeded"

    def __init__(self, message: str, *, prompt_tokens: int | None = None, context_tokens: int | None = None) -> None:
        """prompt_tokens, context_tokens: both lengths in tokens, where the engine tells them."""
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class APIError(GenerationError):
    """A provider refused, failed, or could not be reached."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        """status: of its HTTP answer, None where there was none. retry_after: how long it asks to wait, in seconds."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.retryable = status is None or status in RETRYABLE


class APIConnectionError(APIError, ConnectionError):
    """A provider can't be reached, or broke off its answer."""


class APITimeoutError(APIError, TimeoutError):
    """A provider did not answer in time, or was silent for too long in the middle of its answer."""


class AuthenticationError(APIError):
    """A provider does not accept the key, or does not allow it this."""

    kind = "authentication_error"

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        """See APIError."""
        super().__init__(message, status=status, retry_after=retry_after)
        self.retryable = False


class ConfigError(LlamaForgeError, ValueError):
    """The configuration file can't be read, or a value in it can't be used."""


class PluginError(LlamaForgeError, ValueError):
    """A plugin is unknown, or can't be used as asked."""


class ToolError(LlamaForgeError, ValueError):
    """A tool can't be called as the model asks, or did not work. Its sentence goes to the model, which may try again."""

    status = 400
    kind = "invalid_request_error"


class InvalidOutputError(GenerationError, ValueError):
    """The model's answer is not what was asked for, and further attempts did not help."""

    def __init__(self, message: str, text: str) -> None:
        """text: the answer that came last."""
        super().__init__(message)
        self.text = text


class DownloadError(LlamaForgeError, RuntimeError):
    """A model could not be fetched."""


class ModelBusyError(LlamaForgeError, RuntimeError):
    """The model takes no more requests: too many wait for it, or it is being shut down."""

    status = 503
    code = "model_busy"
    retryable = True
    retry_after: float | None = 1.0
