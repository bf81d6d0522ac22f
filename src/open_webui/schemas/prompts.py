"""What clients send about prompts."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants, Name

MAX_CONTENT: int = 100_000
MAX_COMMAND: int = 100
MAX_TAGS: int = 100
MAX_TAG: int = 200
MAX_DOCUMENT: int = 100_000


def _plain(command: Any) -> Any:
    """Older clients send a command with its sign."""
    return clean(command).strip().removeprefix("/") if isinstance(command, str) else command


def _each_once(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tag for tag in tags if tag))


Command = Annotated[str, StringConstraints(min_length=1, max_length=MAX_COMMAND), BeforeValidator(_plain)]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT), BeforeValidator(clean)]
Document = Annotated[dict[str, Any], AfterValidator(bounded(MAX_DOCUMENT))]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TAG), BeforeValidator(clean)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_each_once)]
Message = Annotated[str | None, Field(max_length=1_000), BeforeValidator(clean)]


class PromptForm(BaseModel):
    """A prompt as pages post it. What a change leaves out of data, meta, tags and grants stays.

    is_production: the new version is in use at once; otherwise it is kept beside the one that is.
    """

    model_config = ConfigDict(extra="ignore")

    command: Command
    name: Name
    content: Content
    data: Document | None = None
    meta: Document | None = None
    tags: Tags | None = None
    access_grants: Grants | None = None
    commit_message: Message = None
    is_production: bool | None = True


class MetadataForm(BaseModel):
    """What a prompt is called, and what it is about."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    command: Command
    tags: Tags | None = None


class VersionForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version_id: Annotated[str, StringConstraints(max_length=MAX_ID)]


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_grants: Grants
