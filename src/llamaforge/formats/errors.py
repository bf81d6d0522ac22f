"""Errors as an HTTP answer in OpenAI's shape, the same from a model's process and from `serve`."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from llamaforge.events.types import Error
from llamaforge.exceptions import APIError, ContextLengthError, LlamaForgeError

# Statuses of a provider that are about the key or the address that this server was given, not about the client's.
_OURS: Final = frozenset({401, 403, 407})


class Refusal(Exception):
    """An answer that is an error.

    kind, code: OpenAI's `type` and `code`. retry_after: in seconds. more: further fields of the error.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        code: str | None = None,
        *,
        retry_after: float | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code = status, message, kind, code
        self.retry_after = retry_after
        self._more = more or {}

    @classmethod
    def of(cls, error: LlamaForgeError) -> Refusal:
        """What an error of the library is to a client: as its class says, a provider's as far as it is the client's."""
        status, kind, more = error.status or 502, error.kind, None
        if isinstance(error, APIError) and (status in _OURS or (status >= 500 and status not in {503, 504})):
            status, kind = 502, "server_error"
        if isinstance(error, ContextLengthError) and error.prompt_tokens is not None:
            more = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context_tokens}
        return cls(status, str(error), kind, error.code, retry_after=error.retry_after, more=more)

    @classmethod
    def of_event(cls, error: Error) -> Refusal:
        """The same of one that came in the middle of a model's answer."""
        given = error.body.get("error") if isinstance(error.body, dict) else None
        given = given if isinstance(given, dict) else {}
        kind, code = given.get("type"), given.get("code")
        return cls(
            error.status,
            error.detail or "The model failed.",
            kind if isinstance(kind, str) else "server_error",
            code if isinstance(code, str) else None,
        )

    @property
    def body(self) -> bytes:
        """JSON in OpenAI's shape."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return msgspec.json.encode({"error": error | self._more})

    @property
    def event(self) -> bytes:
        """The same within a stream, where nothing else tells the status."""
        self._more["status"] = self.status
        return b"data: " + self.body + b"\n\n"

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for. OpenAI's clients try a 5xx again unless told not to."""
        headers = {"content-type": "application/json"}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["retry-after"] = str(math.ceil(self.retry_after))
        elif self.status >= 500:
            headers["x-should-retry"] = "false"
        return headers
