"""What clients send about apps, and what apps say of themselves."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants

MAX_SETTINGS: int = 20_000

Scope = Literal["channels:mentions:read", "channels:messages:read", "channels:messages:write", "channels:read"]
Scopes = Annotated[list[Scope], Field(max_length=20)]
Key = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4_096, pattern=r"^[^\x00-\x1f]+$"),
    Field(json_schema_extra={"format": "password", "writeOnly": True}),
]
Url = Annotated[str, StringConstraints(max_length=2_048)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(clean)]
Settings = Annotated[dict[str, Any], AfterValidator(bounded(MAX_SETTINGS))]


class Manifest(BaseModel):
    """What an app says of itself. public_key: an Ed25519 key, by which its answers are known."""

    model_config = ConfigDict(extra="forbid")

    id: Name
    name: Name
    description: Annotated[str, StringConstraints(max_length=2_000), BeforeValidator(clean)] = ""
    profile_image_url: Annotated[str | None, StringConstraints(max_length=196_608)] = None
    public_key: Annotated[str, StringConstraints(max_length=2_000)]
    requested_scopes: Scopes


class AppForm(BaseModel):
    """A new app. slug: what it is called in addresses."""

    model_config = ConfigDict(extra="forbid")

    manifest: Manifest
    url: Url
    api_key: Key
    slug: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    granted_scopes: Scopes
    access_grants: Grants = []


class AppUpdateForm(BaseModel):
    """What is left out, or null, stays."""

    model_config = ConfigDict(extra="forbid")

    is_active: bool | None = None
    name: Name | None = None
    settings: Settings | None = None
    manifest: Manifest | None = None
    granted_scopes: Scopes | None = None
    access_grants: Grants | None = None


class AppManifestForm(BaseModel):
    """Where a manifest is. app_id: the app whose key is used where none is sent."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    api_key: Key | None = None
    app_id: Annotated[str | None, StringConstraints(max_length=MAX_ID)] = None


class AppConnectionForm(BaseModel):
    """api_key: a new one, kept once the app has answered to it."""

    model_config = ConfigDict(extra="forbid")

    api_key: Key | None = None


class AppInteractionForm(BaseModel):
    """A button of a message that is pressed."""

    model_config = ConfigDict(extra="forbid")

    message_id: Annotated[str, StringConstraints(max_length=MAX_ID), BeforeValidator(clean)]
    action_id: Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(clean)]


class AppInvitation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    app_id: Annotated[str, StringConstraints(max_length=MAX_ID), BeforeValidator(clean)]
