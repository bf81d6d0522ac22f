"""Asking a directory: who somebody is, whether the password is theirs, and which groups they are in."""

import asyncio
import secrets
import ssl
import uuid
from typing import Final, Literal

import msgspec

from open_webui.access.ldap.servers import Server, authorities
from open_webui.internal.ldap.client import Connection, Entry, LdapError, Refused, trust
from open_webui.internal.ldap.filters import equal, every, present, some
from open_webui.internal.ldap.names import comparable, first_value
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Groups of one person, how deep they lie in each other, and questions about them.
MAX_GROUPS: Final = 500
MAX_NESTED: Final = 10
MAX_QUESTIONS: Final = 200
# People or groups in one question.
_AT_ONCE: Final = 50
# What a directory answers that doesn't look at the password, for now.
_BUSY: Final = frozenset({51, 52, 80})
_NAMES: Final = ("displayName", "cn")
# What people are called for ever, by OpenLDAP and others, and by Active Directory.
_UUID, _GUID = "entryUUID", "objectGUID"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """subject: what stays when people are renamed or move, where the directory has such a thing. has_more: there are more
    groups than these.
    """

    subject: str
    username: str
    name: str
    mails: tuple[str, ...]
    groups: tuple[str, ...] = ()
    has_more: bool = False


Outcome = Person | Literal["unknown", "wrong"]


async def ask(server: Server, user: str, password: str) -> Outcome:
    """Who this is, if the password is right. Raises LdapError where the directory can't be asked, in time."""
    try:
        async with asyncio.timeout(server.seconds):
            context = await _context(server)
            async with await _open(server, context) as connection:
                return await _ask(connection, server, user, password)
    except TimeoutError:
        raise LdapError(f"it did not answer within {server.seconds:g} seconds") from None
    except Refused as error:
        raise LdapError(f"it refuses what it is asked: {error}") from None


async def _context(server: Server) -> ssl.SSLContext | None:
    if server.security == "none":
        return None
    given = server.given

    def make() -> ssl.SSLContext:
        return trust(authorities(given.certificate_path or ""), given.ciphers or "", given.validate_cert)

    return await asyncio.to_thread(make)


async def _open(server: Server, context: ssl.SSLContext | None) -> Connection:
    """A connection to the first of its hosts that can be reached."""
    problem = LdapError("there is no host")
    # So that one that swallows everything leaves time for the next.
    share = server.seconds / (len(server.hosts) + 1)
    for host in server.hosts:
        try:
            async with asyncio.timeout(share if len(server.hosts) > 1 else None):
                return await Connection.open(host, server.port, server.security, context)
        except LdapError as error:
            problem = error
        except TimeoutError:
            problem = LdapError(f"{host} did not answer")
    raise problem


async def _ask(connection: Connection, server: Server, user: str, password: str) -> Outcome:
    await _as_application(connection, server)
    entry = await _entry_of(connection, server, user)
    if not isinstance(entry, Entry):
        await _pretend(connection, server)
        return entry
    try:
        await connection.bind(entry.dn, password)
    except Refused as error:
        if error.code in _BUSY:
            raise
        log.debug("a directory refused somebody", directory=server.provider, why=str(error))
        return "wrong"
    person = _person(server, entry)
    if not server.given.enable_group_management:
        return person
    await _as_application(connection, server)
    groups, has_more = await _groups(connection, server, entry, person.username)
    return msgspec.structs.replace(person, groups=tuple(groups), has_more=has_more)


async def _as_application(connection: Connection, server: Server) -> None:
    """Without a name for it, a directory is asked as nobody, or as the person."""
    if not server.given.app_dn:
        return
    try:
        await connection.bind(server.given.app_dn, server.given.app_dn_password)
    except Refused as error:
        raise LdapError(f"it refuses the application's own name and password: {error}") from None


async def _entry_of(connection: Connection, server: Server, user: str) -> Entry | Literal["unknown", "wrong"]:
    given = server.given
    wanted = every(equal(given.attribute_for_username, user), *server.people)
    names = [given.attribute_for_username, given.attribute_for_mail, *_NAMES, _UUID, _GUID]
    if given.enable_group_management and not given.group_search_base:
        names.append(given.attribute_for_groups)
    asked = [name for name in dict.fromkeys(names) if name]
    found, has_more = await connection.search(
        given.search_base, "subtree", wanted, asked, limit=2, seconds=server.seconds
    )
    if len(found) > 1 or has_more:
        # Whose password it is would be for the directory to choose.
        log.warning("a directory has several people by one name; none of them signs in", directory=server.provider)
        return "wrong"
    return found[0] if found and found[0].dn else "unknown"


