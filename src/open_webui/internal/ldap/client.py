"""One connection to a directory, in the server's own loop: TLS, binding, searching. Nothing is asked of any other host."""

import asyncio
import functools
import ssl
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

import msgspec

from open_webui.internal.ldap.ber import (
    ENUMERATED,
    MAX_MESSAGE,
    OCTETS,
    SEQUENCE,
    Malformed,
    boolean,
    elements,
    header,
    integer,
    number,
    octets,
    tlv,
)

Security = Literal["tls", "starttls", "none"]
Scope = Literal["base", "one", "subtree"]
_SCOPES: Final[Mapping[Scope, int]] = {"base": 0, "one": 1, "subtree": 2}
_START_TLS: Final = "1.3.6.1.4.1.1466.20037"
_BIND, _BOUND, _UNBIND, _SEARCH, _ENTRY, _DONE, _REFERENCE, _EXTENDED, _ANSWER = (
    0x60, 0x61, 0x42, 0x63, 0x64, 0x65, 0x73, 0x77, 0x78,
)  # fmt: skip
SUCCESS: Final = 0
SIZE_LIMIT: Final = 4
REFERRAL: Final = 10
NO_SUCH_OBJECT: Final = 32
INVALID_CREDENTIALS: Final = 49
# Bytes of all answers over one connection.
MAX_ALL: Final = 16 * 2**20


class LdapError(Exception):
    """The directory can't be used: it can't be reached, is somebody else, or speaks nonsense. The text is for the log."""


