"""Calls to providers: requests as JSON, bounded reads, and every way to fail as one ProviderError with a clear sentence."""

import asyncio
import io
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from llamaforge.events.openai import message_of
from open_webui.connections.chunks import CUT_OFF
from open_webui.constants import MAX_PROVIDER_LINE
from open_webui.errors import BadRequest, ProviderError
from open_webui.internal.http import was_opened
from open_webui.utils.threads import let_others

# Larger bodies than this go out in pieces.
LARGE: Final = 2**20
# How much of a refusal is read.
_MAX_REFUSAL: Final = 256 * 1024
# Longer than this between the parts of an error's headers and its body means that it has none for us.
REFUSAL_SECONDS: Final = 10.0
FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
# A kept connection that the provider had closed shows it within one round trip; one that is closed later was closed by
# somebody who had the request.
CLOSED_WHILE_IDLE_SECONDS: Final = 1.0
# What a provider answers that took nothing in.
UNTOUCHED: Final = frozenset({429, 503, 529})


def host_of(url: str) -> str:
    """Host and port of an address, as they may be shown to anybody: without credentials, path and query."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or url[:100]
    except ValueError:
        return url[:100]


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """A request's JSON. Raises BadRequest for what has none."""
    try:
        return msgspec.json.encode(payload)
    except (OverflowError, TypeError, ValueError, RecursionError):
        raise BadRequest("The request can't be sent on: it is nested too deeply.") from None


async def request(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    payload: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> aiohttp.ClientResponse:
    """The provider's response once its status is there and good; the caller closes it.

    timeout: seconds for all of it, reading included; None as the session has it. Raises ProviderError (BadRequest for
    a payload that is no JSON).

    It is sent once. Only where the provider had closed a kept connection while it was idle, so that it can't have had the
    request, it is sent a second time.
    """
    sent = dict(headers)
    data = None
    if payload is not None:
        data = encode_payload(payload)
        await let_others(len(data))
        sent["content-type"] = "application/json"
    options: dict[str, Any] = {}
    if timeout is not None:
        options["timeout"] = aiohttp.ClientTimeout(total=timeout)
    # A redirect would turn a POST into a GET and take the key along; an admin corrects the address instead.
    options |= {"headers": sent, "allow_redirects": False}

    response = await _once_or_again(http, method, url, data, options)
    if response.status < 300:
        return response
    try:
        raise await refusal(response, url)
    finally:
        response.close()


def _in_pieces(data: bytes | None) -> bytes | io.BytesIO | None:
    """A body as it is sent: a large one, with pictures in it, in pieces, so that the loop goes on between them."""
    return io.BytesIO(data) if data is not None and len(data) > LARGE else data


async def _once_or_again(
    http: aiohttp.ClientSession, method: str, url: str, data: bytes | None, options: dict[str, Any]
) -> aiohttp.ClientResponse:
    """The response to a request, made again by the rule of `request`. Raises ProviderError."""
    clock = asyncio.get_running_loop().time
    began = clock()
    was_opened.set(False)
    try:
        return await http.request(method, url, data=_in_pieces(data), **options)
    except FAILURES as error:
        at_once = clock() - began < CLOSED_WHILE_IDLE_SECONDS
        if was_opened.get() or not at_once or not _was_closed(error):
            raise failure(error, url) from error
    try:
        return await http.request(method, url, data=_in_pieces(data), **options)
    except FAILURES as error:
        lost = failure(error, url)
        # An engine that dies of a request looks the same, and must not be started again for it.
        lost.untouched = False
        raise lost from error


def _was_closed(error: BaseException) -> bool:
    """Whether an established connection ended before a byte of the answer came."""
    match error:
        case aiohttp.ClientConnectorError():
            return False
        case aiohttp.ServerDisconnectedError():
            # With the beginning of an answer, its message is what had been read of it.
            return isinstance(error.message, str)
        case _:
            return isinstance(error, aiohttp.ClientOSError)


async def read_all(response: aiohttp.ClientResponse, url: str, limit: int = MAX_PROVIDER_LINE) -> bytes:
    """The body, up to the limit. Raises ProviderError."""
    parts, size = [], 0
    try:
        while part := await response.content.readany():
            parts.append(part)
            size += len(part)
            if size > limit:
                response.close()
                raise ProviderError("The provider's answer is larger than the server accepts.")
    except FAILURES as error:
        raise failure(error, url, started=True) from error
    return b"".join(parts)


async def refusal(response: aiohttp.ClientResponse, url: str) -> ProviderError:
    """What a response with an error status says, with the provider's own message inside. Never raises."""
    raw = b""
    try:
        while len(raw) < _MAX_REFUSAL and (part := await response.content.readany()):
            raw += part
    except FAILURES:
        pass
    body: Any = None
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if b"<" not in raw[:200] and raw.strip():
            body = raw.decode(errors="replace")
    status = response.status
    if status < 400:
        place = response.headers.get("location", "")[:200]
        return ProviderError(
            f"The provider at {host_of(url)} sends us on to {place or 'another address'}; its address is wrong."
        )
    said = message_of(body) or response.reason or "it gave no reason"
    hint = _HINTS.get(status)
    return ProviderError(
        f"The provider at {host_of(url)} answered with an error ({status}): {said}" + (f" {hint}" if hint else ""),
        status=status,
        body=body if isinstance(body, dict) else None,
        retryable=status in {408, 409, 425, 429} or status >= 500,
        untouched=status in UNTOUCHED,
        hint=hint,
        retry_after=_seconds(response.headers.get("retry-after", "")),
    )


def _seconds(after: str) -> float | None:
    """What a Retry-After header says: seconds, or a date."""
    try:
        if after.strip().isdigit():
            return float(after)
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


_HINTS: Final = {
    401: "An administrator can check the key of this connection.",
    404: "The model may be gone, or the connection's address be wrong (many end with /v1).",
    405: "The connection's address may be wrong (many end with /v1).",
}


# No connection came about, or the request could not be written down.
_UNSENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def failure(error: BaseException, url: str, *, started: bool = False) -> ProviderError:
    """What went wrong with a connection, as a sentence. started: part of the answer had arrived."""
    host = host_of(url)
    match error:
        case ProviderError():
            return error
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            text, hint = (
                f"'{url[:200]}' is not an address that can be called.",
                "It should begin with http:// or https://.",
            )
        case TimeoutError():
            text, hint = (
                f"The provider at {host} did not answer in time.",
                "Check that it is running and can be reached.",
            )
            untouched = isinstance(error, _UNSENT)
            return ProviderError(f"{text} {hint}", status=504, retryable=True, untouched=untouched, hint=hint)
        case _ if started:
            return ProviderError(CUT_OFF, retryable=True)
        case aiohttp.ClientConnectorDNSError():
            text, hint = (
                f"The provider's host {host} can't be found.",
                "Check the spelling of its address and the network.",
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            text, hint = (
                f"The provider at {host} can't be trusted: its TLS certificate is not good.",
                "Check its address.",
            )
        case aiohttp.ClientConnectorError() | ConnectionRefusedError():
            text, hint = (
                f"The provider at {host} can't be reached.",
                "Check that it is running and that its address is right.",
            )
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            text, hint = f"The provider at {host} closed the connection without an answer.", "Trying again may help."
        case aiohttp.ClientError():
            text, hint = f"The provider at {host} sent something that is not HTTP.", "Check its address."
        case _:
            text, hint = f"The provider at {host} can't be called with these settings.", "Check its key and headers."
    return ProviderError(f"{text} {hint}", retryable=True, untouched=isinstance(error, _UNSENT), hint=hint)
