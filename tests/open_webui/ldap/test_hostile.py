"""Directories that are away, slow, somebody else, or hostile; and what is never asked of others."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from open_webui.access.ldap import directory
from open_webui.access.ldap.directory import Person, ask
from open_webui.access.ldap.servers import Server, authorities, made
from open_webui.internal.ldap.ber import SEQUENCE, integer, octets, tlv
from open_webui.internal.ldap.client import Connection, LdapError, trust
from open_webui.services import ldap as service
from tests.open_webui.ldap.conftest import Serve, enter, said
from tests.support.slapd import APP, APP_PASSWORD, BASE, PASSWORD, Slapd, certificate

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def server_of(slapd: Slapd, seconds: float = 10, **changed: object) -> Server:
    return made("ldap", slapd.page(**changed), seconds)


async def why(server: Server, user: str = "ann", password: str = PASSWORD) -> str:
    """Why the directory can't be asked."""
    with pytest.raises(LdapError) as raised:
        await ask(server, user, password)
    return str(raised.value)


@contextlib.asynccontextmanager
async def listening(handle: Handle) -> AsyncIterator[int]:
    """A directory that does as it is told: its port."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    running = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


def answering(*answers: bytes) -> Handle:
    """Answers each request with the next of these, as they are, and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(10_000)
            writer.write(answer)
            await writer.drain()

    return handle


def message(number: int, operation: bytes) -> bytes:
    return tlv(SEQUENCE, integer(number), operation)


def result(tag: int, code: int, said: str = "") -> bytes:
    return tlv(tag, integer(code, 0x0A), octets(""), octets(said))


class TestCertificates:
    async def test_are_checked(self, slapd: Slapd) -> None:
        for changed in ({}, {"port": slapd.port, "security": "starttls"}):
            for ca in ("", str(slapd.bad_ca)):
                assert "certificate verify failed" in await why(server_of(slapd, certificate_path=ca, **changed))
            # A name that the certificate doesn't have, of the same machine.
            assert "certificate verify failed" in await why(server_of(slapd, host="localhost", **changed))
            assert isinstance(await ask(server_of(slapd, **changed), "ann", PASSWORD), Person)
            unchecked = server_of(slapd, certificate_path="", validate_cert=False, host="localhost", **changed)
            assert isinstance(await ask(unchecked, "ann", PASSWORD), Person)

    async def test_files_and_ciphers_that_can_not_be(self, slapd: Slapd, tmp_path: Path) -> None:
        (tmp_path / "nothing.pem").write_text("nothing")
        for path in ("/dev/zero", "/nope", "/etc", str(tmp_path / "nothing.pem")):
            assert "certificates" in await why(server_of(slapd, certificate_path=path))
        assert "ciphers" in await why(server_of(slapd, ciphers="NOPE"))
        assert isinstance(await ask(server_of(slapd, ciphers="ECDHE+AESGCM"), "ann", PASSWORD), Person)
        names = {one["name"] for one in trust(authorities(str(slapd.ca)), "ECDHE:aNULL", True).get_ciphers()}
        assert not [name for name in names if name.startswith(("ADH", "AECDH"))]

    async def test_without_tls_only_where_an_admin_says_so(self, slapd: Slapd) -> None:
        plain = server_of(slapd, port=slapd.port, use_tls=False)
        assert (plain.security, server_of(slapd, port=389).security) == ("none", "starttls")
        assert (server_of(slapd, port=636).security, server_of(slapd, host="ldaps://x").security) == ("tls", "tls")
        assert isinstance(await ask(plain, "ann", PASSWORD), Person)


