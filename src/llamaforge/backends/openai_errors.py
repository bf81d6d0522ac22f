"""The errors of the openai SDK and of the network beneath it, as our own, in the provider's words."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from llamaforge.exceptions import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    LlamaForgeError,
    ModelNotFoundError,
)


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
        sdk, transport = self._sdk, self._transport
        try:
            yield
        except sdk.APIStatusError as error:
            raise self._of_status(error) from error
        except (sdk.APITimeoutError, transport.TimeoutException) as error:
            raise APIError(f"{self._base} did not answer in time.") from error
        except (sdk.APIConnectionError, transport.HTTPError) as error:
            raise APIError(self._of_connection(error)) from error
        except sdk.APIError as error:
            raise APIError(self._clean(f"{self._base} broke off its answer: {_words(error)}")) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise APIError(f"{self._base} sent something that is no answer: it can't be read as JSON.") from error
        except sdk.OpenAIError as error:
            raise APIError(self._clean(str(error))) from error

    def _of_status(self, error: Any) -> LlamaForgeError:
        status, words = error.status_code, self._clean(_words(error))
        if status in {401, 403}:
            return AuthenticationError(f"{self._base} refused the API key: {words}", status=status)
        if status == 404:
            return ModelNotFoundError(f"{self._base} has not found it: {words}")
        if status in {400, 413} and (error.code == "context_length_exceeded" or "context length" in words.lower()):
            return ContextLengthError(words)
        if status == 429:
            retry_after = _seconds(error.response.headers.get("retry-after"))
            return APIError(f"{self._base} asks to slow down: {words}", status=status, retry_after=retry_after)
        return APIError(f"{self._base} answered {status}: {words}", status=status)

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
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return str(body["message"])
    text = str(body) if isinstance(body, str) else str(error.message)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
