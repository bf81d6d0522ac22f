"""Settings of signing in by other sites."""

from typing import Final

from open_webui.config.setting import Setting, flag, parse_list

_LIST: Final = parse_list(",")


def _text(name: str, variable: str, default: str = "", *, secret: bool = False) -> Setting:
    return Setting(f"oauth.{name}", str, default, (variable,), secret=secret)


def _known(
    provider: str, scope: str, *, prefix: str, names: tuple[str, str] = ("REDIRECT_URI", "OAUTH_SCOPE")
) -> tuple[Setting, ...]:
    """Of a provider whose addresses are known. names: the ends of the variables of its redirect address and its scope."""
    return (
        _text(f"{provider}.client_id", f"{prefix}_CLIENT_ID"),
        _text(f"{provider}.client_secret", f"{prefix}_CLIENT_SECRET", secret=True),
        _text(f"{provider}.redirect_uri", f"{prefix}_{names[0]}"),
        _text(f"{provider}.scope", f"{prefix}_{names[1]}", scope),
    )


SETTINGS: Final[tuple[Setting, ...]] = (
    flag("oauth.enable", "ENABLE_OAUTH", True),
    flag("oauth.enable_signup", "ENABLE_OAUTH_SIGNUP", False),
    flag("oauth.merge_accounts_by_email", "OAUTH_MERGE_ACCOUNTS_BY_EMAIL", False),
    flag("oauth.auto_redirect", "OAUTH_AUTO_REDIRECT", False),
    Setting("oauth.allowed_domains", list, ["*"], ("OAUTH_ALLOWED_DOMAINS",), _LIST),
    _text("blocked_groups", "OAUTH_BLOCKED_GROUPS", "[]"),
    flag("oauth.enable_role_mapping", "ENABLE_OAUTH_ROLE_MANAGEMENT", False),
    _text("roles_claim", "OAUTH_ROLES_CLAIM", "roles"),
    Setting("oauth.admin_roles", list, ["admin"], ("OAUTH_ADMIN_ROLES",), _LIST),
    Setting("oauth.allowed_roles", list, ["user", "admin"], ("OAUTH_ALLOWED_ROLES",), _LIST),
    flag("oauth.enable_group_mapping", "ENABLE_OAUTH_GROUP_MANAGEMENT", False),
    flag("oauth.enable_group_creation", "ENABLE_OAUTH_GROUP_CREATION", False),
    _text("group_claim", "OAUTH_GROUPS_CLAIM", "groups"),
    flag("oauth.group_default_share", "OAUTH_GROUP_DEFAULT_SHARE", True),
    _text("provider_name", "OAUTH_PROVIDER_NAME", "SSO"),
    _text("provider_url", "OPENID_PROVIDER_URL"),
    _text("client_id", "OAUTH_CLIENT_ID"),
    _text("client_secret", "OAUTH_CLIENT_SECRET", secret=True),
    _text("redirect_uri", "OPENID_REDIRECT_URI"),
    _text("scopes", "OAUTH_SCOPES", "openid email profile"),
    Setting("oauth.code_challenge_method", str, None, ("OAUTH_CODE_CHALLENGE_METHOD",), nullable=True),
    Setting("oauth.token_endpoint_auth_method", str, None, ("OAUTH_TOKEN_ENDPOINT_AUTH_METHOD",), nullable=True),
    _text("end_session_endpoint", "OPENID_END_SESSION_ENDPOINT"),
    _text("timeout", "OAUTH_TIMEOUT"),
    _text("client.timeout", "OAUTH_CLIENT_TIMEOUT"),
    _text("email_claim", "OAUTH_EMAIL_CLAIM", "email"),
    _text("username_claim", "OAUTH_USERNAME_CLAIM", "name"),
    _text("picture_claim", "OAUTH_PICTURE_CLAIM", "picture"),
    Setting("oauth.sub_claim", str, None, ("OAUTH_SUB_CLAIM",), nullable=True),
    _text("audience", "OAUTH_AUDIENCE"),
    flag("oauth.update_email_on_login", "OAUTH_UPDATE_EMAIL_ON_LOGIN", False),
    flag("oauth.update_name_on_login", "OAUTH_UPDATE_NAME_ON_LOGIN", False),
    flag("oauth.update_picture_on_login", "OAUTH_UPDATE_PICTURE_ON_LOGIN", False),
    flag("oauth.token_exchange.enable", "ENABLE_OAUTH_TOKEN_EXCHANGE", False),
    *_known("google", "openid email profile", prefix="GOOGLE"),
    *_known("microsoft", "openid email profile", prefix="MICROSOFT"),
    _text("microsoft.tenant_id", "MICROSOFT_CLIENT_TENANT_ID"),
    _text("microsoft.login_base_url", "MICROSOFT_CLIENT_LOGIN_BASE_URL", "https://login.microsoftonline.com"),
    _text(
        "microsoft.picture_url",
        "MICROSOFT_CLIENT_PICTURE_URL",
        "https://graph.microsoft.com/v1.0/me/photo/$value",
    ),
    _text("graph.url", "OAUTH_GRAPH_URL"),
    flag("oauth.graph.use_names", "ENABLE_OAUTH_GRAPH_GROUP_NAMES", False),
    *_known("github", "user:email", prefix="GITHUB", names=("CLIENT_REDIRECT_URI", "CLIENT_SCOPE")),
    *_known("feishu", "contact:user.base:readonly", prefix="FEISHU"),
)
