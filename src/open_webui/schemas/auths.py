"""What the routes under /api/v1/auths take and answer."""

import datetime as dt
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from open_webui.config.factors import MOST_MINUTES
from open_webui.constants import MAX_EMAIL, MAX_ID, MAX_NAME, MAX_PASSWORD
from open_webui.principal import Role
from open_webui.utils.pictures import MAX_DATA_URL


def _text(value: Any) -> Any:
    # PostgreSQL refuses NUL, which no person means to write.
    return value.replace("\x00", "") if isinstance(value, str) else value


Text = BeforeValidator(_text)
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME), Text]
Email = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=MAX_EMAIL), Text]
Password = Annotated[str, StringConstraints(max_length=MAX_PASSWORD)]
Picture = Annotated[str, StringConstraints(max_length=MAX_DATA_URL), Text]
Bio = Annotated[str, StringConstraints(max_length=10_000), Text]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000), Text]
Word = Annotated[str, StringConstraints(max_length=100), Text]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+\-/]{0,64}$")]
# An empty date field of a page means no date.
Birthday = Annotated[dt.date | None, BeforeValidator(lambda v: None if v == "" else v)]
Limit = int | str | None
Count = Annotated[int, Field(ge=-1, le=2_000_000_000)] | Annotated[str, StringConstraints(max_length=20)] | None
# Pages send an empty field for nothing.
Characters = Annotated[
    Annotated[int, Field(gt=0, le=10_000_000)] | None, BeforeValidator(lambda value: None if value == "" else value)
]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignIn(Form):
    # Scripts send the fields of a sign-up here too; nothing but these two is looked at.
    model_config = ConfigDict(extra="ignore")

    email: Email
    password: Password


class LdapSignIn(Form):
    model_config = ConfigDict(extra="ignore")

    user: Annotated[str, StringConstraints(max_length=MAX_EMAIL)]
    password: Password


class LdapSwitch(Form):
    model_config = ConfigDict(extra="ignore")

    enable_ldap: bool | None = None


class LdapServerConfig(Form):
    """What the settings page posts: always all of it."""

    model_config = ConfigDict(extra="ignore")

    label: Line
    host: Line
    port: Annotated[int | None, Field(ge=1, le=65_535)] = None
    attribute_for_mail: Line = "mail"
    default_email_domain: Line = ""
    attribute_for_username: Line = "uid"
    app_dn: Line
    app_dn_password: Password
    search_base: Line
    search_filters: Annotated[str, StringConstraints(max_length=10_000), Text] = ""
    use_tls: bool = True
    certificate_path: Line | None = None
    validate_cert: bool = True
    ciphers: Line | None = "ALL"
    enable_group_management: bool = False
    enable_group_creation: bool = False
    attribute_for_groups: Line = "memberOf"


class SignUp(Form):
    name: Name
    email: Email
    password: Password
    profile_image_url: Picture | None = None


class AddUser(SignUp):
    role: Role | None = "pending"


class UpdatePassword(Form):
    password: Password
    new_password: Password
    # Whoever knew the old password may have made a key with it, so keys end too, unless this says otherwise.
    keep_api_keys: bool = False


ChallengeToken = Annotated[str, StringConstraints(min_length=20, max_length=160)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class MfaChallenge(Form):
    challenge_token: ChallengeToken


class MfaFactor(Form):
    """recovery: the code is a recovery code."""

    code: Code
    recovery: bool = False


class MfaVerify(MfaFactor):
    challenge_token: ChallengeToken


class MfaRecovery(Form):
    """reset_token: a recovery code."""

    challenge_token: ChallengeToken
    reset_token: ChallengeToken


# What a browser gives for a passkey (PublicKeyCredential.toJSON): bytes in base64url.
Encoded = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+=*$", max_length=16_384)]
PasskeyName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Text]


class PasskeyResponse(BaseModel):
    """Of a new one attestationObject; of one that signs authenticatorData and signature."""

    model_config = ConfigDict(extra="ignore")

    clientDataJSON: Encoded  # noqa: N815 - the wire's
    attestationObject: Encoded | None = None  # noqa: N815
    authenticatorData: Encoded | None = None  # noqa: N815
    signature: Encoded | None = None
    userHandle: Encoded | None = None  # noqa: N815
    transports: Annotated[list[Annotated[str, StringConstraints(max_length=32)]], Field(max_length=16)] = []


