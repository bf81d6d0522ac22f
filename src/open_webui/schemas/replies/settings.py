"""Settings and permissions, as they go out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NotRequired, TypedDict

import msgspec

from open_webui.config import BY_KEY
from open_webui.schemas import tasks
from open_webui.schemas.replies.shape import Object

UserPermissions = dict[str, dict[str, bool]]


class ConnectionsConfig(TypedDict):
    ENABLE_DIRECT_CONNECTIONS: bool
    ENABLE_DIRECT_INTEGRATIONS: NotRequired[bool]
    ENABLE_BASE_MODELS_CACHE: bool


class ModelsConfig(TypedDict):
    DEFAULT_MODELS: str | None
    DEFAULT_PINNED_MODELS: str | None
    MODEL_ORDER_LIST: list[str] | None
    DEFAULT_MODEL_METADATA: NotRequired[Object | None]
    DEFAULT_MODEL_PARAMS: NotRequired[Object | None]


class Banner(TypedDict):
    i18n: NotRequired[dict[str, dict[str, str]] | None]
    id: str
    type: str
    title: NotRequired[str | None]
    content: str
    dismissible: bool
    timestamp: int


class InterfaceVisibility(TypedDict):
    visibility: dict[str, bool]


class ToolServersConfig(TypedDict):
    TOOL_SERVER_CONNECTIONS: list[Object]


class OAuthClient(TypedDict):
    status: bool
    oauth_client_info: str


class CodeConfig(TypedDict):
    ENABLE_CODE_EXECUTION: bool
    CODE_EXECUTION_ENGINE: str
    CODE_EXECUTION_JUPYTER_URL: str | None
    CODE_EXECUTION_JUPYTER_AUTH: str | None
    CODE_EXECUTION_JUPYTER_AUTH_TOKEN: str | None
    CODE_EXECUTION_JUPYTER_AUTH_PASSWORD: str | None
    CODE_EXECUTION_JUPYTER_TIMEOUT: int | None
    ENABLE_CODE_INTERPRETER: bool
    CODE_INTERPRETER_ENGINE: str
    CODE_INTERPRETER_PROMPT_TEMPLATE: str | None
    CODE_INTERPRETER_JUPYTER_URL: str | None
    CODE_INTERPRETER_JUPYTER_AUTH: str | None
    CODE_INTERPRETER_JUPYTER_AUTH_TOKEN: str | None
    CODE_INTERPRETER_JUPYTER_AUTH_PASSWORD: str | None
    CODE_INTERPRETER_JUPYTER_TIMEOUT: int | None


class CodeRan(TypedDict):
    stdout: str
    stderr: str
    result: str | None


class SubagentsConfig(TypedDict):
    ENABLE_SUBAGENTS: bool
    SUBAGENTS_BACKGROUND_ENABLED: bool
    SUBAGENTS_MAX_CONCURRENT: int
    SUBAGENTS_MAX_ASYNC: int
    SUBAGENTS_MAX_ITERATIONS: int
    SUBAGENTS_MAX_OUTPUT: int
    SUBAGENTS_SYSTEM_PROMPT: str


class Suggestion(TypedDict):
    title: list[str]
    content: str


class Suggestions(TypedDict):
    """What a page proposes to ask; None: as shipped."""

    suggestions: list[Suggestion] | None
    i18n: Object


class ModelDefaults(TypedDict):
    DEFAULT_MODEL_METADATA: Object


class TerminalServersConfig(TypedDict):
    TERMINAL_SERVER_CONNECTIONS: list[Object]


class TerminalServer(TypedDict):
    id: str
    url: str
    name: str


class LdapSwitch(TypedDict):
    ENABLE_LDAP: bool


def shown(name: str, settings: Mapping[str, str], others: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The type of an object that shows settings under the wire's names, and other values of certain kinds."""
    fields: dict[str, Any] = {}
    for wire, key in settings.items():
        setting = BY_KEY[key]
        fields[wire] = setting.type | None if setting.nullable else setting.type
    fields |= {wire: Any if value is None else type(value) for wire, value in others.items()}
    return msgspec.defstruct(name, list(fields.items()), kw_only=True)


TaskConfig: Final = shown("TaskConfig", tasks.SETTINGS)
