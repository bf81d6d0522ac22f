"""The settings page of sign-in by other sites: its object of the wire, put together from settings and taken apart again."""

from collections.abc import Mapping
from typing import Any, Final

from open_webui.access.oauth.rules import blocked
from open_webui.config import BY_KEY, Config
from open_webui.errors import BadRequest
from open_webui.internal.oauth import is_address
from open_webui.schemas.oauth import OAuthConfig

# The wire's name and the setting behind it.
SETTINGS: Final[Mapping[str, str]] = {
    "ENABLE_OAUTH": "oauth.enable",
    "ENABLE_OAUTH_SIGNUP": "oauth.enable_signup",
    "OAUTH_MERGE_ACCOUNTS_BY_EMAIL": "oauth.merge_accounts_by_email",
    "OAUTH_AUTO_REDIRECT": "oauth.auto_redirect",
    "OAUTH_ALLOWED_DOMAINS": "oauth.allowed_domains",
    "OAUTH_BLOCKED_GROUPS": "oauth.blocked_groups",
    "ENABLE_OAUTH_ROLE_MANAGEMENT": "oauth.enable_role_mapping",
    "OAUTH_ROLES_CLAIM": "oauth.roles_claim",
    "OAUTH_ADMIN_ROLES": "oauth.admin_roles",
    "OAUTH_ALLOWED_ROLES": "oauth.allowed_roles",
    "ENABLE_OAUTH_GROUP_MANAGEMENT": "oauth.enable_group_mapping",
    "ENABLE_OAUTH_GROUP_CREATION": "oauth.enable_group_creation",
    "OAUTH_GROUP_CLAIM": "oauth.group_claim",
    "OAUTH_GROUP_DEFAULT_SHARE": "oauth.group_default_share",
    "OAUTH_PROVIDER_NAME": "oauth.provider_name",
    "OPENID_PROVIDER_URL": "oauth.provider_url",
    "OAUTH_CLIENT_ID": "oauth.client_id",
    "OAUTH_CLIENT_SECRET": "oauth.client_secret",
    "OPENID_REDIRECT_URI": "oauth.redirect_uri",
    "OAUTH_SCOPES": "oauth.scopes",
    "OAUTH_CODE_CHALLENGE_METHOD": "oauth.code_challenge_method",
    "OAUTH_TOKEN_ENDPOINT_AUTH_METHOD": "oauth.token_endpoint_auth_method",
    "OPENID_END_SESSION_ENDPOINT": "oauth.end_session_endpoint",
    "OAUTH_TIMEOUT": "oauth.timeout",
    "OAUTH_CLIENT_TIMEOUT": "oauth.client.timeout",
    "OAUTH_EMAIL_CLAIM": "oauth.email_claim",
    "OAUTH_USERNAME_CLAIM": "oauth.username_claim",
    "OAUTH_PICTURE_CLAIM": "oauth.picture_claim",
    "OAUTH_SUB_CLAIM": "oauth.sub_claim",
    "OAUTH_AUDIENCE": "oauth.audience",
    "OAUTH_UPDATE_EMAIL_ON_LOGIN": "oauth.update_email_on_login",
    "OAUTH_UPDATE_NAME_ON_LOGIN": "oauth.update_name_on_login",
    "OAUTH_UPDATE_PICTURE_ON_LOGIN": "oauth.update_picture_on_login",
    "OAUTH_REFRESH_TOKEN_INCLUDE_SCOPE": "oauth.refresh_token.include_scope",
}
# Settings are stored here whatever the other server's switch for that says.
STORED: Final[dict[str, Any]] = {"ENABLE_OAUTH_PERSISTENT_CONFIG": True}
# For the description of the reply: those shown as they are, and lists, which are texts on the page.
PLAIN: Final[Mapping[str, str]] = {name: key for name, key in SETTINGS.items() if BY_KEY[key].type is not list}
TEXTS: Final[Mapping[str, Any]] = {**{name: "" for name in SETTINGS if name not in PLAIN}, **STORED}
METHODS: Final = frozenset({"none", "client_secret_post", "client_secret_basic"})
_PLACES: Final = ("OPENID_PROVIDER_URL", "OPENID_REDIRECT_URI", "OPENID_END_SESSION_ENDPOINT")


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force; lists as texts with commas."""
    out: dict[str, Any] = dict(STORED)
    for name, key in SETTINGS.items():
        value = config[key]
        out[name] = ",".join(value) if isinstance(value, list) else value
    return out


def changes(form: OAuthConfig) -> dict[str, object]:
    """The settings that a posted object has; what it leaves out stays. Raises BadRequest naming a bad value."""
    posted = form.model_dump(exclude_unset=True)
    out: dict[str, object] = {}
    for name, key in SETTINGS.items():
        if name not in posted:
            continue
        setting = BY_KEY[key]
        value = posted[name].strip() if isinstance(posted[name], str) else posted[name]
        _check(name, value)
        if setting.type is list:
            out[setting.key] = [part.strip() for part in str(value or "").split(",") if part.strip()]
        elif setting.nullable:
            out[setting.key] = value or None
        elif setting.type is bool:
            out[setting.key] = value in (True, "true", "True")
        else:
            out[setting.key] = "" if value is None else str(value)
    return out


def _check(name: str, value: Any) -> None:
    """Raises BadRequest."""
    if name in _PLACES and value and not is_address(value):
        raise BadRequest(f"{name} must be an address of the web.")
    if problem := problem_of(name, value):
        raise BadRequest(problem)


def problem_of(name: str, value: Any) -> str:
    """Why a value can't be used, a sentence; "" for one that can."""
    if name == "OAUTH_CODE_CHALLENGE_METHOD" and value not in (None, "", "S256"):
        return f"{name} must be S256, which is used in any case."
    if name == "OAUTH_TOKEN_ENDPOINT_AUTH_METHOD" and value and value not in METHODS:
        return f"{name} must be one of {', '.join(sorted(METHODS))}."
    if name in {"OAUTH_TIMEOUT", "OAUTH_CLIENT_TIMEOUT"} and value not in (None, ""):
        try:
            fits = 0 < float(value) <= 600
        except ValueError:
            fits = False
        return "" if fits else f"{name} must be a number of seconds."
    if name == "OAUTH_BLOCKED_GROUPS" and value and str(value).strip() not in {"", "[]"} and not blocked(str(value)):
        return f'{name} must be a list such as ["staff-*", "all"].'
    return ""