class PasskeyCredential(BaseModel):
    """id: of the credential, in base64url."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=1_364)]
    type: Literal["public-key"]
    response: PasskeyResponse

    def plain(self) -> dict[str, Any]:
        """As the browser gave it, of what is looked at."""
        return {**self.model_dump(exclude_none=True), "rawId": self.id, "clientExtensionResults": {}}


class PasskeyShown(Form):
    challenge_token: ChallengeToken
    credential: PasskeyCredential


class PasskeyMade(PasskeyShown):
    name: PasskeyName = "Passkey"


class PasskeyRename(Form):
    name: PasskeyName


class Proof(Form):
    """One of: the password; a code of an app, or with `recovery` a recovery code; what a passkey has signed."""

    password: Password | None = None
    code: Code | None = None
    recovery: bool = False
    challenge_token: ChallengeToken | None = None
    credential: PasskeyCredential | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = (self.password, self.code, self.credential)
        if sum(way is not None for way in ways) != 1 or (self.credential is None) != (self.challenge_token is None):
            raise ValueError("show one of a password, a code and a passkey")
        return self


class UpdateProfile(Form):
    profile_image_url: Picture
    name: Name
    bio: Bio | None = None
    gender: Word | None = None
    date_of_birth: Birthday = None


class UpdateTimezone(Form):
    timezone: Zone


class AdminConfig(BaseModel):
    """The general settings page posts the whole object, also what it was answered beside the settings."""

    model_config = ConfigDict(extra="ignore")

    SHOW_ADMIN_DETAILS: bool
    ADMIN_EMAIL: str | None = None
    WEBUI_URL: str
    ENABLE_LOGIN_FORM: bool = True
    ENABLE_SIGNUP: bool
    ENABLE_API_KEYS: bool
    ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS: bool
    API_KEYS_ALLOWED_ENDPOINTS: str
    DEFAULT_USER_ROLE: str
    DEFAULT_GROUP_ID: str
    DEFAULT_INTERFACE_SETTINGS: dict[str, Any] | None = None
    I18N: dict[str, dict[str, str]] | None = None
    JWT_EXPIRES_IN: str
    ENABLE_COMMUNITY_SHARING: bool
    ENABLE_MESSAGE_RATING: bool
    ENABLE_FOLDERS: bool
    FOLDER_MAX_FILE_COUNT: Limit = None
    ENABLE_MEMORIES: bool = True
    ENABLE_MEMORY_SYSTEM_CONTEXT: bool = True
    ENABLE_CALENDAR: bool = True
    ENABLE_USER_STATUS: bool
    PENDING_USER_OVERLAY_TITLE: str | None = None
    PENDING_USER_OVERLAY_CONTENT: str | None = None
    RESPONSE_WATERMARK: str | None = None
    ENABLE_MFA: bool = False
    MFA_ALLOW_OAUTH_BYPASS: bool = False
    MFA_ALLOW_TRUSTED_HEADER_BYPASS: bool = False
    # Ours.
    MFA_REQUIRED_ROLES: list[Role] = []
    MFA_REQUIRED_GROUPS: Annotated[
        list[Annotated[str, StringConstraints(max_length=MAX_ID)]], Field(max_length=1_000)
    ] = []
    ENABLE_PASSKEY_SIGN_IN: bool = False
    ENABLE_STEP_UP: bool = False
    STEP_UP_MINUTES: Annotated[int, Field(ge=1, le=MOST_MINUTES)] = 10
    AUTOMATION_MAX_COUNT: Count = None
    AUTOMATION_MIN_INTERVAL: Count = None
    ENABLE_AUTOMATIONS: bool = True
    ENABLE_CHANNELS: bool = False
    ENABLE_ENCRYPTED_CHANNELS: bool = False
    ENABLE_APPS: bool = False
    CHANNEL_MODEL_RESPONSE_MODE: Annotated[str, StringConstraints(max_length=100)] = "thread"
    ENABLE_SKILL_LAZY_LOADING: bool = True
    SKILL_CONTENT_MAX_CHARS: Characters = None
    SKILL_PREVIEW_MAX_CHARS: Characters = None
    ENABLE_NOTES: bool = False
    ENABLE_USER_WEBHOOKS: bool = False


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    role: Role
    email: str
    profile_image_url: str


class AddedUser(Profile, frozen=True, kw_only=True):
    token: str
    token_type: str = "Bearer"


class Session(AddedUser, frozen=True, kw_only=True):
    """expires_at: seconds since the epoch, None for a session without an end."""

    expires_at: int | None
    permissions: dict[str, dict[str, bool]]


class SessionInfo(Session, frozen=True, kw_only=True):
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    bio: str | None
    gender: str | None
    date_of_birth: str | None


class Enrolled(Session, frozen=True, kw_only=True):
    """recovery_codes: shown this once."""

    recovery_codes: list[str]
