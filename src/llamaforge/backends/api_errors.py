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
# With these, in lower case, a provider says that the messages don't fit.
_TOO_LONG: Final = ("context length", "prompt is too long", "input token count")
# With these a provider says that the account has nothing left, which does not pass by itself.
_SPENT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def refusal(base: str, status: int, words: str, *, code: Any = None, headers: Mapping[str, str]) -> LlamaForgeError:
    """The error that an answer with a status of 400 or more is.

    base: the provider's address. words, code: what its body says. headers: of the answer, names in lower case.
    """
    error: LlamaForgeError
    said = words.lower()
    if status in {401, 403} or "api key not valid" in said:
        error = AuthenticationError(f"{base} refused the API key: {words}", status=status)
    elif status == 404:
        error = ModelNotFoundError(f"{base} has not found it: {words}")
    elif status in {400, 413} and (code == "context_length_exceeded" or any(told in said for told in _TOO_LONG)):
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


def of_network(transport: Any, base: str, error: BaseException) -> APIError | None:
    """What an error of the network is, None where it is none. transport: the module httpx or httpx2."""
    if isinstance(error, transport.TimeoutException):
        return APITimeoutError(f"{base} did not answer in time.")
    if not isinstance(error, transport.HTTPError):
        return None
    if isinstance(error, (transport.RemoteProtocolError, transport.ReadError)):
        return APIConnectionError(f"{base} broke the connection in the middle of its answer.")
    return APIConnectionError(f"{base} can't be reached: {str(error) or type(error).__name__}")


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
        sdk = self._sdk
        if isinstance(error, sdk.APIStatusError):
            words, headers = self._clean(_words(error)), error.response.headers
            return refusal(self._base, error.status_code, words, code=error.code, headers=headers)
        if isinstance(error, sdk.APITimeoutError):
            return APITimeoutError(f"{self._base} did not answer in time.")
        cause = error.__cause__ if isinstance(error, sdk.APIConnectionError) else error
        if cause is not None and (lost := of_network(self._transport, self._base, cause)) is not None:
            return type(lost)(self._clean(str(lost)))
        if isinstance(error, sdk.APIConnectionError):
            return APIConnectionError(self._clean(f"{self._base} can't be reached: {cause or error}"))
        if isinstance(error, sdk.APIError):
            # In the middle of a stream; its code may be a status.
            code = error.body.get("code") if isinstance(error.body, Mapping) else None
            status = code if isinstance(code, int) and 400 <= code <= 599 else None
            return APIError(self._clean(f"{self._base} broke off its answer: {_words(error)}"), status=status)
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            return APIError(f"{self._base} sent something that is no answer: it can't be read as JSON.")
        return APIError(self._clean(str(error))) if isinstance(error, sdk.OpenAIError) else None

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
