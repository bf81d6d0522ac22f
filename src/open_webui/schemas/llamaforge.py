"""What the routes about models of this machine take."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID

# As file names and Ollama's names are; no path leads out of its folder with it.
_PART = r"[A-Za-z0-9][A-Za-z0-9._:@+-]*"
LocalName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=rf"^{_PART}(/{_PART})*$")]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]


class AddLocalModel(BaseModel):
    """source: a path (from the folder of models on), `hf:owner/repo[/file.gguf]` or `ollama:NAME`."""

    model_config = ConfigDict(extra="forbid")

    name: LocalName
    source: Source
    backend: Annotated[str, StringConstraints(max_length=MAX_ID)] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=200)
