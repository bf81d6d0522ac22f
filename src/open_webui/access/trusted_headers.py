"""Headers in which a proxy says who asks: believed only of the proxies that FORWARDED_ALLOW_IPS names one by one."""

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.constants import MAX_EMAIL, MAX_NAME
from open_webui.env import Settings
from open_webui.internal.forwarded import Proxies
from open_webui.utils.emails import is_email

# Under it `BoundedHttp` notes in a request's scope whether the other side of the connection is a listed proxy.
FROM_PROXY: Final = "oui.from_proxy"
MAX_GROUPS: Final = 20_000


class TrustedHeaders(msgspec.Struct, frozen=True):
    """Names of headers, as they are in a scope. Empty: there is none for that."""

    email: bytes
    name: bytes
    groups: bytes
    role: bytes


class Said(msgspec.Struct, frozen=True):
    """What a proxy says of who asks. email: "" where it says nobody, or nothing that can be an address."""

    email: str = ""
    name: str = ""
    groups: str = ""
    role: str = ""


NOBODY: Final = Said()


@functools.lru_cache(maxsize=16)
def _made(email: str, others: tuple[str, str, str], listed: str) -> TrustedHeaders | None:
    if not email or not lists_proxies(listed):
        return None
    return TrustedHeaders(email.encode(), *(name.encode() for name in others))


def trusted_headers(settings: Settings) -> TrustedHeaders | None:
    """The headers that are believed; None where none are, or where there is no proxy to believe."""
    others = (
        settings.webui_auth_trusted_name_header,
        settings.webui_auth_trusted_groups_header,
        settings.webui_auth_trusted_role_header,
    )
    return _made(settings.webui_auth_trusted_email_header, others, settings.forwarded_allow_ips)


def lists_proxies(listed: str) -> bool:
    """Whether FORWARDED_ALLOW_IPS names somebody. `*` names nobody: whoever connects could say that he is anybody."""
    try:
        return bool(listed.strip(" ,")) and not Proxies(listed).everybody
    except ValueError:
        return False


def said(trusted: TrustedHeaders, scope: Mapping[str, Any]) -> Said | None:
    """What the proxy of a request says; None for a request that came past it. Two values of one header are none: one of them
    is what a client wrote.
    """
    if not scope.get(FROM_PROXY):
        return None
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in (trusted.email, trusted.name, trusted.groups, trusted.role):
            found.setdefault(name, []).append(value)

    def one(name: bytes, longest: int) -> str:
        values = found.get(name, [])
        text = values[0].decode(errors="replace").strip() if name and len(values) == 1 else ""
        return text if len(text) <= longest and text.isprintable() else ""

    email = one(trusted.email, MAX_EMAIL).lower()
    if not is_email(email):
        return NOBODY
    return Said(email, one(trusted.name, MAX_NAME), one(trusted.groups, MAX_GROUPS), one(trusted.role, 50).lower())
