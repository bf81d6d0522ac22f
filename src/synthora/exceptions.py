"""Every error that synthora raises on purpose, of llamaforge's family: `except LlamaForgeError` catches both."""

from __future__ import annotations

from typing import Any

from llamaforge.exceptions import LlamaForgeError


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
        super().__init__(f"{library} is not installed. Install it with: pip install 'oui-backend[{extra}]'")
        self.extra = extra


class StreamInterruptedError(SynthoraError, ConnectionError):
    """A stream ended before the model had finished its answer."""


class StructuredOutputError(SynthoraError, ValueError):
    """The answer does not fit the class asked for by `response_format`."""

    def __init__(self, text: str, message: Any) -> None:
        """message: the answer as it came, a BaseMessage."""
        super().__init__(text)
        self.message = message


class FallbackError(SynthoraError, RuntimeError):
    """Every backend of a fallback chain has failed."""

    def __init__(self, failures: list[tuple[str, Exception]]) -> None:
        """failures: the name of each backend with its error, in the order of the chain."""
        told = "; ".join(f"{name}: {str(error) or type(error).__name__}" for name, error in failures)
        super().__init__(f"Every backend failed. {told}")
        self.failures = failures


class ScriptEndedError(SynthoraError, LookupError):
    """A scripted backend was asked more often than it has answers."""
