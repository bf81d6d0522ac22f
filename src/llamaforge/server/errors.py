"""Errors as OpenAI's clients expect them."""

from __future__ import annotations

from typing import Any

import msgspec

from llamaforge.exceptions import (
    BackendNotFoundError,
    ContextLengthError,
    LlamaForgeError,
    ModelBusyError,
    ModelLoadError,
    ModelNotFoundError,
    ParameterError,
    UnsupportedError,
)

# Root classes last: the first match counts. Status, type, code.
_KINDS: tuple[tuple[type[LlamaForgeError], int, str, str | None], ...] = (
    (ModelNotFoundError, 404, "invalid_request_error", "model_not_found"),
    (ContextLengthError, 400, "exceed_context_size_error", "context_length_exceeded"),
    (ParameterError, 400, "invalid_request_error", None),
    (UnsupportedError, 501, "not_supported_error", None),
    (ModelBusyError, 503, "server_error", "model_busy"),
    (BackendNotFoundError, 500, "server_error", "backend_not_found"),
    (ModelLoadError, 500, "server_error", "model_load_failed"),
)


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code = status, message, kind, code

    @classmethod
    def of(cls, error: LlamaForgeError) -> Refusal:
        """What an error of the library is to a client."""
        for known, status, kind, code in _KINDS:
            if isinstance(error, known):
                return cls(status, str(error), kind, code)
        return cls(500, str(error), "server_error")

    @property
    def body(self) -> bytes:
        """JSON in OpenAI's shape."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return msgspec.json.encode({"error": error})

    @property
    def event(self) -> bytes:
        """The same within a stream."""
        return b"data: " + self.body + b"\n\n"

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for. OpenAI's clients try a 5xx again unless told not to."""
        headers = {"content-type": "application/json"}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.code == "model_busy":
            headers["retry-after"] = "1"
        elif self.status >= 500:
            headers["x-should-retry"] = "false"
        return headers