async def _pretend(connection: Connection, server: Server) -> None:
    """Asks as much as for somebody who is there, so that the time doesn't tell who is."""
    try:
        await connection.bind(f"cn={secrets.token_hex(8)},{server.given.search_base}", secrets.token_hex(8))
    except Refused as error:
        log.debug("somebody unknown to a directory", directory=server.provider, why=str(error))


def _person(server: Server, entry: Entry) -> Person:
    given = server.given
    username = next(iter(entry.texts(given.attribute_for_username)), "")
    mails = entry.texts(given.attribute_for_mail) if given.attribute_for_mail else []
    domain = given.default_email_domain.strip().lstrip("@")
    if not mails and domain and username:
        mails = [username if "@" in username else f"{username}@{domain}"]
    names = (text.strip() for name in _NAMES for text in entry.texts(name))
    return Person(
        subject=_subject(entry),
        username=username,
        name=next((name for name in names if name), username),
        mails=tuple(mails),
    )


def _subject(entry: Entry) -> str:
    """What the person is called for ever; else the name, of which a long one is too long to be kept."""
    for text in entry.texts(_UUID):
        try:
            return str(uuid.UUID(text))
        except ValueError:
            continue
    for value in entry.attributes.get(_GUID.lower(), ()):
        if len(value) == 16:
            return str(uuid.UUID(bytes_le=value))
    return comparable(entry.dn)


async def _groups(connection: Connection, server: Server, entry: Entry, username: str) -> tuple[list[str], bool]:
    """The groups' names, and whether there are more than are looked at. Groups in each other are taken once."""
    walk = _Walk(connection, server)
    if server.given.group_search_base:
        await walk.upwards(entry.dn, username)
    else:
        await walk.from_names(entry.texts(server.given.attribute_for_groups))
    return [first_value(name) for name in walk.found.values()], walk.has_more


class _Walk:
    """From a person to groups, and from these to those that they are in. found: by comparable names."""

    def __init__(self, connection: Connection, server: Server) -> None:
        self._connection = connection
        self._server = server
        self._questions = 0
        self.found: dict[str, str] = {}
        self.has_more = False

    def _add(self, names: list[str]) -> list[str]:
        """Those that are new."""
        new = {comparable(name): name for name in names if name}
        fresh = {key: name for key, name in new.items() if key not in self.found}
        room = MAX_GROUPS - len(self.found)
        if len(fresh) > room:
            self.has_more = True
            fresh = dict(list(fresh.items())[:room])
        self.found |= fresh
        return list(fresh.values())

    def _may_ask(self) -> bool:
        self._questions += 1
        if self._questions > MAX_QUESTIONS:
            self.has_more = True
        return self._questions <= MAX_QUESTIONS

    async def from_names(self, names: list[str]) -> None:
        """Of people and groups that name the groups that they are in."""
        attribute = self._server.given.attribute_for_groups
        level = self._add(names)
        for _ in range(MAX_NESTED if self._server.given.nested_groups else 0):
            upper: list[str] = []
            for name in level:
                # Some directories name groups by plain words.
                if "=" not in name or not self._may_ask():
                    continue
                for entry in await self._search(name, "base", present("objectClass"), [attribute]):
                    upper += entry.texts(attribute)
            level = self._add(upper)
            if not level:
                return

    async def upwards(self, dn: str, username: str) -> None:
        """Of groups that name their members."""
        level, more = [dn], [equal("memberUid", username)] if username else []
        for depth in range(MAX_NESTED if self._server.given.nested_groups else 1):
            upper: list[str] = []
            for at in range(0, len(level), _AT_ONCE):
                if not self._may_ask():
                    break
                of = [
                    equal(attribute, one)
                    for one in level[at : at + _AT_ONCE]
                    for attribute in ("member", "uniqueMember")
                ]
                wanted = every(some(*of, *(more if depth == 0 else ())), *self._server.groups)
                found = await self._search(self._server.given.group_search_base, "subtree", wanted, ["1.1"])
                upper += [entry.dn for entry in found]
            level = self._add(upper)
            if not level:
                return

    async def _search(
        self, base: str, scope: Literal["base", "subtree"], wanted: bytes, names: list[str]
    ) -> list[Entry]:
        """What the application may not see is not there."""
        try:
            found, has_more = await self._connection.search(
                base, scope, wanted, names, limit=MAX_GROUPS + 1, seconds=self._server.seconds
            )
        except Refused as error:
            log.debug("a directory doesn't say which groups there are", directory=self._server.provider, why=str(error))
            return []
        self.has_more = self.has_more or has_more
        return found
