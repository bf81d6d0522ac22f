"""What the routes about tool servers take."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from open_webui.schemas.documents import bounded
from open_webui.schemas.openai import Configs, Key, Url

# The setting in which they are kept.
KEY: Final = "tool_server.connections"
# Characters of one connection, which may have its whole document in it.
MAX_CONNECTION = 4_200_000


class ToolServerConnection(BaseModel):
    model_config = ConfigDict(extra="allow")

    url: Url
    path: Url
    type: Annotated[str, Field(max_length=50)] | None = "openapi"
    auth_type: Annotated[str, Field(max_length=50)] | None
    forward_cookies: bool = False
    headers: Configs | Key | None = None
    key: Key | None
    config: Configs | None
    info: Configs | None = None

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        return bounded(MAX_CONNECTION)(value) if isinstance(value, dict) else value


class ToolServers(BaseModel):
    TOOL_SERVER_CONNECTIONS: Annotated[list[ToolServerConnection], Field(max_length=100)]


class OAuthClientRegistration(BaseModel):
    url: Url
    client_id: Annotated[str, Field(min_length=1, max_length=200)]
    client_name: Annotated[str, Field(max_length=200)] | None = None
    client_secret: Key | None = None
    oauth_server_url: Url | None = None
    oauth_scope: Url | None = None
