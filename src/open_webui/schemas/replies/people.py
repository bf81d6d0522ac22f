"""Accounts, groups and sessions, as they go out."""

from typing import Any, Literal, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class Status(TypedDict):
    """What somebody says of what they are doing."""

    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]


class SessionUser(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str
    token: str
    token_type: str
    expires_at: NotRequired[int | None]
    permissions: NotRequired[Object | None]


class MfaChallenge(TypedDict):
    """next_step: verify, enroll or recover. methods: of who has passkeys: code, passkey."""

    next_step: str
    challenge_token: str
    expires_in: int
    methods: NotRequired[list[str]]


class MfaSetup(TypedDict):
    """qr_code: a picture, as a data: URL."""

    manual_key: str
    qr_code: str


class MfaRecoveryCodes(TypedDict):
    recovery_codes: list[str]


class MfaReset(TypedDict):
    """removed: there was one."""

    removed: bool


class MfaEnrollment(SessionUser):
    recovery_codes: list[str]


class SessionInfo(SessionUser, Status):
    bio: NotRequired[str | None]
    gender: NotRequired[str | None]
    date_of_birth: NotRequired[str | None]


class AddedUser(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str
    token: NotRequired[str | None]
    token_type: NotRequired[str | None]


class UserProfile(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str


class SignedOut(TypedDict):
    """redirect_url: where who came by another site signs out there, too."""

    status: bool
    redirect_url: NotRequired[str]


class LogoutRefused(TypedDict):
    """Nothing where it was taken."""

    error: NotRequired[str]
    error_description: NotRequired[str]


class Identity(TypedDict):
    """By which other site somebody signs in. removable: it is not the only way in."""

    id: str
    provider: str
    label: str
    email: str | None
    created_at: int
    last_used_at: int
    removable: bool


class WayThere(TypedDict):
    url: str


class Step(TypedDict):
    """What one rule made of a sign-in."""

    rule: str
    outcome: str


class SignIn(TypedDict):
    """What came of a sign-in by another site."""

    n: int
    provider: str
    user_id: str | None
    email: str | None
    allowed: bool
    reason: str
    claims: Object
    steps: list[Step]
    created_at: int


class GroupChanges(TypedDict):
    join: list[str]
    leave: list[str]
    make: list[str]


class Explained(TypedDict):
    """What the rules make of claims. action: sign_in, sign_up, merge or refuse."""

    provider: str
    allowed: bool
    action: str
    reason: str
    user_id: str | None
    email: str | None
    email_verified: bool | None
    name: str
    role: str | None
    groups: GroupChanges
    steps: list[Step]
    claims: Object


class ProviderSession(TypedDict):
    """A session that another site began."""

    id: str
    provider: str
    user_id: str
    expires_at: int
    created_at: int
    updated_at: int


class ApiKey(TypedDict):
    api_key: NotRequired[str | None]


class MfaStatus(TypedDict):
    enabled: bool
    required: bool
    recovery_codes_remaining: int


class UserSettings(TypedDict):
    ui: NotRequired[Object | None]


class User(Status):
    id: str
    email: str
    username: NotRequired[str | None]
    role: NotRequired[str]
    name: str
    profile_image_url: NotRequired[str | None]
    profile_banner_image_url: NotRequired[str | None]
    bio: NotRequired[str | None]
    gender: NotRequired[str | None]
    date_of_birth: NotRequired[str | None]
    timezone: NotRequired[str | None]
    presence_state: NotRequired[str | None]
    info: NotRequired[Object | None]
    settings: NotRequired[UserSettings | None]
    oauth: NotRequired[Object | None]
    scim: NotRequired[Object | None]
    last_active_at: int
    updated_at: int
    created_at: int


class UserWithGroups(User):
    group_ids: NotRequired[list[str]]


class UsersPage(TypedDict):
    users: list[UserWithGroups]
    total: int


class Person(Status):
    id: str
    name: str
    email: str
    role: str
    bio: NotRequired[str | None]
    last_active_at: NotRequired[int | None]
    timezone: NotRequired[str | None]
    groups: NotRequired[list[Any] | None]
    is_active: NotRequired[bool]


class PeoplePage(TypedDict):
    users: list[Person]
    total: int


class UserVariables(TypedDict):
    variables: NotRequired[dict[str, str]]


class Named(TypedDict):
    id: str
    name: str


class ActivePerson(User):
    groups: NotRequired[list[Named] | None]
    is_active: bool


class GroupInfo(TypedDict):
    parent_group_id: NotRequired[str | None]
    id: str
    user_id: str
    name: str
    description: str
    member_count: NotRequired[int | None]
    created_at: int
    updated_at: int


class Group(GroupInfo):
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    permissions: NotRequired[Object | None]


class GroupExport(Group):
    user_ids: NotRequired[list[str]]


class GroupMember(Person):
    membership_type: Literal["direct", "inherited"]
    via_group_ids: NotRequired[list[str]]


class GroupMembersPage(TypedDict):
    items: list[GroupMember]
    total: int
    counts: dict[str, int]


class AdminContact(TypedDict):
    """Whom somebody who waits to be let in may write to."""

    name: str
    email: str


class Active(TypedDict):
    active: bool


class Usable(TypedDict):
    """Things that somebody may use, by name, and how many there are at all."""

    items: list[Named]
    total: int


class UserPreview(TypedDict):
    """What somebody may do and use."""

    user: Named
    groups: list[Named]
    models: Usable
    knowledge: Usable
    tools: Usable
    permissions: dict[str, dict[str, bool]]


class DefaultModels(TypedDict):
    """With which models chats begin, and by which group. None: the group, or all of them, say nothing."""

    local: list[str] | None
    effective: list[str]
    source_group_id: str | None


class GroupPreview(TypedDict):
    """What a member of a group may do and use."""

    group: Named
    default_models: DefaultModels
    models: Usable
    knowledge: Usable
    tools: Usable
    permissions: dict[str, dict[str, bool]]
    inherited_permissions: dict[str, dict[str, bool]]
    effective_permissions: dict[str, dict[str, bool]]
