"""What clients send about notes."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from open_webui.constants import MAX_TITLE
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants

# Bytes of JSON: a text in three forms, and what else is kept with it.
MAX_DATA: Final = 8_000_000
MAX_META: Final = 100_000

Title = Annotated[str, StringConstraints(max_length=MAX_TITLE), BeforeValidator(clean)]
Data = Annotated[dict[str, Any], AfterValidator(bounded(MAX_DATA))]
Meta = Annotated[dict[str, Any], AfterValidator(bounded(MAX_META))]


class NoteForm(BaseModel):
    """A new note."""

    model_config = ConfigDict(extra="ignore")

    title: Title
    data: Data | None = None
    meta: Meta | None = None
    access_grants: Grants | None = None


class NoteUpdateForm(BaseModel):
    """A change of a note; what it leaves out stays. Of `data` each member by itself."""

    model_config = ConfigDict(extra="ignore")

    title: Title | None = None
    data: Data | None = None
    meta: Meta | None = None


class AccessForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_grants: Grants
