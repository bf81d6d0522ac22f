"""What the routes about models take."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_NAME
from open_webui.schemas.documents import bounded, clean

# Pictures as data: URLs are legitimate in a model.
MAX_MODEL_JSON = 2_000_000
MAX_GRANTS = 1_000
MAX_IMPORT = 5_000


_bounded = bounded(MAX_MODEL_JSON)
ModelId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f]+$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME), BeforeValidator(clean)
]
Document = Annotated[dict[str, Any], AfterValidator(_bounded)]
Grants = Annotated[list[dict[str, Any]], Field(max_length=MAX_GRANTS)]


class Meta(BaseModel):
    """What is told about a model; pages add fields of their own."""

    model_config = ConfigDict(extra="allow")

    profile_image_url: str | None = None
    background_image_url: str | None = None
    description: str | None = None
    i18n: dict[str, Any] | None = None
    capabilities: dict[str, Any] | None = None
    knowledge: list[Any] | None = None
    voice: Any = None
    voice_avatar: Any = None


def _meta(value: Meta) -> dict[str, Any]:
    return _bounded(value.model_dump())


class ModelForm(BaseModel):
    """A model as pages post it: the whole row, of which only this is looked at."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    id: ModelId
    base_model_id: ModelId | None = None
    name: Name
    meta: Meta
    params: Document
    access_grants: Grants | None = None
    is_active: bool = True
    commit_message: Annotated[str | None, Field(max_length=1_000), BeforeValidator(clean)] = None

    def values(self) -> dict[str, Any]:
        """The columns that a caller may set. Raises ValueError for meta that is too large or too deep."""
        return {
            "base_model_id": self.base_model_id,
            "name": self.name,
            "meta": _meta(self.meta),
            "params": self.params,
            "is_active": self.is_active,
        }


class ModelIdForm(BaseModel):
    id: ModelId


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: ModelId
    access_grants: Grants


class ImportForm(BaseModel):
    models: Annotated[list[dict[str, Any]], Field(max_length=MAX_IMPORT)]


class SyncForm(BaseModel):
    models: Annotated[list[dict[str, Any]], Field(max_length=MAX_IMPORT)] = []


class VersionForm(BaseModel):
    version_id: Annotated[str, StringConstraints(max_length=MAX_ID)]


class UnloadForm(BaseModel):
    model: ModelId
