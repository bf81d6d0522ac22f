"""Models, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class AccessGrant(TypedDict):
    id: str
    resource_type: str
    resource_id: str
    principal_type: str
    principal_id: str
    permission: str
    created_at: int


class UserName(TypedDict):
    id: str
    name: str
    role: str
    email: str


class Model(TypedDict):
    version_id: NotRequired[str | None]
    id: str
    user_id: str
    base_model_id: NotRequired[str | None]
    name: str
    params: Object
    meta: Object
    access_grants: NotRequired[list[AccessGrant]]
    is_active: bool
    updated_at: int
    created_at: int


class ModelWithAccess(Model):
    user: NotRequired[UserName | None]
    write_access: NotRequired[bool | None]


class ModelsPage(TypedDict):
    items: list[ModelWithAccess]
    total: int


class ModelExport(Model):
    background_image_data: NotRequired[str | None]


class ModelVersion(TypedDict):
    id: str
    model_id: str
    parent_id: NotRequired[str | None]
    user_id: str
    commit_message: NotRequired[str | None]
    created_at: int
    user: NotRequired[Object | None]


class ModelHistory(ModelVersion):
    snapshot: Object
