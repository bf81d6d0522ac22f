"""What clients send about tools and functions."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_PLUGIN
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants, Name

MAX_META: int = 500_000
MAX_VALVES: int = 100_000
MAX_URL: int = 2_083
MAX_FUNCTIONS: int = 500
_bounded = bounded(MAX_META)
Valves = Annotated[dict[str, Any], AfterValidator(bounded(MAX_VALVES))]
Message = Annotated[str | None, Field(max_length=1_000), BeforeValidator(clean)]
PluginId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]
Content = Annotated[str, StringConstraints(max_length=MAX_PLUGIN)]


class Meta(BaseModel):
    """What is told about a plugin; pages add fields of their own. manifest: read anew from the text each time."""

    model_config = ConfigDict(extra="allow")

    description: str | None = None
    manifest: dict[str, Any] | None = None


class PluginForm(BaseModel):
    """A plugin as pages post it: the whole row, of which only this is looked at."""

    model_config = ConfigDict(extra="ignore")

    id: PluginId
    name: Name
    content: Content
    meta: Meta
    commit_message: Message = None

    def told(self) -> dict[str, Any]:
        """`meta` as it is stored. Raises ValueError for what is too large or too deep."""
        return _bounded(self.meta.model_dump())


class ToolForm(PluginForm):
    access_grants: Grants | None = None


class FunctionForm(PluginForm):
    """A function; its type is read from its text."""


class SyncedFunction(PluginForm):
    """A function as an export has it."""

    is_active: bool = False
    is_global: bool = False
    valves: Valves | None = None


class SyncForm(BaseModel):
    functions: Annotated[list[SyncedFunction], Field(max_length=MAX_FUNCTIONS)] = []


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_grants: Grants


class VersionForm(BaseModel):
    version_id: Annotated[str, StringConstraints(max_length=MAX_ID)]


class LoadForm(BaseModel):
    url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)]


class CodeForm(BaseModel):
    code: Content


class CheckForm(BaseModel):
    content: Content
