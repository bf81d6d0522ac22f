"""Tools and functions, as they go out."""

from typing import Any, Literal, NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object

# What is set of a plugin: fields of its own choice.
Values = dict[str, Any]
# A JSON schema.
Schema = dict[str, Any]


class Tool(TypedDict):
    version_id: NotRequired[str | None]
    id: str
    user_id: NotRequired[str | None]
    name: str
    meta: Object
    access_grants: NotRequired[list[AccessGrant]]
    updated_at: int
    created_at: int


class ListedTool(Tool):
    user: NotRequired[UserName | None]
    content: NotRequired[None]
    specs: NotRequired[list[Object]]
    has_user_valves: NotRequired[bool]
    # Of servers at which people sign in: whether this one has.
    authenticated: NotRequired[bool]


class ToolWithAccess(Tool):
    user: NotRequired[UserName | None]
    write_access: NotRequired[bool | None]
    content: NotRequired[str | None]
    specs: NotRequired[list[Object]]


class WholeTool(Tool):
    content: NotRequired[str | None]
    specs: list[Object]


class Function(TypedDict):
    version_id: NotRequired[str | None]
    id: str
    user_id: NotRequired[str | None]
    type: str
    name: str
    meta: Object
    is_active: bool
    is_global: bool
    updated_at: int
    created_at: int


class ListedFunction(Function):
    user: NotRequired[UserName | None]


class WholeFunction(Function):
    content: str


class ExportedFunction(WholeFunction):
    valves: NotRequired[Object | None]


class _Version(TypedDict):
    id: str
    parent_id: NotRequired[str | None]
    user_id: str
    commit_message: NotRequired[str | None]
    created_at: int
    user: NotRequired[Object | None]


class ToolVersion(_Version):
    tool_id: str


class WholeToolVersion(ToolVersion):
    snapshot: Object


class FunctionVersion(_Version):
    function_id: str


class WholeFunctionVersion(FunctionVersion):
    snapshot: Object


class Difference(TypedDict):
    from_id: str
    to_id: str
    metadata: Object
    content_diff: str
    line_endings_only: bool


class Loaded(TypedDict):
    name: str
    content: str


class Formatted(TypedDict):
    code: str


class FailedEvent(TypedDict):
    function: str
    event: str
    at: int
    detail: str


class Events(TypedDict):
    waiting: int
    dropped: int
    failures: list[FailedEvent]


class Finding(TypedDict):
    message: str
    line: int
    refused: bool


class Checked(TypedDict):
    kind: Literal["tool", "pipe", "filter", "action", "event"] | None
    manifest: dict[str, str]
    methods: list[str]
    specs: list[Object]
    valves: Object | None
    user_valves: Object | None
    findings: list[Finding]
