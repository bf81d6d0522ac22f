"""Terminal servers, as an admin sets them up."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from open_webui.schemas.documents import bounded
from open_webui.schemas.openai import Configs, Key, Url

# Characters of one connection.
MAX_CONNECTION = 200_000
Name = Annotated[str, Field(max_length=500)]
Kind = Annotated[str, Field(max_length=50)]


class TerminalServerConnection(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: Name | None = ""
    name: Name | None = ""
    enabled: bool | None = True
    url: Url
    path: Url | None = "/openapi.json"
    key: Key | None = ""
    auth_type: Kind | None = "bearer"
    forward_cookies: bool = False
    config: Configs | None = None
    server_type: Kind | None = None
    policy_id: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        return bounded(MAX_CONNECTION)(value) if isinstance(value, dict) else value


class TerminalServers(BaseModel):
    TERMINAL_SERVER_CONNECTIONS: Annotated[list[TerminalServerConnection], Field(max_length=100)]


class TerminalServerPolicy(BaseModel):
    url: Url
    key: Key | None = ""
    auth_type: Kind | None = "bearer"
    policy_id: Annotated[str, Field(min_length=1, max_length=200)]
    policy_data: Configs | None = None


class TerminalServerLifecycle(BaseModel):
    url: Url
    key: Key | None = ""
    auth_type: Kind | None = "bearer"
    policy_id: Annotated[str, Field(min_length=1, max_length=200)]
    lifecycle_data: Configs | None = None


class TerminalServerRefresh(BaseModel):
    url: Url
    key: Key | None = ""
    auth_type: Kind | None = "bearer"
    user_id: Name | None = None
    policy_id: Name | None = None
    only_idle: bool = True
    reset: bool = False
