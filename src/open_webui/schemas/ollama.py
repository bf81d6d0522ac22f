"""What the routes about Ollama servers take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.openai import Configs, Key, Url, Urls


class OllamaConfig(BaseModel):
    ENABLE_OLLAMA_API: bool | None = None
    OLLAMA_BASE_URLS: Urls
    OLLAMA_API_CONFIGS: Configs


class VerifyOllama(BaseModel):
    url: Url
    key: Key | None = None
    config: Configs | None = None


RemoteName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]


class About(BaseModel):
    """A request about one model; what else it holds goes to the server as it is."""

    model_config = ConfigDict(extra="allow")

    model: RemoteName


class Copy(BaseModel):
    source: RemoteName
    destination: RemoteName
