"""What the routes about pipelines servers take."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from open_webui.schemas.documents import bounded
from open_webui.schemas.openai import Url

MAX_VALVES = 1_000_000
Place = Annotated[int, Field(ge=0, le=1_000)]
Valves = Annotated[dict[str, Any], AfterValidator(bounded(MAX_VALVES))]


class AddPipelineForm(BaseModel):
    url: Annotated[Url, Field(min_length=1)]
    urlIdx: Place  # noqa: N815 - as the wire has it


class DeletePipelineForm(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=500)]
    urlIdx: Place  # noqa: N815 - as the wire has it
