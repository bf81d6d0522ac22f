"""What clients send about channels."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_NAME
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants

MAX_CONTENT: int = 40_000
MAX_DESCRIPTION: int = 10_000
MAX_DATA: int = 200_000
MAX_META: int = 20_000
MAX_PEOPLE: int = 1_000
MAX_REACTION: int = 100
MAX_PICTURE: int = 400_000

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]
Ids = Annotated[list[Id], Field(max_length=MAX_PEOPLE)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NAME), BeforeValidator(clean)]
Description = Annotated[str | None, Field(max_length=MAX_DESCRIPTION), BeforeValidator(clean)]
Document = Annotated[dict[str, Any], AfterValidator(bounded(MAX_META))]
Data = Annotated[dict[str, Any], AfterValidator(bounded(MAX_DATA))]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT), BeforeValidator(clean)]


class ChannelForm(BaseModel):
    """What a channel is called, and what is said about it."""

    model_config = ConfigDict(extra="ignore")

    name: Name = ""
    description: Description = None
    is_private: bool | None = None
    data: Document | None = None
    meta: Document | None = None


class CreateChannelForm(ChannelForm):
    """A new channel. type: none for one that grants open, "group", or "dm" for a conversation."""

    type: Annotated[str | None, StringConstraints(max_length=20)] = None
    group_ids: Ids | None = None
    user_ids: Ids | None = None
    access_grants: Grants | None = None


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_grants: Grants


class MembersForm(BaseModel):
    """Who comes in."""

    model_config = ConfigDict(extra="ignore")

    user_ids: Ids = []
    group_ids: Ids = []


class RemoveMembersForm(BaseModel):
    """Who goes."""

    model_config = ConfigDict(extra="ignore")

    user_ids: Ids = []


class ActiveForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    is_active: bool


class MutedForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    is_channel_muted: bool


class MessageForm(BaseModel):
    """A message. temp_id: what its sender's page calls it meanwhile. parent_id: whose thread it is in. reply_to_id: what it
    quotes.
    """

    model_config = ConfigDict(extra="ignore")

    temp_id: Annotated[str | None, StringConstraints(max_length=MAX_ID)] = None
    content: Content
    reply_to_id: Id | None = None
    parent_id: Id | None = None
    data: Data | None = None
    meta: Document | None = None


class PinForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    is_pinned: bool


class ReactionForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REACTION), BeforeValidator(clean)
    ]


class WebhookForm(BaseModel):
    """What a webhook is called, and its picture as a data: URL."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME), BeforeValidator(clean)
    ]
    profile_image_url: Annotated[str | None, StringConstraints(max_length=MAX_PICTURE)] = None


class WebhookMessageForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: Content
