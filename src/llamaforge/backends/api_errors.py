"""What a provider's refusal, the openai SDK's errors and those of the network beneath it are as errors of our family."""

from __future__ import annotations

import contextlib
import email.utils
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llamaforge.exceptions import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    LlamaForgeError,
    ModelNotFoundError,
)

_LONGEST: Final = 300
# With these a provider says that the account has nothing left, which does not pass by itself.
_SPENT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def refusal(base: str, status: int, words: str, *, code: Any = None, headers: Mapping[str, str]) -> LlamaForgeError:
    """The error that an answer with a status of 400 or more is.

    base: the provider's address. words, code: what its body says. headers: of the answer, names in lower case.
    """
    error: LlamaForgeError
    if status in {401, 403}:
        error = AuthenticationError(f"{base} refused the API key: {words}", status=status)
    elif status == 404:
        error = ModelNotFoundError(f"{base} has not found it: {words}")
    elif status in {400, 413} and (code == "context_length_exceeded" or "context length" in words.lower()):
        error = ContextLengthError(words)
    else:
        told = "asks to slow down" if status == 429 else f"answered {status}"
        error = APIError(f"{base} {told}: {words}", status=status, retry_after=retry_after(headers))
        error.retryable = error.retryable and code not in _SPENT
    if isinstance(code, str):
        error.code = code
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks to wait, None where it does not say or can't be understood."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after")
    seconds = _number(header)
    if seconds is not None or header is None:
        return seconds
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


class Translator:
    """Turns exceptions into ours. base: the provider's address. key: kept out of every message."""

    def __init__(self, sdk: Any, base: str, key: str) -> None:
        self._sdk = sdk
        self._base = base
        self._key = key
        # The SDK reads with httpx or httpx2, whichever it was made for; errors within a stream come from there unwrapped.
        self._transport = _transport(sdk)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Whatever the SDK raises inside is raised as one of our errors."""
        try:
            yield
        except (self._sdk.OpenAIError, self._transport.HTTPError, ValueError) as error:
            if (ours := self.ours(error)) is None:
                raise
            raise ours from error

    def ours(self, error: Exception) -> LlamaForgeError | None:
        """What an error of the SDK's is, None for one of somebody else's."""
        sdk, transport = self._sdk, self._transport
        if isinstance(error, sdk.APIStatusError):
            words, headers = self._clean(_words(error)), error.response.headers
            return refusal(self._base, error.status_code, words, code=error.code, headers=headers)
        if isinstance(error, (sdk.APITimeoutError, transport.TimeoutException)):
            return APITimeoutError(f"{self._base} did not answer in time.")
        if isinstance(error, (sdk.APIConnectionError, transport.HTTPError)):
            return APIConnectionError(self._of_connection(error))
        if isinstance(error, sdk.APIError):
            return APIError(self._clean(f"{self._base} broke off its answer: {_words(error)}"))
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            return APIError(f"{self._base} sent something that is no answer: it can't be read as JSON.")
        return APIError(self._clean(str(error))) if isinstance(error, sdk.OpenAIError) else None

    def _of_connection(self, error: BaseException) -> str:
        reason = str(error.__cause__ or error) or type(error).__name__
        broken = (self._transport.RemoteProtocolError, self._transport.ReadError)
        if isinstance(error, broken) or isinstance(error.__cause__, broken):
            return f"{self._base} broke the connection in the middle of its answer."
        return f"{self._base} can't be reached: {self._clean(reason)}"

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) > 3 else text


def _transport(sdk: Any) -> Any:
    roots = (cls.__module__.partition(".")[0] for cls in sdk.DefaultHttpxClient.__mro__)
    return sys.modules[next(root for root in roots if root.startswith("httpx"))]


def _words(error: Any) -> str:
    """What the provider said, without the SDK's frame around it; a page of HTML is cut short."""
    body = error.body
    if isinstance(body, Mapping):
        body = body.get("error", body)
    for name in ("message", "detail"):  # the latter is what servers on FastAPI say
        if isinstance(body, Mapping) and isinstance(body.get(name), str):
            return str(body[name])
    text = str(body) if isinstance(body, str) else str(error.message)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _number(header: str | None) -> float | None:
    try:
        value = None if header is None else float(header)
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None