class TestAskedInVain:
    async def test_it_is_bounded_in_time(self, serve: Serve) -> None:
        """Whoever waits for a directory that says nothing keeps nobody else waiting."""

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del writer
            await reader.read(-1)

        async with listening(silent) as port:
            live = await serve(LDAP_SERVER_PORT=str(port), LDAP_SECURITY="none", LDAP_TIMEOUT="2")
            began = time.monotonic()
            waiting = asyncio.create_task(enter(live, "ann"))
            async with live.client() as client:
                await asyncio.sleep(0.2)
                assert (await client.get("/health")).status_code == 200
            assert not waiting.done()
            assert said(await waiting) == (503, service.AWAY)
            assert time.monotonic() - began < 15
            # With TLS, too: before it begins, and at StartTLS.
            for security in ("tls", "starttls"):
                silent_one = made(
                    "ldap", {"host": "127.0.0.1", "port": port, "search_base": BASE, "security": security}, 1
                )
                assert "within 1 seconds" in await why(silent_one)

    async def test_nonsense(self) -> None:
        huge = b"\x30\x84\x7f\xff\xff\xff" + b"x" * 1_000
        bound = message(1, result(0x61, 0))
        for answers, expected in (
            ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no LDAP"), ([huge], "no LDAP"), ([b"\x30\x80\x00\x00"], "no LDAP"),
            ([b"\x1f\x81"], "no LDAP"), ([b""], "connection ended"), ([bound[:5]], "connection ended"),
            ([message(7, result(0x61, 0))], "not asked"), ([message(1, result(0x65, 0))], "something else"),
            # A notice that the connection ends.
            ([message(0, result(0x78, 52))], "not asked"), ([message(1, tlv(0x61))], "result"),
            ([message(1, result(0x61, 49, "\x1b[31m no"))], "refuses the application's own name"),
            ([bound, message(2, tlv(0x64, octets("x"), octets("y")))], "none"),
            ([bound, message(2, result(0x65, 51))], "refuses what it is asked: result 51"),
            ([bound, message(2, tlv(0x64, octets("cn=x"), tlv(SEQUENCE))) * 5], "more entries than were asked for"),
        ):  # fmt: skip
            async with listening(answering(*answers)) as port:
                told = {"host": "127.0.0.1", "port": port, "search_base": BASE, "use_tls": False,
                        "app_dn": APP, "app_dn_password": APP_PASSWORD}  # fmt: skip
                reason = await why(made("ldap", told, 1))
            assert expected in reason, (answers, reason)
            assert "\x1b" not in reason

    async def test_what_never_ends(self) -> None:
        """Answers of any number, none of which is a result."""

        async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            reference = message(1, tlv(0x73, octets("ldap://127.0.0.1:9/" + "x" * 60_000)))
            while not writer.is_closing():
                writer.write(reference)
                await writer.drain()

        async with listening(flooding) as port:
            told = {"host": "127.0.0.1", "port": port, "search_base": BASE, "use_tls": False}
            assert "more came than was asked for" in await why(made("ldap", told, 20))

    async def test_what_comes_before_tls_is_not_taken_for_the_directory(self) -> None:
        ahead = message(1, result(0x78, 0)) + message(2, result(0x61, 0))
        for answer, expected in (
            (ahead, "between StartTLS and TLS"), (message(1, result(0x78, 2)), "does not do StartTLS"),
            (message(1, result(0x61, 0)), "something else"),
        ):  # fmt: skip
            async with listening(answering(answer)) as port:
                told = {"host": "127.0.0.1", "port": port, "search_base": BASE, "security": "starttls"}
                assert expected in await why(made("ldap", told, 5))


class TestOthers:
    async def test_referrals_lead_nowhere(self, slapd: Slapd) -> None:
        """What the directory says of other hosts isn't followed: not with a search, and not with a password."""
        with socket.socket() as elsewhere:
            elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elsewhere.bind(("127.0.0.1", slapd.elsewhere))
            elsewhere.listen()
            elsewhere.setblocking(False)
            assert isinstance(await ask(server_of(slapd), "ann", PASSWORD), Person)
            assert await ask(server_of(slapd, search_base=f"ou=far,{BASE}"), "ann", PASSWORD) == "unknown"
            assert await ask(server_of(slapd, search_base="dc=elsewhere"), "ann", PASSWORD) == "unknown"
            with pytest.raises(BlockingIOError):
                elsewhere.accept()

    async def test_a_copy_answers_where_the_first_is_away(self, slapd: Slapd) -> None:
        copies = server_of(slapd, host="127.0.0.2, 127.0.0.1 [::1]", seconds=3)
        assert copies.hosts == ("127.0.0.2", "127.0.0.1", "::1")
        assert isinstance(await ask(copies, "ann", PASSWORD), Person)

    async def test_nobody_binds_without_a_password(self, slapd: Slapd) -> None:
        """The directory of these tests would say yes."""
        context = trust(authorities(str(slapd.ca)), "", True)
        async with await Connection.open("127.0.0.1", slapd.tls_port, "tls", context) as connection:
            for dn, password in ((APP, ""), ("", APP_PASSWORD), ("", "")):
                with pytest.raises(ValueError, match="nobody binds"):
                    await connection.bind(dn, password)
            connection._send(tlv(0x60, integer(3), octets(APP), octets("", 0x80)))
            tag, body = await connection._next()
            assert (tag, body[:3]) == (0x61, b"\x0a\x01\x00"), "so that this test is one"
        with pytest.raises(ValueError, match="no password"):
            server_of(slapd, app_dn_password="")

    async def test_the_application_sees_no_more_than_it_may(self, slapd: Slapd) -> None:
        """A directory that lets nobody look around: people aren't found, and nobody gets in."""
        assert await ask(server_of(slapd, app_dn=""), "ann", PASSWORD) == "unknown"
        assert "application's own name" in await why(server_of(slapd, app_dn_password="wrong"))

    async def test_groups_are_bounded(self, slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
        for more in ({}, {"group_search_base": BASE}):
            server = server_of(slapd, enable_group_management=True, **more)
            whole = await ask(server, "ann", PASSWORD)
            assert isinstance(whole, Person)
            assert (sorted(whole.groups), whole.has_more) == (["everybody", "staff", "west, sales"], False)
            with monkeypatch.context() as patched:
                patched.setattr(directory, "MAX_GROUPS", 1)
                found = await ask(server, "ann", PASSWORD)
            assert isinstance(found, Person)
            assert (len(found.groups), found.has_more, service.claims(found)["hasgroups"]) == (1, True, True)
            with monkeypatch.context() as patched:
                patched.setattr(directory, "MAX_QUESTIONS", 0)
                assert (await ask(server, "ann", PASSWORD)).has_more  # type: ignore[union-attr]


def test_a_certificate_is_not_read_twice(tmp_path: Path) -> None:
    certificate(tmp_path / "a.pem", tmp_path / "key.pem")
    text = authorities(str(tmp_path / "a.pem"))
    assert trust(text, "", True) is trust(text, "", True)
