"""What clients send about skills."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants, Name

MAX_I18N: int = 200_000
MAX_DESCRIPTION: int = 4_000
MAX_TAGS: int = 100
MAX_LISTED: int = 1_000
MAX_URL: int = 2_083
SkillId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]
AVersion = Annotated[str, StringConstraints(max_length=MAX_ID)]
Message = Annotated[str | None, Field(max_length=1_000), BeforeValidator(clean)]
Description = Annotated[str | None, Field(max_length=MAX_DESCRIPTION), BeforeValidator(clean)]
Tag = Annotated[str, StringConstraints(max_length=200), BeforeValidator(clean)]


class Meta(BaseModel):
    """What is told about a skill. i18n: its name and description in other languages."""

    model_config = ConfigDict(extra="ignore")

    i18n: Annotated[dict[str, Any], AfterValidator(bounded(MAX_I18N))] | None = None
    tags: Annotated[list[Tag], Field(max_length=MAX_TAGS)] | None = []


class File(BaseModel):
    """A file of a skill. encoding: base64 for what is no text."""

    model_config = ConfigDict(extra="ignore")

    path: str
    content: str
    encoding: Literal["base64"] | None = None


class Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    files: Annotated[list[File], Field(max_length=MAX_LISTED)]


class Operation(BaseModel):
    """One change of a skill's files."""

    model_config = ConfigDict(extra="ignore")

    op: Literal["put", "move", "delete"]
    path: str
    content: str | None = None
    encoding: Literal["base64"] | None = None
    destination: str | None = None


class Described(BaseModel):
    """What a skill consists of. Its text is `content`, or the file SKILL.md among `files`."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    description: Description = None
    content: str | None = None
    files: Annotated[list[File], Field(max_length=MAX_LISTED)] | None = None
    data: Data | None = None
    meta: Meta = Meta()
    is_active: bool | None = None


class SkillForm(Described):
    """A skill as pages post it. operations: changes of its files, instead of all of them.

    expected_version_id: which version is changed; another one is not touched.
    """

    id: SkillId
    operations: Annotated[list[Operation], Field(max_length=MAX_LISTED)] | None = None
    expected_version_id: AVersion | None = None
    commit_message: Message = None
    access_grants: Grants | None = None


class Operations(BaseModel):
    """Changes of a skill's files, and of nothing else."""

    operations: Annotated[list[Operation], Field(min_length=1, max_length=MAX_LISTED)]
    commit_message: Message = None


class PackedSkill(Described):
    """A skill in an export."""

    id: str | None = None


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_grants: Grants


class CloneForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: SkillId
    name: Name
    version_id: AVersion | None = None


class VersionForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version_id: AVersion
    expected_version_id: AVersion


class LoadForm(BaseModel):
    url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)]


class Decision(BaseModel):
    """What is done with one skill that is imported."""

    model_config = ConfigDict(extra="ignore")

    action: Literal["create", "copy", "replace", "skip"]
    id: SkillId
    name: Name
    expected_version_id: AVersion | None = None
