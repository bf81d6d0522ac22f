"""How engines are asked: requests with a bound on time and size, pictures out of JSON, and pictures at addresses."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from open_webui.errors import ProviderError
from open_webui.images.port import LARGEST, MOST
from open_webui.internal import guarded_http
from open_webui.internal.guarded_http import Unreachable
from open_webui.internal.straight import straight
from open_webui.utils.base64s import from_base64, in_turn

T = TypeVar("T")
# Characters of base64 for that many bytes, and some for the JSON around them.
_ENCODED: Final = LARGEST // 3 * 4 + 2**16
_SMALL: Final = 2**18
_TOLD: Final = 500
_NO_PICTURE: Final = "The engine sent a picture that can't be read."


class Wire:
    """One engine at an address that an administrator has set. Redirects are not followed.

    seconds: for a whole request. name: as it stands in a sentence.
    """

    def __init__(
        self, session: aiohttp.ClientSession, base: str, headers: Mapping[str, str], *, seconds: float, name: str
    ) -> None:
        self.base = base.rstrip("/")
        self.seconds = seconds
        self.name = name
        self._session = session
        self._headers = dict(headers)
        if urlsplit(self.base).scheme not in {"http", "https"} or not urlsplit(self.base).hostname:
            raise ProviderError(
                f"The address of {name} is missing, or is none. An administrator can set it.", status=400
            )

    async def ask(self, method: str, path: str, *, json: Any = None, form: Any = None, count: int = 1) -> bytes:
        """The body of an answer. count: how many pictures it may hold. Raises ProviderError."""
        async with self.opened(method, path, json=json, form=form) as reply:
            return await self._body(reply, min(count, MOST) * _ENCODED)

    async def json(
        self, method: str, path: str, of: type[T], *, json: Any = None, form: Any = None, count: int = 1
    ) -> T:
        """An answer as values. Bytes in it are base64 on the wire. Raises ProviderError."""
        body = await self.ask(method, path, json=json, form=form, count=count)
        return await decoded(body, of, self.name)

    @asynccontextmanager
    async def opened(
        self, method: str, path: str, *, json: Any = None, form: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is still to come. Raises ProviderError, also for what goes wrong in the block."""
        data = form if json is None else msgspec.json.encode(json)
        headers = self._headers | ({} if json is None else {"content-type": "application/json"})
        limits = aiohttp.ClientTimeout(total=self.seconds, sock_connect=min(10.0, self.seconds))
        try:
            async with self._session.request(
                method, f"{self.base}{path}", data=data, headers=headers, timeout=limits, allow_redirects=False
            ) as reply:
                if reply.status >= 300:
                    raise self._refused(reply.status, await self._beginning(reply))
                yield reply
        except TimeoutError:
            raise ProviderError(
                f"{self.name} did not answer within {self.seconds:g} seconds.", status=504, retryable=True
            ) from None
        except aiohttp.InvalidURL:
            raise ProviderError(f"The address of {self.name} can't be used.", status=400) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(f"{self.name} can't be reached ({type(error).__name__}).", retryable=True) from None

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A websocket of the engine's. Raises ProviderError."""
        closing = aiohttp.ClientWSTimeout(ws_close=2)
        try:
            async with (
                straight(self._session) as session,
                session.ws_connect(
                    f"{self.base}{path}", headers=self._headers, max_msg_size=16 * 2**20, timeout=closing
                ) as found,
            ):
                yield found
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(f"{self.name} can't be reached ({type(error).__name__}).", retryable=True) from None

    async def picture(self, url: str) -> bytes:
        """The picture at an address that the engine gave: of its own origin, or a public one. Raises ProviderError."""
        if url.startswith("data:"):
            return await from_text(url)
        mine = urlsplit(self.base)
        try:
            theirs = urlsplit(f"{mine.scheme}://{mine.netloc}{url}" if url.startswith("/") else url)
        except ValueError:
            raise ProviderError(_NO_PICTURE) from None
        if (mine.scheme, mine.netloc.lower()) == (theirs.scheme, theirs.netloc.lower()):
            here = Wire(
                self._session, f"{mine.scheme}://{mine.netloc}", self._headers, seconds=self.seconds, name=self.name
            )
            return await here.ask("GET", f"{theirs.path}?{theirs.query}" if theirs.query else theirs.path)
        try:
            page = await guarded_http.fetch(url, limit=LARGEST, timeout=min(self.seconds, 120.0))
        except Unreachable as error:
            raise ProviderError(f"The picture of {self.name} can't be fetched: {error}") from None
        return page.body

    async def _body(self, reply: aiohttp.ClientResponse, limit: int) -> bytes:
        large = ProviderError(f"{self.name} sent more than this server takes ({limit // 2**20} MB).")
        if (reply.content_length or 0) > limit:
            raise large
        # What is large grows in its place, instead of being moved whenever it is full.
        body, at = bytearray(reply.content_length or 0), 0
        async for part in reply.content.iter_any():
            body[at : at + len(part)] = part
            at += len(part)
            if at > limit:
                raise large
        del body[at:]
        # Not copied: who reads it only looks.
        return body  # type: ignore[return-value]

    @staticmethod
    async def _beginning(reply: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in reply.content.iter_any():
            body += part
            if len(body) >= _SMALL:
                break
        return bytes(body[:_SMALL])

    def _refused(self, status: int, body: bytes) -> ProviderError:
        said = said_in(body)
        if status < 400:
            return ProviderError(f"{self.name} sends one elsewhere (status {status}), which is not followed.")
        if status in {401, 403}:
            return ProviderError(f"{self.name} does not let this server in (status {status}){said}.")
        return ProviderError(
            f"{self.name} answered with status {status}{said}.", status=400 if status in {400, 422} else 502,
            retryable=status == 429 or status >= 500, untouched=status in {429, 503},
        )  # fmt: skip


def said_in(body: bytes) -> str:
    """What an error says of itself, as the end of a sentence; "" where it says nothing that can be shown."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    if isinstance(found, list) and found:
        found = found[0]
    for name in ("error", "detail", "errors", "message"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    if isinstance(found, str) and found.strip():
        return f": {found.strip()[:_TOLD].rstrip('.')}"
    return ""


async def decoded(body: bytes, of: type[T], name: str) -> T:
    """JSON as values, beside the loop where it is long. Raises ProviderError."""
    try:
        if len(body) < _SMALL:
            return msgspec.json.decode(body, type=of)
        return await in_turn(msgspec.json.decode, body, type=of)
    except (msgspec.DecodeError, RecursionError):
        raise ProviderError(f"{name} answered something that can't be understood.") from None


async def from_text(text: str) -> bytes:
    """A picture as base64, with or without the beginning of a data: URL. Raises ProviderError."""
    if len(text) > _ENCODED:
        raise ProviderError(_NO_PICTURE)
    try:
        if len(text) < _SMALL:
            return _bare(text)
        return await in_turn(_bare, text)
    except ValueError:
        raise ProviderError(_NO_PICTURE) from None


def _bare(text: str) -> bytes:
    head, comma, body = text.partition(",")
    # Not copied: who reads it only looks.
    return from_base64(body if comma and head.startswith("data:") else text)  # type: ignore[return-value]


def size_of(size: str) -> tuple[int | None, int | None]:
    """Width and height of "512x512"; None for both where it says none."""
    left, cross, right = size.lower().partition("x")
    if cross and left.strip().isdecimal() and right.strip().isdecimal() and len(size) < 20:
        return int(left), int(right)
    return None, None
