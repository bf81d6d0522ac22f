"""What the routes under /api/v1/configs take."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.openai import Configs

Line = Annotated[str, StringConstraints(max_length=2_000)]
Text = Annotated[str, StringConstraints(max_length=20_000)]


class ConnectionsConfig(BaseModel):
    ENABLE_DIRECT_CONNECTIONS: bool
    ENABLE_DIRECT_INTEGRATIONS: bool | None = None
    ENABLE_BASE_MODELS_CACHE: bool


class ModelsConfig(BaseModel):
    DEFAULT_MODELS: Text | None
    DEFAULT_PINNED_MODELS: Text | None
    MODEL_ORDER_LIST: Annotated[list[Line], Field(max_length=10_000)] | None
    DEFAULT_MODEL_METADATA: Configs | None = None
    DEFAULT_MODEL_PARAMS: Configs | None = None


class Banner(BaseModel):
    i18n: Annotated[dict[str, dict[str, Text]], Field(max_length=200)] | None = None
    id: Annotated[str, StringConstraints(max_length=MAX_ID)]
    type: Annotated[str, StringConstraints(max_length=50)]
    title: Line | None = None
    content: Text
    dismissible: bool
    timestamp: Annotated[int, Field(ge=0, le=2**53)]


class Banners(BaseModel):
    banners: Annotated[list[Banner], Field(max_length=100)]


class Suggestion(BaseModel):
    title: Annotated[list[Line], Field(max_length=10)]
    content: Text


class Suggestions(BaseModel):
    suggestions: Annotated[list[Suggestion], Field(max_length=500)] | None
    i18n: Configs | None = None


class Visibility(BaseModel):
    visibility: Annotated[dict[str, bool], Field(max_length=1_000)]


class ImportConfig(BaseModel):
    config: dict[str, Any]


class CodeExecution(BaseModel):
    ENABLE_CODE_EXECUTION: bool
    CODE_EXECUTION_ENGINE: Line
    CODE_EXECUTION_JUPYTER_URL: Line | None
    CODE_EXECUTION_JUPYTER_AUTH: Line | None
    CODE_EXECUTION_JUPYTER_AUTH_TOKEN: Line | None
    CODE_EXECUTION_JUPYTER_AUTH_PASSWORD: Line | None
    CODE_EXECUTION_JUPYTER_TIMEOUT: int | None
    ENABLE_CODE_INTERPRETER: bool
    CODE_INTERPRETER_ENGINE: Line
    CODE_INTERPRETER_PROMPT_TEMPLATE: Text | None
    CODE_INTERPRETER_JUPYTER_URL: Line | None
    CODE_INTERPRETER_JUPYTER_AUTH: Line | None
    CODE_INTERPRETER_JUPYTER_AUTH_TOKEN: Line | None
    CODE_INTERPRETER_JUPYTER_AUTH_PASSWORD: Line | None
    CODE_INTERPRETER_JUPYTER_TIMEOUT: int | None


Number = Annotated[int, Field(ge=0, le=100_000_000)]


class Subagents(BaseModel):
    ENABLE_SUBAGENTS: bool
    SUBAGENTS_BACKGROUND_ENABLED: bool = False
    SUBAGENTS_MAX_CONCURRENT: Number = 20
    SUBAGENTS_MAX_ASYNC: Number = 20
    SUBAGENTS_MAX_ITERATIONS: Number = 30
    SUBAGENTS_MAX_OUTPUT: Number = 30_000
    SUBAGENTS_SYSTEM_PROMPT: Text = ""
