"""What clients send about folders."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from open_webui import constants
from open_webui.utils import tree

MAX_JSON = 200_000


def _small(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None:
        tree.check_depth(value, ())
        if len(repr(value)) > MAX_JSON:
            raise ValueError("is larger than a folder can hold")
    return value


class FolderUpdateForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=constants.MAX_NAME)
    data: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None

    _bounded = field_validator("data", "meta")(_small)


class FolderForm(FolderUpdateForm):
    name: str = Field(min_length=1, max_length=constants.MAX_NAME)
    parent_id: str | None = Field(default=None, max_length=constants.MAX_ID)


class ExpandedForm(BaseModel):
    is_expanded: bool


class ParentForm(BaseModel):
    parent_id: str | None = Field(default=None, max_length=constants.MAX_ID)
