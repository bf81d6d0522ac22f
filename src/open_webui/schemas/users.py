"""What the routes under /api/v1/users and /api/v1/groups take and answer."""

from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.principal import Role
from open_webui.schemas.auths import Bio, Email, Form, Name, Password, Picture, Text, Word

Id = Annotated[str, StringConstraints(max_length=MAX_ID)]
Description = Annotated[str, StringConstraints(max_length=10_000), Text]
Section = dict[str, bool]


def _as_text(value: Any) -> Any:
    """A number as a text: what stands for a variable in a prompt is one."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class UpdateUser(Form):
    # Pages post back more of the person than may be changed; the rest is not looked at.
    model_config = ConfigDict(extra="ignore")

    role: Role | None = None
    name: Name | None = None
    email: Email | None = None
    profile_image_url: Picture | None = None
    password: Password | None = None
    # Of this server: whether the person may sign in. None leaves it.
    active: bool | None = None


class Status(Form):
    status_emoji: Word | None = None
    status_message: Bio | None = None
    status_expires_at: Annotated[int, Field(ge=0, le=2**53)] | None = None


class Variables(Form):
    variables: dict[str, Annotated[str, BeforeValidator(_as_text)]] = Field(default_factory=dict)


class Permissions(Form):
    workspace: Section
    sharing: Section
    access_grants: Section
    chat: Section
    features: Section
    settings: Section


class GroupForm(Form):
    parent_group_id: Id | None = None
    name: Name
    description: Description
    permissions: dict[str, Section] | None = None
    data: dict[str, Any] | None = None


class UserIds(Form):
    user_ids: Annotated[list[Id], Field(max_length=10_000)] | None = None


class UserInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What signed-in people may know of each other."""

    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    id: str
    name: str
    email: str
    role: Role
    bio: str | None
    last_active_at: int | None
    timezone: str | None
    groups: list[Any] = []
    is_active: bool = False


class GroupMember(UserInfo, frozen=True, kw_only=True):
    membership_type: str
    via_group_ids: list[str]
