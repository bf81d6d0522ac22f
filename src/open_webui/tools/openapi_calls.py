"""Requests to an OpenAPI server that an admin set up: its document, and the calls of its operations."""

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import msgspec

from open_webui.errors import ProviderError
from open_webui.tools.openapi import BODY, MAX_DOCUMENT, Operation, Parameter
from open_webui.tools.port import ToolResult

# Bytes of an answer; the model gets less of a text (chat/tools.py).
MAX_ANSWER: Final = 8 * 2**20
MAX_REDIRECTS: Final = 3
_FOLLOWED: Final = frozenset({301, 302, 307, 308})
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class ServerAway(ProviderError):
    """A tool server that can't be reached, or does not do its part; `detail` says so."""


class _Answer(msgspec.Struct, frozen=True):
    status: int
    kind: str
    charset: str
    body: bytes
    inline: bool


async def fetch_document(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], *, timeout: float) -> bytes:
    """The bytes of a document. Raises ServerAway."""
    answer = await _request(
        http, "get", url, {"accept": "application/json", **headers}, None, timeout=timeout, limit=MAX_DOCUMENT
    )
    if answer.status != 200:
        raise ServerAway(f"{_host(url)} answered with status {answer.status} where its document should be.")
    return answer.body


async def fetch_json(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    timeout: float,
) -> Any:
    """The JSON that a server answers; None where it answers nothing. Raises ServerAway, also for an answer that says no."""
    sent = {**headers, "content-type": "application/json"} if body is not None else headers
    answer = await _request(http, method, url, sent, body, timeout=timeout, limit=MAX_DOCUMENT)
    if answer.status >= 400:
        said = f"{_host(url)} answered with status {answer.status}. {_words(answer)[:1_000]}".strip()
        raise ServerAway(said, status=404 if answer.status == 404 else 502)
    try:
        return msgspec.json.decode(answer.body) if answer.body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServerAway(f"{_host(url)} answered with something that is no JSON.") from None


async def call(
    http: aiohttp.ClientSession,
    base: str,
    operation: Operation,
    arguments: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    timeout: float,
) -> ToolResult:
    """One call. An answer that says no is a result that failed. Raises ServerAway."""
    url, extra, body = _built(base, operation, arguments)
    sent = {**extra, **headers}
    if body is not None:
        sent["content-type"] = operation.media.partition(";")[0]
    answer = await _request(http, operation.method, url, sent, body, timeout=timeout, limit=MAX_ANSWER)
    return _result(answer)


def _built(base: str, operation: Operation, arguments: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes | None]:
    """The address of a call, the headers among its arguments, and its body."""
    path, query, headers, members = operation.path, list[str](), dict[str, str](), dict[str, Any]()
    for name, value in arguments.items():
        place = operation.parameters.get(name)
        if place is None or (value is None and place.where != "body"):
            continue
        if place.where == "path":
            path = path.replace("{" + place.name + "}", _segment(place.name, value))
        elif place.where == "query":
            query += _query(place, value)
        elif place.where == "header":
            headers[place.name.lower()] = quote(_text(value), safe=" !#$&'()*+,/:;=?@[]\"<>")
        else:
            members[place.name] = value
    url = base + path + (("&" if "?" in path else "?") + "&".join(query) if query else "")
    if not operation.media:
        return url, headers, None
    whole = arguments.get(BODY) if operation.whole_body else members
    return url, headers, _encoded(operation.media, whole)


def _encoded(media: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if media.startswith("text/"):
        return _text(value).encode()
    if media.startswith("application/x-www-form-urlencoded"):
        fields = value.items() if isinstance(value, dict) else ()
        return "&".join(f"{quote(str(k), safe='')}={quote(_text(v), safe='')}" for k, v in fields).encode()
    return msgspec.json.encode(value)


def _segment(name: str, value: Any) -> str:
    """A part of a path: whatever it holds, it stays one part and no way up."""
    text = quote(_text(value), safe="")
    if text in {"", ".", ".."}:
        raise ServerAway(f"{name!r} can't be {_text(value)!r}: it is a part of the address.", status=400)
    return text


def _query(place: Parameter, value: Any) -> list[str]:
    name = quote(place.name, safe="[]")
    if isinstance(value, list) and place.explode:
        return [f"{name}={quote(_text(item), safe='')}" for item in value]
    text = ",".join(_text(item) for item in value) if isinstance(value, list) else _text(value)
    return [f"{name}={quote(text, safe='')}"]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def _request(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    timeout: float,
    limit: int,
) -> _Answer:
    """Redirects are followed on the server's own site alone: what is sent along is for nobody else."""
    began = urlsplit(url)
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(10, timeout))
    try:
        for _ in range(MAX_REDIRECTS + 1):
            async with http.request(
                method, url, headers=headers, data=body, allow_redirects=False, timeout=limits
            ) as response:
                place = response.headers.get("location")
                if response.status not in _FOLLOWED or not place:
                    return await _answer(response, limit)
                url = urljoin(url, place)
                to = urlsplit(url)
                if (to.scheme, to.netloc) != (began.scheme, began.netloc):
                    raise ServerAway(
                        f"{began.hostname} sends one on to {to.hostname}. An admin can set that address instead."
                    )
        raise ServerAway(f"{began.hostname} sends one on and on.")
    except TimeoutError:
        raise ServerAway(f"{_host(url)} did not answer within {timeout:g} seconds.", status=504) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ServerAway(f"{_host(url)} can't be reached ({type(error).__name__}).") from error


async def _answer(response: aiohttp.ClientResponse, limit: int) -> _Answer:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > limit:
            raise ServerAway(f"{response.url.host} sent more than {limit:,} bytes.")
    inline = response.headers.get("content-disposition", "").strip().lower().startswith("inline")
    return _Answer(response.status, response.content_type.lower(), response.charset or "utf-8", bytes(body), inline)


def _result(answer: _Answer) -> ToolResult:
    if answer.status >= 400:
        text = _words(answer)[:4_000]
        return ToolResult(text=f"The server answered with status {answer.status}. {text}".strip(), failed=True)
    if answer.kind in _PICTURES:
        url = f"data:{answer.kind};base64,{base64.b64encode(answer.body).decode()}"
        return ToolResult(text="A picture, which the person sees.", files=({"type": "image", "url": url},))
    if answer.kind == "text/html" and answer.inline:
        return ToolResult(text="A page, which the person sees.", embeds=(_words(answer),))
    return ToolResult(text=_words(answer) or "Done; the server said nothing.")


def _words(answer: _Answer) -> str:
    is_text = answer.kind.startswith("text/") or answer.kind.endswith(
        ("json", "xml", "yaml", "javascript", "urlencoded")
    )
    if not is_text and b"\x00" in answer.body[:4_096]:
        return f"{len(answer.body):,} bytes of type {answer.kind}, which are no text."
    try:
        return answer.body.decode(answer.charset, "replace")
    except LookupError:
        return answer.body.decode(errors="replace")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url[:100]
