"""What the routes of sign-in by other sites take."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from open_webui.schemas.auths import Form, Text

Short = Annotated[str, StringConstraints(max_length=2_000), Text]


class OAuthConfig(BaseModel):
    """The settings page's object. Pages send back what they were told besides."""

    model_config = ConfigDict(extra="ignore")

    ENABLE_OAUTH: bool | None = None
    ENABLE_OAUTH_SIGNUP: bool | None = None
    OAUTH_MERGE_ACCOUNTS_BY_EMAIL: bool | None = None
    OAUTH_AUTO_REDIRECT: bool | None = None
    OAUTH_ALLOWED_DOMAINS: Short | None = None
    OAUTH_BLOCKED_GROUPS: Short | None = None
    ENABLE_OAUTH_ROLE_MANAGEMENT: bool | None = None
    OAUTH_ROLES_CLAIM: Short | None = None
    OAUTH_ADMIN_ROLES: Short | None = None
    OAUTH_ALLOWED_ROLES: Short | None = None
    ENABLE_OAUTH_GROUP_MANAGEMENT: bool | None = None
    ENABLE_OAUTH_GROUP_CREATION: bool | None = None
    OAUTH_GROUP_CLAIM: Short | None = None
    OAUTH_GROUP_DEFAULT_SHARE: bool | Short | None = None
    OAUTH_PROVIDER_NAME: Short | None = None
    OPENID_PROVIDER_URL: Short | None = None
    OAUTH_CLIENT_ID: Short | None = None
    OAUTH_CLIENT_SECRET: Short | None = None
    OPENID_REDIRECT_URI: Short | None = None
    OAUTH_SCOPES: Short | None = None
    OAUTH_CODE_CHALLENGE_METHOD: Short | None = None
    OAUTH_TOKEN_ENDPOINT_AUTH_METHOD: Short | None = None
    OPENID_END_SESSION_ENDPOINT: Short | None = None
    OAUTH_TIMEOUT: int | Short | None = None
    OAUTH_CLIENT_TIMEOUT: int | Short | None = None
    OAUTH_EMAIL_CLAIM: Short | None = None
    OAUTH_USERNAME_CLAIM: Short | None = None
    OAUTH_PICTURE_CLAIM: Short | None = None
    OAUTH_SUB_CLAIM: Short | None = None
    OAUTH_AUDIENCE: Short | None = None
    OAUTH_UPDATE_EMAIL_ON_LOGIN: bool | None = None
    OAUTH_UPDATE_NAME_ON_LOGIN: bool | None = None
    OAUTH_UPDATE_PICTURE_ON_LOGIN: bool | None = None
    OAUTH_REFRESH_TOKEN_INCLUDE_SCOPE: bool | None = None


class TokenExchange(Form):
    token: Annotated[str, StringConstraints(min_length=1, max_length=50_000, pattern=r"^[\x21-\x7e]+$")]


class Explain(Form):
    """claims: of a person, pasted. attempt: the number of a sign-in instead of them."""

    provider: Annotated[str, StringConstraints(max_length=50)] = ""
    claims: dict[str, Any] | None = None
    attempt: Annotated[int, Field(ge=1, le=2**53)] | None = None
