"""What proxies before the server say of a client, and whose word on it is taken (see docs/decisions: forwarded headers)."""

import ipaddress
from typing import Any, Final

from open_webui.internal.log import get_logger

log = get_logger(__name__)
# More proxies than this stand before nobody. Peers that the log names.
_MAX_HOPS: Final = 16
_MAX_TOLD: Final = 8
# Characters of an address with zone and port.
_LONGEST: Final = 80


class Proxies:
    """The proxies whose X-Forwarded-For is believed: addresses and networks separated by commas, or `*` for whoever connects.

    Raises ValueError for anything else.
    """

    def __init__(self, listed: str) -> None:
        names = [name for name in (part.strip() for part in listed.split(",")) if name]
        self.everybody = "*" in names
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names if name != "*"]
        self._told: set[str] = set()

    def __contains__(self, peer: str) -> bool:
        """Whether what this address says of others is believed."""
        known = plain(peer)
        return bool(known) and (self.everybody or any(ipaddress.ip_address(known) in n for n in self._networks))

    def apply(self, scope: Any, *, believed: bool) -> None:
        """Makes what the headers of a request say its scheme, and its client if the peer is believed.

        The scheme is taken of anybody: it decides only about the sender's own cookie and origin.
        """
        hops: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops.append(value)
            elif name == b"x-forwarded-proto" and value == b"https":
                scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        if hops and believed:
            scope["client"] = (self._client(scope["client"][0], b",".join(hops).decode("latin-1")), 0)
        elif hops and scope["client"]:
            self._tell(scope["client"][0])

    def _client(self, peer: str, forwarded: str) -> str:
        """The last address that no listed proxy has: each adds the one that called it."""
        address = peer
        for hop in reversed(forwarded.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
            if not (known := plain(hop.strip())):
                break
            address = known
            if self.everybody or known not in self:
                break
        return address

    def _tell(self, peer: str) -> None:
        if peer not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(peer)
            log.warning(
                "a client says for whom it asks (X-Forwarded-For) and is not believed: if it is your proxy, name it in "
                "FORWARDED_ALLOW_IPS, or all who come through it count as one address",
                client=peer,
            )


def plain(text: str) -> str:
    """An IP address without port, zone and brackets, an IPv4 one in its own form; empty for what is none."""
    if len(text) > _LONGEST:
        return ""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        known = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return str(mapped or known)


def household(address: str) -> str:
    """What counts as one address: of IPv6, where a household has as many as it likes, the /64."""
    known = plain(address)
    return str(ipaddress.ip_network((known, 64), strict=False)) if ":" in known else known or address


def is_own_origin(origin: str, scheme: str, *hosts: str | None) -> bool:
    """Whether an origin is this server's: one of the hosts by which it was called, and a scheme that is no weaker. A proxy that
    ends TLS and does not say so (X-Forwarded-Proto) lets it take itself for http.

    hosts: of Host and X-Forwarded-Host, which a page of another site can't set without being asked for it first.
    """
    schemes = {"https", scheme.replace("ws", "http")}
    return any(origin == f"{name}://{host}" for host in hosts if host for name in schemes)


def may_be_rebound(client: str, host: str) -> bool:
    """Whether a request from this machine came by a name that a page of another site can have led here (DNS rebinding): its
    script reads and writes as a page of the server's own then. Names without a dot, and those of the home network, it can't.
    """
    known = plain(client)
    if not known or not ipaddress.ip_address(known).is_loopback:
        return False
    name = host.lower().rstrip(".")
    name = name if name.endswith("]") else name.rpartition(":")[0] or name
    return "." in name.rstrip(".") and not plain(name) and not name.endswith((".localhost", ".local"))
