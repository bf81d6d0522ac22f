"""The directories that the configuration has: the one of the settings page, and those of a list."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.config import Config
from open_webui.config.ldap import GivenServer, is_id
from open_webui.internal.ldap import filters
from open_webui.internal.ldap.client import LdapError, Security
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# What identities at the page's directory are called; those of the list are `ldap:ID`.
FIRST: Final = "ldap"
# Field of the page: setting.
SETTINGS: Final[Mapping[str, str]] = {
    "label": "ldap.server.label",
    "host": "ldap.server.host",
    "port": "ldap.server.port",
    "attribute_for_mail": "ldap.server.attribute_for_mail",
    "default_email_domain": "ldap.server.default_email_domain",
    "attribute_for_username": "ldap.server.attribute_for_username",
    "app_dn": "ldap.server.app_dn",
    "app_dn_password": "ldap.server.app_password",
    "search_base": "ldap.server.users_dn",
    "search_filters": "ldap.server.search_filter",
    "use_tls": "ldap.server.use_tls",
    "certificate_path": "ldap.server.ca_cert_file",
    "validate_cert": "ldap.server.validate_cert",
    "ciphers": "ldap.server.ciphers",
    "enable_group_management": "ldap.group.enable_management",
    "enable_group_creation": "ldap.group.enable_creation",
    "attribute_for_groups": "ldap.server.attribute_for_groups",
}
# Those of ours, which the page does not show.
OURS: Final[Mapping[str, str]] = {
    "security": "ldap.server.security",
    "group_search_base": "ldap.group.search_base",
    "group_search_filter": "ldap.group.search_filter",
    "nested_groups": "ldap.group.nested",
}
# Ports on which a connection begins without TLS.
_PLAIN_PORTS: Final = frozenset({389, 3268})
MAX_AUTHORITIES: Final = 2**20
MIN_SECONDS, MAX_SECONDS = 1.0, 60.0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One, ready to be asked. provider: what identities at it are called. given: as it was described."""

    provider: str
    given: GivenServer
    hosts: tuple[str, ...]
    port: int
    security: Security
    people: tuple[bytes, ...]
    groups: tuple[bytes, ...]
    seconds: float


def servers(config: Config) -> list[Server]:
    """Those by which people sign in now, in the order in which they are asked. One that can't be used is told in the log."""
    if not config["ldap.enable"]:
        return []
    found: list[tuple[str, Any]] = []
    if config["ldap.server.users_dn"].strip() and config["ldap.server.host"].strip():
        found.append((FIRST, _first(config)))
    found += [(f"{FIRST}:{_id_of(one)}", one) for one in config["ldap.servers"]]
    out: dict[str, Server] = {}
    for provider, one in found:
        try:
            server = made(provider, one, config["ldap.timeout"])
        except ValueError as error:
            log.warning("a directory of the settings can't be used", directory=provider, why=str(error))
        else:
            out.setdefault(provider, server)
    return list(out.values())


def _id_of(one: Any) -> str:
    return str(one.get("id", "")) if isinstance(one, dict) else ""


def _first(config: Config) -> dict[str, Any]:
    return {name: config[key] for name, key in {**SETTINGS, **OURS}.items()}


def made(provider: str, described: Mapping[str, Any], seconds: float = MAX_SECONDS) -> Server:
    """Raises ValueError, of which msgspec's is one, with what is wrong."""
    given = msgspec.convert(described, GivenServer)
    hosts = tuple(_host(one) for one in given.host.replace(",", " ").split())
    if not hosts:
        raise ValueError("there is no host")
    if provider != FIRST and not is_id(given.id):
        raise ValueError("it has no id")
    for name in (given.attribute_for_mail, given.attribute_for_username, given.attribute_for_groups):
        if name and not filters.is_attribute(name):
            raise ValueError(f"{name[:100]!r} is no attribute")
    if not given.attribute_for_username:
        raise ValueError("no attribute says what people are called")
    if given.app_dn and not given.app_dn_password:
        raise ValueError(
            "the application's name (app_dn) has no password, with which a directory lets in nobody in particular"
        )
    # Of an address like ldaps://host the word before it says how.
    spoken = given.host.strip().lower().partition("://")
    security: Security = given.security or _security(given, spoken[0] if spoken[1] else "")
    port = given.port or (636 if security == "tls" else 389)
    if not 0 < port < 65_536:
        raise ValueError("the port is none")
    return Server(
        provider=provider,
        given=given,
        hosts=hosts,
        port=port,
        security=security,
        people=filters.parse(given.search_filters),
        groups=filters.parse(given.group_search_filter),
        seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS),
    )


def _host(text: str) -> str:
    """A host's name, of an address too. Raises ValueError."""
    name = text.rpartition("://")[2].rstrip("/")
    if not name or len(name) > 255 or any(c in name for c in "/@?#") or not name.isprintable():
        raise ValueError(f"{text[:100]!r} is no host")
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def _security(given: GivenServer, scheme: str) -> Security:
    if scheme == "ldaps":
        return "tls"
    if not given.use_tls:
        return "none"
    return "starttls" if (given.port or 389) in _PLAIN_PORTS else "tls"


def authorities(path: str) -> str:
    """The certificates in a file, "" where none is named. Blocks: for a thread. Raises LdapError."""
    if not path:
        return ""
    place = Path(path)
    try:
        # What never ends, as a device, is no file.
        if not place.is_file() or place.stat().st_size > MAX_AUTHORITIES:
            raise LdapError("the file of certificates is none, or too large")
        return place.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise LdapError(f"the file of certificates can't be read: {type(error).__name__}") from None
