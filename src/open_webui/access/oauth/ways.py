"""All ways in that bring claims: providers, directories, and a proxy that says who it is."""

from typing import Final

from open_webui.access.ldap.servers import Server, servers
from open_webui.access.oauth.providers import Provider, providers
from open_webui.access.trusted_headers import TrustedHeaders, trusted_headers
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import NotFound

PROXY: Final = "trusted-header"


def ways_in(config: Config, settings: Settings) -> dict[str, Provider]:
    """Those by which people sign in here now, by what their identities call them."""
    found = providers(config)
    found |= {server.provider: of_directory(server) for server in servers(config)}
    trusted = trusted_headers(settings)
    return found if trusted is None else found | {PROXY: of_proxy(trusted)}


def way_in(config: Config, settings: Settings, name: str) -> Provider:
    """One of them. Raises NotFound."""
    found = ways_in(config, settings).get(name)
    if found is None:
        raise NotFound("Nobody signs in by that site here.")
    return found


def of_directory(server: Server) -> Provider:
    given = server.given
    return Provider(
        id=server.provider,
        label=given.label or "LDAP",
        kind="ldap",
        maps_groups=given.enable_group_management,
        makes_groups=given.enable_group_creation,
    )


def of_proxy(trusted: TrustedHeaders) -> Provider:
    return Provider(
        id=PROXY,
        label="Proxy",
        kind="headers",
        maps_groups=bool(trusted.groups),
        names_role=bool(trusted.role),
    )
