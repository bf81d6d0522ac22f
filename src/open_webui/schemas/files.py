"""What clients send about files."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_NAME
from open_webui.schemas.documents import clean

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), BeforeValidator(clean)]
# Files of one call, each of which is waited for.
MAX_FILES = 1_000


class RenameForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=1_000)


class ContentForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    content: str


class ProcessFileForm(BaseModel):
    """content: what stands in the place of the file's own text. collection_name: a knowledge base that it goes into."""

    model_config = ConfigDict(extra="forbid")

    file_id: Id
    content: str | None = None
    collection_name: Id | None = None


class BatchFile(BaseModel):
    """A file as lists have it; only its id counts."""

    model_config = ConfigDict(extra="ignore")

    id: Id


class BatchForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    files: Annotated[list[BatchFile], Field(max_length=MAX_FILES)]
    collection_name: Id


class ProcessTextForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    content: str
    collection_name: Id | None = None
