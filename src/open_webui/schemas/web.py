"""Bodies of the routes that read and search the web."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from open_webui.constants import MAX_ID


class UrlForm(BaseModel):
    """A page to read. collection_name: where it is put; one of its own where none is named."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=8_192)]
    collection_name: Annotated[str, Field(min_length=1, max_length=MAX_ID)] | None = None


class SearchForm(BaseModel):
    """What to search the web for."""

    model_config = ConfigDict(extra="forbid")

    queries: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=100)]
