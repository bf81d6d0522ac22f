"""What clients send about knowledge bases."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_NAME
from open_webui.schemas.documents import clean
from open_webui.schemas.models import Grants, Name

MAX_DESCRIPTION = 20_000
# Files of one call.
MAX_FILES = 10_000
MAX_MANIFEST = 50_000
Id = Annotated[str, StringConstraints(max_length=MAX_ID)]


def _name(value: str) -> str:
    if value in {".", ".."}:
        raise ValueError("is no name")
    return value


DirectoryName = Annotated[
    str,
    # No path, and nothing that means another place in one.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^[^/\\\x00-\x1f]+$"),
    AfterValidator(_name),
]


class KnowledgeForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Name
    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), BeforeValidator(clean)]
    access_grants: Grants | None = None

    def values(self) -> dict[str, Any]:
        """The columns that a caller may set."""
        return {"name": self.name, "description": self.description}


class KnowledgeAccessForm(BaseModel):
    access_grants: Grants


class KnowledgeFileForm(BaseModel):
    """A file, and the directory that it lies in; None for the top."""

    file_id: Id
    directory_id: Id | None = None


KnowledgeFiles = Annotated[list[KnowledgeFileForm], Field(max_length=MAX_FILES)]


class DirectoryForm(BaseModel):
    name: DirectoryName
    parent_id: Id | None = None


class DirectoryUpdateForm(BaseModel):
    """What is not sent stays; parent_id None: to the top."""

    name: DirectoryName | None = None
    parent_id: Id | None = None


class ManifestEntry(BaseModel):
    """A file of a folder elsewhere. path: of its directory in the folder, "" for the folder itself. checksum: SHA-256."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
    path: Annotated[str, StringConstraints(max_length=10_000)]
    checksum: Annotated[str, StringConstraints(max_length=MAX_ID)]
    size: int


Manifest = list[ManifestEntry]


class SyncDiffForm(BaseModel):
    manifest: Annotated[Manifest, Field(max_length=MAX_MANIFEST)]


class SyncCleanupForm(BaseModel):
    file_ids: Annotated[list[Id], Field(max_length=MAX_MANIFEST)]
    dir_ids: Annotated[list[Id], Field(max_length=MAX_FILES)] = []
