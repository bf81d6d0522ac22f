"""Outgoing HTTP for addresses that a user or a page of the web chooses: none but public ones are ever connected to.

Each connection is checked when its socket is made, whatever the address looked like and whatever a name led to at that moment;
so redirects and names that change need no check of their own. Nothing of the server's goes along: no cookie, no key, no proxy.
"""

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from open_webui import __version__

MAX_REDIRECTS: Final = 5
MAX_URL: Final = 8_192
_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# Of no public use, which older versions of Python don't know.
_SPECIAL: Final = ipaddress.IPv4Network("192.0.0.0/24")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Exception):
    """Why there is nothing at an address, as a sentence for a person."""


class _Forbidden(OSError):
    """An address that nobody may be led to."""


class Page(msgspec.Struct, frozen=True):
    """What an address led to. url: where it was in the end. kind: its media type, "" where it has none."""

    url: str
    kind: str
    charset: str | None
    body: bytes


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet's, in whichever form it is written."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and any(address in network for network in _NAT64):
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
        # IPv4 in its oldest dress: ::1.2.3.4
        if address.packed[:12] == bytes(12):
            return False
    return address.is_global and not address.is_multicast and address not in _SPECIAL


def checked_url(url: str) -> str:
    """An address of the web. Raises Unreachable for what is none, or has a password in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if len(url) > MAX_URL or parts.scheme not in {"http", "https"} or not parts.hostname or any(c <= " " for c in url):
        raise Unreachable(f"{url[:200]!r} is no address of the web.")
    if parts.username is not None or parts.password is not None:
        raise Unreachable("An address with a name or a password in it is not fetched.")
    return url


async def fetch(
    url: str,
    *,
    limit: int,
    timeout: float,
    allow_local: bool = False,
    visits: Callable[[str], bool] = lambda _: True,
    headers: dict[str, str] | None = None,
    verify: bool = True,
) -> Page:
    """What lies at an address, redirects followed.

    limit: bytes of it, as they are after decompression. timeout: seconds for all. allow_local: addresses of this machine and
    its networks, too. visits: asked for each address on the way, the first included. verify: its TLS certificate.
    Raises Unreachable.
    """
    sent = {"accept": "text/html,*/*;q=0.8"} | (headers or {})
    async with _guarded(url, timeout, sent, allow_local=allow_local, verify=verify) as session:
        return await _follow(session, url, limit, visits)


class Answer(msgspec.Struct, frozen=True):
    """What an address answered, whatever it was."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(
    method: str,
    url: str,
    *,
    limit: int,
    timeout: float,
    body: bytes | None = None,
    allow_local: bool = False,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request, for what is no page: sign-in at other servers. Redirects are not followed. Raises Unreachable."""
    checked_url(url)
    async with (
        _guarded(url, timeout, headers or {}, allow_local=allow_local, verify=True) as session,
        session.request(method, url, data=body, allow_redirects=False) as response,
    ):
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, lower, await _body(response, limit))


@asynccontextmanager
async def _guarded(
    url: str, timeout: float, headers: dict[str, str], *, allow_local: bool, verify: bool
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for one exchange. What goes wrong in it is raised as Unreachable."""

    def guard(info: tuple[Any, Any, Any, Any, Any]) -> socket.socket:
        if not allow_local:
            _check(str(info[4][0]))
        return socket.socket(info[0], info[1], info[2])

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=guard, ssl=verify, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(10, timeout)),
        headers={"user-agent": f"oui-backend/{__version__}"} | headers,
        trust_env=False,
    ) as session:
        try:
            yield session
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(error.os_error, _Forbidden)
            raise Unreachable(
                f"{_host(url)} {'is no public address' if forbidden else 'can not be reached'}."
            ) from error
        except TimeoutError as error:
            raise Unreachable(f"{_host(url)} did not answer within {timeout:g} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{_host(url)} sent something that can't be read.") from error


async def _follow(session: aiohttp.ClientSession, url: str, limit: int, visits: Callable[[str], bool]) -> Page:
    for _ in range(MAX_REDIRECTS + 1):
        if not visits(checked_url(url)):
            raise Unreachable(f"{_host(url)} is not among the sites that this server reads.")
        async with session.get(url, allow_redirects=False) as response:
            place = response.headers.get("location")
            if response.status in _FOLLOWED and place:
                url = urljoin(url, place)
                continue
            if response.status != 200:
                raise Unreachable(f"{_host(url)} answered with status {response.status}.")
            kind = response.content_type if "content-type" in response.headers else ""
            return Page(url, kind, response.charset, await _body(response, limit))
    raise Unreachable(f"{_host(url)} sends one on and on.")


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if (response.content_length or 0) > limit:
        raise Unreachable(f"{_host(str(response.url))} sent more than {limit:,} bytes.")
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > limit:
            raise Unreachable(f"{_host(str(response.url))} sent more than {limit:,} bytes.")
    return bytes(body)


def _check(address: str) -> None:
    """Raises _Forbidden for what is no address of the Internet's."""
    try:
        public = is_public(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        public = False
    if not public:
        raise _Forbidden("not a public address")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url[:100]
    except ValueError:
        return url[:100]
