"""Skills, as they go out."""

from typing import Literal, NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object


class SkillMeta(TypedDict):
    i18n: NotRequired[Object | None]
    tags: NotRequired[list[str] | None]


class SkillFile(TypedDict):
    path: str
    content: str
    encoding: NotRequired[str | None]


class ListedFile(TypedDict):
    path: str
    size: int
    encoding: str | None


class Skill(TypedDict):
    version_id: NotRequired[str | None]
    id: str
    user_id: str
    name: str
    description: NotRequired[str | None]
    meta: SkillMeta
    is_active: bool
    access_grants: NotRequired[list[AccessGrant]]
    updated_at: int
    created_at: int


class ListedSkill(Skill):
    user: NotRequired[UserName | None]


class SkillWithAccess(ListedSkill):
    write_access: NotRequired[bool | None]


class SkillDetail(SkillWithAccess):
    content: str


class SkillsPage(TypedDict):
    items: list[SkillWithAccess]
    total: int


class SkillData(TypedDict):
    files: list[SkillFile]


class WholeSkill(Skill):
    content: str
    data: SkillData


class Files(TypedDict):
    version_id: str | None
    files: list[ListedFile]


class ExportedSkill(TypedDict):
    id: str
    name: str
    description: str | None
    meta: SkillMeta
    files: list[SkillFile]
    is_active: bool


class SkillVersion(TypedDict):
    id: str
    skill_id: str
    parent_id: NotRequired[str | None]
    user_id: str
    commit_message: NotRequired[str | None]
    created_at: int
    user: NotRequired[Object | None]


class WholeSkillVersion(SkillVersion):
    snapshot: Object


class ChangedFile(TypedDict):
    path: str
    status: Literal["added", "deleted", "modified"]
    binary: bool


class SkillDifference(TypedDict):
    from_id: str
    to_id: str
    metadata: Object
    files: list[ChangedFile]


class FileDifference(TypedDict):
    diff: str
    line_endings_only: bool
    binary: bool


class PackedFile(TypedDict):
    path: str
    size: int


class Previewed(TypedDict):
    id: str
    name: str
    description: str | None
    files: list[PackedFile]
    id_taken: bool
    name_taken: bool
    can_replace: bool
    expected_version_id: str | None


class Imported(TypedDict):
    id: str
    status: Literal["saved", "skipped", "error"]
    error: NotRequired[str]
