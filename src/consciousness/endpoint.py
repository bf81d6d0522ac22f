"""An OpenAI-compatible server over HTTP: JSON there and back, server-sent events, and its failures as Python's errors."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from consciousness.emotions import is_number
from llamaforge.exceptions import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    LlamaForgeError,
    ModelNotFoundError,
    ParameterError,
)

Json = dict[str, Any]

_LONGEST_LINE = 4 * 1024 * 1024
_LONGEST_WORDS = 300
log = logging.getLogger(__name__)


class Endpoint:
    """One server. Each request has a connection of its own, so an object belongs to no event loop and needs no closing.

    A server that can't be reached, or breaks off, raises ConnectionError; one that is silent too long, TimeoutError; one
    that refuses, APIError or its kin. No message contains the key.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, timeout: float = 120.0, connect_timeout: float = 5.0
    ) -> None:
        """url: with or without "/v1". timeout: seconds without a byte. connect_timeout: seconds. Raises ParameterError."""
        self.url = _checked_url(url)
        self._key = api_key or None
        for name, value in (("timeout", timeout), ("connect_timeout", connect_timeout)):
            if not is_number(value) or value <= 0:
                raise ParameterError(f"'{name}' must be a positive number of seconds.")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout, sock_read=timeout)
        self._seconds = timeout

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    async def get(self, path: str) -> Json:
        """The object at `path`, such as "/v1/models"."""
        async with self._request("GET", path, None) as response:
            return await self._object(response)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to `body`: an object, or for some commands a plain text."""
        async with self._request("POST", path, body) as response:
            return await self._json(response)

    async def complete(self, path: str, body: Mapping[str, Any]) -> str:
        """The text of a whole completion, of either kind."""
        async with self._request("POST", path, body) as response:
            answer = await self._object(response)
        if "error" in answer:
            raise self._refusal(500, answer)
        text = _text_of(answer)
        if text is None:
            raise APIError(f"{self.url} sent an answer without text.")
        return text

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """The text of a completion piece by piece. Closing the iterator ends the request."""
        finished = False
        async with self._request("POST", path, {**body, "stream": True}) as response:
            async for data in _events(response.content.iter_any()):
                if data == "[DONE]":
                    return
                chunk = _decoded(data)
                if "error" in chunk:
                    raise self._refusal(500, chunk)
                finished = finished or _finish_reason(chunk) is not None
                if text := _text_of(chunk):
                    yield text
        if not finished:
            raise ConnectionError(f"{self.url} ended its answer before it was complete.")

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with self._translated():
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                # A redirection would carry the key to wherever it leads.
                session.request(method, self.url + path, json=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise self._refusal(response.status, await _words(response))
                yield response

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:  # before the next: aiohttp's own timeouts are both
            raise TimeoutError(f"{self.url} did not answer within {self._seconds:g} seconds.") from error
        except aiohttp.ClientConnectorError as error:
            raise ConnectionError(f"{self.url} can't be reached: {error.os_error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(f"{self.url} broke off its answer: {self._clean(str(error))}") from error
        except ValueError as error:
            if isinstance(error, LlamaForgeError):
                raise
            raise APIError(f"{self.url} sent something that can't be read: {self._clean(str(error))}") from error

    def _refusal(self, status: int, said: Any) -> LlamaForgeError:
        words = self._clean(_message(said))
        if status in {401, 403}:
            return AuthenticationError(f"{self.url} refused the API key: {words}", status=status)
        if status == 404:
            return ModelNotFoundError(f"{self.url} has not found it: {words}")
        if status in {400, 413} and "context length" in words.lower():
            return ContextLengthError(words)
        return APIError(f"{self.url} answered {status}: {words}", status=status)

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        return json.loads(await response.read())

    async def _object(self, response: aiohttp.ClientResponse) -> Json:
        found = await self._json(response)
        if not isinstance(found, dict):
            raise APIError(f"{self.url} answered with {type(found).__name__} instead of an object.")
        return found

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key and len(self._key) > 3 else text


async def _events(parts: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of server-sent events, whatever the pieces in which the bytes come. Raises APIError for an endless line."""
    kept = b""
    async for part in parts:
        *lines, kept = (kept + part).split(b"\n") if b"\n" in part else (kept + part,)
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode(errors="replace")
        if len(kept) > _LONGEST_LINE:
            raise APIError("The server sent a line without end.")
    if kept.startswith(b"data:"):
        yield kept[5:].strip().decode(errors="replace")


def _decoded(data: str) -> Json:
    """The object of one event; what is none says nothing, as comments and pings of proxies do."""
    try:
        chunk = json.loads(data)
    except ValueError:
        log.debug("an event that is no JSON: %.100s", data)
        return {}
    return chunk if isinstance(chunk, dict) else {}


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _text_of(answer: Mapping[str, Any]) -> str | None:
    choice = _choice(answer)
    said = choice.get("delta") or choice.get("message")
    text = said.get("content") if isinstance(said, dict) else choice.get("text")
    return text if isinstance(text, str) else None


def _finish_reason(chunk: Mapping[str, Any]) -> Any:
    return _choice(chunk).get("finish_reason")


async def _words(response: aiohttp.ClientResponse) -> Any:
    body = await response.content.read(64 * 1024)
    text = body.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _message(said: Any) -> str:
    """What a server says in an error, in any of the usual shapes; a page of HTML is cut short."""
    for name in ("error", "detail", "message"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = said if isinstance(said, str) else json.dumps(said)
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}…"


def _checked_url(url: object) -> str:
    try:
        parts = urlsplit(str(url))
        usable = isinstance(url, str) and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ParameterError(f"The address of a server must be such as http://127.0.0.1:5000, not {url!r}.")
    return str(url).rstrip("/").removesuffix("/v1").rstrip("/")
