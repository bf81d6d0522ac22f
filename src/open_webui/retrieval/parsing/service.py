"""Calls of a service that reads documents: what it answers, or a sentence without its key."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from open_webui.retrieval.parsing.base import ParseError

# Bytes of an answer, and seconds that a whole document may take.
MAX_ANSWER: Final = 200_000_000
SECONDS: Final = 900.0
_LOOK_SECONDS: Final = 1.0
_SHOWN: Final = 200


class Service:
    """One service. Its addresses are an admin's: they are called with the server's ordinary client, and lead nowhere else."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        called: str,
        address: str,
        key: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """called: its name in sentences. key: what no sentence may show. headers: sent to `address` alone.

        Raises ParseError where there is no address.
        """
        if not address.startswith(("http://", "https://")):
            raise ParseError(
                f"{called} has no address: an administrator sets it in the settings of documents.", final=False
            )
        self.address = address.rstrip("/")
        self.called = called
        self._http = http
        self._key = key
        self._headers = dict(headers or {})
        self._until = time.monotonic() + SECONDS

    def limit(self, seconds: float) -> None:
        """Gives the document so many seconds from now."""
        self._until = time.monotonic() + seconds

    async def call(
        self,
        method: str,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        json: object = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """The answer's headers and body. path: after the service's address; a whole address is called without its headers,
        unless it is of the same host. Raises ParseError.
        """
        url = path if path.startswith(("http://", "https://")) else self.address + path
        ours = urlsplit(url)[:2] == urlsplit(self.address)[:2]
        own = self._headers if ours else {}
        timeout = aiohttp.ClientTimeout(total=max(self._until - time.monotonic(), 0.001), sock_connect=10)
        if json is not None:
            data, own = msgspec.json.encode(json), {"content-type": "application/json", **own}
        try:
            async with self._http.request(
                method,
                url,
                headers={**own, **(headers or {})},
                data=data,
                timeout=timeout,
                allow_redirects=False,
                # Addresses that a service has signed are signed without a type.
                skip_auto_headers=() if ours else ("content-type",),
            ) as response:
                body = await self._read(response)
        except TimeoutError:
            raise ParseError(f"{self.called} took too long over the document.", final=False) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ParseError(f"{self.called} can't be reached ({type(error).__name__}).", final=False) from None
        if response.status >= 300:
            raise self._refused(response.status, body)
        return response.headers, body

    async def json(self, method: str, path: str = "", **sent: Any) -> Any:
        """The answer as JSON."""
        return self.decoded((await self.call(method, path, **sent))[1])

    def decoded(self, body: bytes) -> Any:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise ParseError(f"{self.called} answers with something that is not JSON.", final=False) from None

    async def wait(self) -> None:
        """Until it is time to ask again how far it is. Raises ParseError when the document has had its time."""
        if time.monotonic() + _LOOK_SECONDS > self._until:
            raise ParseError(f"{self.called} took too long over the document.", final=False)
        await asyncio.sleep(_LOOK_SECONDS)

    def failed(self, why: object) -> ParseError:
        """Its own word that it can't read the document."""
        return ParseError(f"{self.called} could not read the document: {self._shown(why)}")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in response.content.iter_chunked(65_536):
            body += part
            if len(body) > MAX_ANSWER:
                raise ParseError(f"{self.called} answers with more than is taken.")
        return bytes(body)

    def _refused(self, status: int, body: bytes) -> ParseError:
        if status in {401, 403}:
            return ParseError(f"{self.called} does not accept its key. An administrator sets it.", final=False)
        said = self._shown(body[:2_000].decode(errors="replace"))
        # What may be better later: too many requests, and whatever is wrong at the service itself.
        final = 400 <= status < 500 and status not in {404, 408, 429}
        return ParseError(
            f"{self.called} refuses the document (status {status}{': ' + said if said else ''}).", final=final
        )

    def _shown(self, said: object) -> str:
        text = " ".join(str(said).split())
        for secret in filter(None, (self._key, *self._headers.values())):
            text = text.replace(secret, "…")
        return text[:_SHOWN]
