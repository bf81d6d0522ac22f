"""Whom a second factor is asked of: one place for all ways in, and for every use of a session."""

from collections.abc import Collection
from typing import Final

from open_webui.access.tokens import Claims
from open_webui.access.trusted_headers import trusted_headers
from open_webui.config import Config
from open_webui.env import Settings

# The way of a session that the server itself began in somebody's name, for a tool server: nobody is there to be asked.
DELEGATED: Final = "delegated"
# What changes who must have one.
SETTINGS: Final = frozenset(
    {
        "auth.mfa.enable",
        "auth.mfa.allow_oauth_bypass",
        "auth.mfa.allow_trusted_header_bypass",
        "auth.mfa.required_roles",
        "auth.mfa.required_groups",
    }
)
# Ways in that have a factor of their own, where an admin says so, and the setting.
_BYPASSES: Final = {
    "oauth": "auth.mfa.allow_oauth_bypass",
    "trusted_header": "auth.mfa.allow_trusted_header_bypass",
}


def is_on(config: Config) -> bool:
    """Whether there are second factors on this server."""
    return bool(config["auth.mfa.enable"])


def signs_in(config: Config, settings: Settings) -> bool:
    """Whether a passkey alone is enough to sign in. Where a proxy says who asks, it alone does."""
    return bool(config["auth.passkeys.enable_sign_in"]) and trusted_headers(settings) is None


def is_asked(config: Config, auth_method: str) -> bool:
    """Whether a way in asks for them. auth_method: as it stands in sessions."""
    if not is_on(config) or auth_method == DELEGATED:
        return False
    bypass = _BYPASSES.get(auth_method)
    return bypass is None or not config[bypass]


def is_required(config: Config, role: str, groups: Collection[str]) -> bool:
    """Whether somebody must have one. groups: the ids of theirs."""
    if not is_on(config):
        return False
    return role in config["auth.mfa.required_roles"] or not {*config["auth.mfa.required_groups"]}.isdisjoint(groups)


def is_enough(config: Config, claims: Claims, role: str, groups: Collection[str]) -> bool:
    """Whether a session may be used: a factor was shown at its beginning, or none is needed."""
    return claims.mfa_verified or not is_asked(config, claims.auth_method) or not is_required(config, role, groups)
