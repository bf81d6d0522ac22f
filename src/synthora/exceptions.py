"""Every error that synthora raises on purpose, of llamaforge's family: `except LlamaForgeError` catches all.

What a provider or the network does is one of llamaforge's, whichever backend asks; where it comes from the openai SDK, it
is the SDK's error as well, so that `except openai.RateLimitError` goes on working.
"""

from __future__ import annotations

from typing import Any

from llamaforge.exceptions import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    LlamaForgeError,
    ModelNotFoundError,
    how_to_install,
)

__all__ = [
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "AuthenticationError",
    "ConfigError",
    "ContextLengthError",
    "FallbackError",
    "ImageError",
    "LlamaForgeError",
    "MessageError",
    "MissingExtraError",
    "ModelNotFoundError",
    "NoAnswerError",
    "ScriptEndedError",
    "StreamInterruptedError",
    "StructuredOutputError",
    "SynthoraError",
]


class SynthoraError(LlamaForgeError):
    """Root of all errors of this package."""


class MessageError(SynthoraError, ValueError):
    """A message can't be what it was meant to be: a wrong role, no content, a tool response without an id."""


class ImageError(MessageError):
    """What was given as an image is none."""


class ConfigError(SynthoraError, ValueError):
    """A configuration can't be read, or one of its keys is missing, unknown or has a value that can't be used."""


class MissingExtraError(SynthoraError, ImportError):
    """A library of an optional extra is not installed."""

    def __init__(self, extra: str, library: str) -> None:
        """extra: the name of the optional dependency. library: what it brings."""
        super().__init__(f"{library} is not installed. Install it with: {how_to_install(extra)}")
        self.extra = extra


class NoAnswerError(APIError, SynthoraError):
    """A provider's HTTP answer of status 200 holds no answer: an error, a page of HTML, nothing at all."""

    def __init__(self, message: str, *, status: int | None = 502, retry_after: float | None = None) -> None:
        """status: that which the provider names in it."""
        super().__init__(message, status=status, retry_after=retry_after)


class StreamInterruptedError(SynthoraError, ConnectionError):
    """A stream ended before the model had finished its answer."""

    status = 502
    retryable = True


class StructuredOutputError(SynthoraError, ValueError):
    """The answer does not fit the class asked for by `response_format`."""

    def __init__(self, text: str, message: Any) -> None:
        """message: the answer as it came, a BaseMessage."""
        super().__init__(text)
        self.message = message


class FallbackError(SynthoraError, RuntimeError):
    """Every backend of a fallback chain has failed; `retryable` if any of them may succeed later."""

    def __init__(self, failures: list[tuple[str, Exception]]) -> None:
        """failures: the name of each backend with its error, in the order of the chain."""
        told = "; ".join(f"{name}: {str(error) or type(error).__name__}" for name, error in failures)
        super().__init__(f"Every backend failed. {told}")
        self.failures = failures
        self.retryable = any(getattr(error, "retryable", False) for _, error in failures)


class ScriptEndedError(SynthoraError, LookupError):
    """A scripted backend was asked more often than it has answers."""
