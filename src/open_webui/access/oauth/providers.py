"""The providers that the configuration has: any number at once, each by its own variables."""

from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from open_webui.config import Config
from open_webui.errors import NotFound
from open_webui.internal.oauth import SECONDS, Method

GOOGLE: Final = "https://accounts.google.com/.well-known/openid-configuration"
WELL_KNOWN: Final = "/.well-known/openid-configuration"
# Tenants of Microsoft's that let in people of any organisation.
ANY_TENANT: Final = frozenset({"", "common", "organizations", "consumers"})
MOST_SECONDS: Final = 60.0
# The last two bring claims of another kind: a directory's entry, and what a proxy writes into headers (see ways.py).
Kind = Literal["openid", "github", "feishu", "ldap", "headers"]
# What is written into the token of a session that it began.
AUTH_METHODS: Final[Mapping[Kind, str]] = {"ldap": "ldap", "headers": "trusted_header"}


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One. id: as it stands in addresses. discovery: where an OpenID provider says what it is; "" for others. redirect_uri: ""
    where it follows from the server's address. end_session: where people sign out, when the provider doesn't say.
    """

    id: str
    label: str
    kind: Kind = "openid"
    client_id: str = ""
    client_secret: str = ""
    scope: str = ""
    redirect_uri: str = ""
    discovery: str = ""
    method: Method | None = None
    audience: str = ""
    end_session: str = ""
    seconds: float = SECONDS
    # Whether people of any organisation are let in, who say of themselves what they like.
    anybody: bool = False
    # Whether groups follow what it says, and are made; of a directory and of a proxy, which have settings of their own for that.
    maps_groups: bool = False
    makes_groups: bool = False
    # Whether it says the role, as this server calls it.
    names_role: bool = False

    @property
    def auth_method(self) -> str:
        return AUTH_METHODS.get(self.kind, "oauth")

    @property
    def local(self) -> str:
        """The host that the admin chose, on which addresses may be private."""
        return urlsplit(self.discovery).hostname or "" if self.discovery else ""


def providers(config: Config) -> dict[str, Provider]:
    """Those by which people sign in here now, in the order in which pages show them."""
    if not config["oauth.enable"]:
        return {}
    made = (make(config) for make in _MAKERS)
    return {provider.id: provider for provider in made if provider is not None}


def provider(config: Config, provider_id: str) -> Provider:
    """One of them. Raises NotFound."""
    found = providers(config).get(provider_id)
    if found is None:
        raise NotFound("Nobody signs in by that site here.")
    return found


def _seconds(config: Config) -> float:
    """How long one request to a provider may take."""
    for key in ("oauth.client.timeout", "oauth.timeout"):
        try:
            given = float(config[key])
        except ValueError:
            continue
        return min(max(given, 1.0), MOST_SECONDS)
    return SECONDS


def _google(config: Config) -> Provider | None:
    return _named(config, "google", "google", discovery=GOOGLE)


def _microsoft(config: Config) -> Provider | None:
    tenant = config["oauth.microsoft.tenant_id"].strip()
    base = config["oauth.microsoft.login_base_url"].rstrip("/")
    place = f"{base}/{tenant or 'common'}/v2.0{WELL_KNOWN}"
    return _named(config, "microsoft", "microsoft", discovery=place, anybody=tenant in ANY_TENANT)


def _github(config: Config) -> Provider | None:
    return _named(config, "github", "github", kind="github")


def _feishu(config: Config) -> Provider | None:
    return _named(config, "feishu", "feishu", kind="feishu")


def _named(
    config: Config, provider_id: str, label: str, *, kind: Kind = "openid", discovery: str = "", anybody: bool = False
) -> Provider | None:
    client_id = config[f"oauth.{provider_id}.client_id"].strip()
    secret = config[f"oauth.{provider_id}.client_secret"].strip()
    if not client_id or not secret:
        return None
    return Provider(
        id=provider_id,
        label=label,
        kind=kind,
        client_id=client_id,
        client_secret=secret,
        scope=config[f"oauth.{provider_id}.scope"],
        redirect_uri=config[f"oauth.{provider_id}.redirect_uri"].strip(),
        discovery=discovery,
        anybody=anybody,
        seconds=_seconds(config),
    )


def _openid(config: Config) -> Provider | None:
    """Any other; a client without a secret is a public one."""
    url, client_id = config["oauth.provider_url"].strip(), config["oauth.client_id"].strip()
    if not url or not client_id:
        return None
    return Provider(
        id="oidc",
        label=config["oauth.provider_name"] or "SSO",
        client_id=client_id,
        client_secret=config["oauth.client_secret"].strip(),
        scope=config["oauth.scopes"],
        redirect_uri=config["oauth.redirect_uri"].strip(),
        # Many write the issuer.
        discovery=url if "/.well-known/" in url else url.rstrip("/") + WELL_KNOWN,
        method=config["oauth.token_endpoint_auth_method"] or None,
        audience=config["oauth.audience"].strip(),
        end_session=config["oauth.end_session_endpoint"].strip(),
        seconds=_seconds(config),
    )


_MAKERS: Final[tuple[Callable[[Config], Provider | None], ...]] = (_google, _microsoft, _github, _openid, _feishu)
