"""What the routes about OpenAI-compatible connections take."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded

MAX_CONNECTIONS = 100
MAX_CONFIGS = 200_000


Url = Annotated[str, StringConstraints(max_length=2_000)]
Key = Annotated[str, StringConstraints(max_length=8_000)]
Urls = Annotated[list[Url], Field(max_length=MAX_CONNECTIONS)]
Configs = Annotated[dict[str, Any], AfterValidator(bounded(MAX_CONFIGS))]


class OpenAIConfig(BaseModel):
    ENABLE_OPENAI_API: bool | None = None
    OPENAI_API_BASE_URLS: Urls
    OPENAI_API_KEYS: Annotated[list[Key], Field(max_length=MAX_CONNECTIONS)]
    OPENAI_API_CONFIGS: Configs


class VerifyOpenAI(BaseModel):
    url: Url
    key: Key
    config: Configs | None = None


class ProviderModel(BaseModel):
    """A model of a provider. Whatever else is said of what is to be done with it is not read."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, StringConstraints(max_length=MAX_ID)]