class Refused(Exception):
    """The directory understood and said no."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"result {code}: {said}" if said else f"result {code}")
        self.code = code


class Entry(msgspec.Struct, frozen=True):
    """What a search found. attributes: by their names in lower case, without options."""

    dn: str
    attributes: dict[str, list[bytes]]

    def texts(self, attribute: str) -> list[str]:
        """The values that are texts."""
        out = []
        for value in self.attributes.get(attribute.lower(), ()):
            try:
                out.append(value.decode())
            except UnicodeDecodeError:
                continue
        return out


@functools.lru_cache(maxsize=8)
def trust(authorities: str, ciphers: str, checks: bool) -> ssl.SSLContext:
    """How a directory's certificate is checked. authorities: PEM; "" for those of the system. Raises LdapError."""
    try:
        context = ssl.create_default_context(cadata=authorities or None)
        if ciphers.strip().upper() not in {"", "ALL", "DEFAULT"}:
            # Those without certificates would let anybody be the directory.
            context.set_ciphers(f"{ciphers}:!aNULL:!eNULL")
    except (ssl.SSLError, ValueError) as error:
        raise LdapError(f"the certificates of authorities, or the ciphers, can't be used: {error}") from None
    if not checks:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Wire(asyncio.Protocol):
    """What has come and is not read yet."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiting: asyncio.Future[None] | None = None
        self.is_over = False
        self.left = MAX_ALL

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left >= 0 and len(self.buffer) <= MAX_MESSAGE + 16:
            self.buffer += data
        else:
            self.is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    async def more(self) -> None:
        """Waits until something comes. Raises LdapError at the end."""
        if self.is_over:
            raise LdapError("the connection ended, or more came than was asked for")
        self.waiting = asyncio.get_running_loop().create_future()
        await self.waiting
        self.waiting = None


class Connection:
    """To be entered: `async with await Connection.open(...)`. Its user bounds the time."""

    def __init__(self, transport: asyncio.Transport, wire: _Wire) -> None:
        self._transport = transport
        self._wire = wire
        self._last_id = 0

    @classmethod
    async def open(cls, host: str, port: int, security: Security, context: ssl.SSLContext | None) -> Self:
        """Raises LdapError. context: for anything but "none"."""
        loop = asyncio.get_running_loop()
        at_once = context if security == "tls" else None
        try:
            transport, wire = await loop.create_connection(_Wire, host, port, ssl=at_once)
        except (OSError, ssl.CertificateError, UnicodeError) as error:
            raise LdapError(str(error) or type(error).__name__) from None
        made = cls(transport, wire)
        if security == "starttls":
            assert context is not None, "TLS has a context"
            has_begun = False
            try:
                await made._start_tls(host, context)
                has_begun = True
            finally:
                if not has_begun:
                    made.close()
        return made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._message(tlv(_UNBIND)))
            self._transport.close()
        # One that reads nothing does not keep it.
        asyncio.get_running_loop().call_later(1, self._transport.abort)

    async def _start_tls(self, host: str, context: ssl.SSLContext) -> None:
        self._send(tlv(_EXTENDED, octets(_START_TLS, 0x80)))
        tag, body = await self._next()
        if tag != _ANSWER:
            raise LdapError("it answers StartTLS with something else")
        code, said = _result(body)
        if code != SUCCESS:
            raise LdapError(f"it does not do StartTLS (result {code}: {said})")
        if self._wire.buffer:
            # Somebody on the way wrote ahead, to be taken for the directory.
            raise LdapError("something came between StartTLS and TLS")
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self._transport, self._wire, context, server_hostname=host)
        except (OSError, ssl.CertificateError, UnicodeError) as error:
            raise LdapError(str(error) or type(error).__name__) from None
        if transport is None:
            raise LdapError("the connection ended while TLS began")
        self._transport = transport

    async def bind(self, dn: str, password: str) -> None:
        """Proves who one is. Raises Refused, LdapError; ValueError without a name or a password: a directory takes that for
        somebody who proves nothing, and says yes (RFC 4513, 5.1.2).
        """
        if not dn or not password:
            raise ValueError("nobody binds without a name and a password")
        self._send(tlv(_BIND, integer(3), octets(dn), octets(password, 0x80)))
        tag, body = await self._next()
        if tag != _BOUND:
            raise LdapError("it answers a bind with something else")
        code, said = _result(body)
        if code != SUCCESS:
            raise Refused(code, said)

    async def search(
        self, base: str, scope: Scope, given: bytes, attributes: Sequence[str], *, limit: int, seconds: float
    ) -> tuple[list[Entry], bool]:
        """Entries below a name, and whether there are more than the limit. Where there is no such name there are none.

        What lies on other servers (references, referrals) isn't asked for. Raises Refused, LdapError.
        """
        request = tlv(
            _SEARCH,
            octets(base),
            integer(_SCOPES[scope], ENUMERATED),
            integer(0, ENUMERATED),
            integer(limit),
            integer(max(1, int(seconds))),
            boolean(False),
            given,
            tlv(SEQUENCE, *(octets(name) for name in attributes)),
        )
        self._send(request)
        found: list[Entry] = []
        while True:
            tag, body = await self._next()
            if tag == _ENTRY:
                if len(found) >= limit:
                    raise LdapError("it gives more entries than were asked for")
                found.append(_entry(body))
            elif tag == _DONE:
                code, said = _result(body)
                if code in {NO_SUCH_OBJECT, REFERRAL}:
                    return [], False
                if code not in {SUCCESS, SIZE_LIMIT}:
                    raise Refused(code, said)
                return found, code == SIZE_LIMIT
            elif tag != _REFERENCE:
                raise LdapError("it answers a search with something else")

    def _message(self, operation: bytes) -> bytes:
        self._last_id += 1
        return tlv(SEQUENCE, integer(self._last_id), operation)

    def _send(self, operation: bytes) -> None:
        self._transport.write(self._message(operation))

    async def _next(self) -> tuple[int, bytes]:
        """The next answer to what was asked last: its kind, and what it says. Raises LdapError."""
        try:
            (found_id, wanted), (tag, body), *_ = elements(await self._whole())
            if found_id != 0x02 or number(wanted) != self._last_id:
                raise LdapError("it answers something that was not asked, or ends the connection")
        except ValueError as error:
            raise LdapError(f"it sends what is no LDAP ({error})") from None
        return tag, body

    async def _whole(self) -> bytes:
        buffer = self._wire.buffer
        while (found := header(buffer)) is None or found[2] > len(buffer):
            if buffer and buffer[0] != SEQUENCE:
                break
            await self._wire.more()
        if found is None or found[0] != SEQUENCE:
            raise Malformed("no message")
        _, begin, end = found
        message = bytes(buffer[begin:end])
        del buffer[:end]
        return message


def _result(body: bytes) -> tuple[int, str]:
    """The code of a result, and what the directory says of it. Raises LdapError."""
    try:
        (tag, code), _, (_, said), *_ = elements(body)
        if tag != ENUMERATED:
            raise LdapError("a result without a code")
        return number(code), "".join(c for c in said.decode(errors="replace") if c.isprintable())[:300]
    except ValueError as error:
        raise LdapError(f"a result that is none ({error})") from None


def _entry(body: bytes) -> Entry:
    """Raises LdapError."""
    try:
        (_, dn), (_, listed), *_ = elements(body)
        attributes: dict[str, list[bytes]] = {}
        for _, attribute in elements(listed):
            (tag, name), (_, values), *_ = elements(attribute)
            if tag != OCTETS:
                raise LdapError("an attribute without a name")
            plain = name.decode().partition(";")[0].lower()
            attributes.setdefault(plain, []).extend(value for _, value in elements(values))
        return Entry(dn.decode(), attributes)
    except ValueError as error:
        raise LdapError(f"an entry that is none ({error})") from None
