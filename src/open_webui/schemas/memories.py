"""What clients send about memories."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import clean

MAX_CONTENT: int = 100_000
MAX_PATH: int = 500
MAX_QUERY: int = 2_000
MAX_LIMIT: int = 1_000
MAX_OPERATIONS: int = 50
Kind = Literal["user", "context"]
AnyKind = Literal["user", "context", "all"]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT), BeforeValidator(clean)]
MemoryPath = Annotated[str, StringConstraints(max_length=MAX_PATH), BeforeValidator(clean)]
Words = Annotated[str, StringConstraints(max_length=MAX_QUERY), BeforeValidator(clean)]
MemoryId = Annotated[str, StringConstraints(max_length=MAX_ID), BeforeValidator(clean)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]


class Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class AddMemoryForm(Form):
    content: Content
    type: Kind = "context"
    path: MemoryPath | None = None


class MemoryUpdateForm(Form):
    """What is left out, or null, stays. An empty path takes the memory away from where it stands."""

    content: Content | None = None
    type: Kind | None = None
    path: MemoryPath | None = None


class Operation(Form):
    """One change: `add` takes content, type and path; `replace` id and content; `move` id, and path or type; `remove` id."""

    action: Literal["add", "replace", "remove", "move"]
    id: MemoryId | None = None
    content: Content | None = None
    type: Kind | None = None
    path: MemoryPath | None = None


class UpdateMemoriesForm(Form):
    """Changes that are made together, or not at all. source: what made them, where it was not the person."""

    operations: Annotated[list[Operation], Field(max_length=MAX_OPERATIONS)]
    source: Literal["tool", "background_review"] | None = None


class QueryMemoryForm(Form):
    content: Words
    k: Annotated[int, Field(ge=1, le=100)] | None = 1


class SearchMemoriesForm(Form):
    query: Words | None = None
    type: AnyKind = "all"
    path: MemoryPath | None = None
    memory_id: MemoryId | None = None
    limit: Limit = 20


class ListMemoryPathsForm(Form):
    query: Words | None = None
    type: AnyKind = "all"
    limit: Limit = 100


class ReadMemoryPathForm(Form):
    path: MemoryPath
    type: AnyKind = "all"
    include_children: bool = True
    limit: Limit = 50
