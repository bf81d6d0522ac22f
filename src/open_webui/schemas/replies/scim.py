"""Resources and messages of SCIM (RFC 7643, RFC 7644)."""

from typing import Any, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class ScimMeta(TypedDict):
    resourceType: str
    created: str
    lastModified: str
    location: NotRequired[str]
    version: NotRequired[str]


class ScimName(TypedDict):
    formatted: NotRequired[str]
    familyName: NotRequired[str]
    givenName: NotRequired[str]
    middleName: NotRequired[str]
    honorificPrefix: NotRequired[str]
    honorificSuffix: NotRequired[str]


class ScimEmail(TypedDict):
    """An address; the primary one is the account's."""

    value: str
    type: NotRequired[str]
    primary: NotRequired[bool]
    display: NotRequired[str]


class ScimPhoto(TypedDict):
    value: str
    type: NotRequired[str]
    primary: NotRequired[bool]
    display: NotRequired[str]


class ScimUserForm(TypedDict):
    """What is sent of an account. What it has beside this is passed over."""

    schemas: NotRequired[list[str]]
    externalId: NotRequired[str | None]
    userName: str
    name: NotRequired[ScimName | None]
    displayName: NotRequired[str | None]
    emails: NotRequired[list[ScimEmail]]
    active: NotRequired[bool]


class ScimUser(TypedDict):
    """An account."""

    schemas: list[str]
    id: str
    externalId: NotRequired[str]
    userName: str
    name: NotRequired[ScimName]
    displayName: str
    emails: list[ScimEmail]
    active: bool
    photos: NotRequired[list[ScimPhoto]]
    groups: NotRequired[list[dict[str, str]]]
    meta: ScimMeta


# Not a class: one of its names has a sign in it.
ScimMember = TypedDict(
    "ScimMember", {"value": str, "$ref": NotRequired[str], "type": NotRequired[str], "display": NotRequired[str]}
)


class ScimGroupForm(TypedDict):
    """What is sent of a group."""

    schemas: NotRequired[list[str]]
    externalId: NotRequired[str | None]
    displayName: str
    members: NotRequired[list[ScimMember] | None]


class ScimGroup(TypedDict):
    """A group. members: missing where they are not asked for."""

    schemas: list[str]
    id: str
    externalId: NotRequired[str]
    displayName: str
    members: NotRequired[list[ScimMember]]
    meta: ScimMeta


class ScimList(TypedDict):
    """A page. startIndex: counted from 1."""

    schemas: list[str]
    totalResults: int
    itemsPerPage: int
    startIndex: int
    Resources: list[Object]


class ScimSearch(TypedDict):
    """What is looked for."""

    schemas: NotRequired[list[str]]
    filter: NotRequired[str | None]
    attributes: NotRequired[list[str]]
    excludedAttributes: NotRequired[list[str]]
    sortBy: NotRequired[str | None]
    sortOrder: NotRequired[str | None]
    startIndex: NotRequired[int]
    count: NotRequired[int]


class ScimPatchOperation(TypedDict):
    op: str
    path: NotRequired[str | None]
    value: NotRequired[Any]


class ScimPatch(TypedDict):
    """Changes."""

    schemas: NotRequired[list[str]]
    Operations: list[ScimPatchOperation]


class ScimBulkOperation(TypedDict):
    method: str
    path: str
    bulkId: NotRequired[str]
    version: NotRequired[str]
    data: NotRequired[Object]


class ScimBulk(TypedDict):
    """Many changes."""

    schemas: NotRequired[list[str]]
    failOnErrors: NotRequired[int]
    Operations: list[ScimBulkOperation]


class ScimBulkResult(TypedDict):
    method: str
    status: str
    bulkId: NotRequired[str]
    location: NotRequired[str]
    version: NotRequired[str]
    response: NotRequired[Object]


class ScimBulkAnswer(TypedDict):
    schemas: list[str]
    Operations: list[ScimBulkResult]


class ScimConfig(TypedDict):
    """What the server can do."""

    schemas: list[str]
    patch: Object
    bulk: Object
    filter: Object
    changePassword: Object
    sort: Object
    etag: Object
    authenticationSchemes: list[Object]
    meta: Object


class ScimResourceType(TypedDict):
    schemas: list[str]
    id: str
    name: str
    endpoint: str
    description: str
    schema: str
    meta: Object


class ScimSchema(TypedDict):
    schemas: list[str]
    id: str
    name: str
    description: str
    attributes: list[Object]
    meta: Object


class ScimRefusal(TypedDict):
    """Why something was not done (RFC 7644, 3.12). status: the HTTP status, in digits. scimType: the kind of a 400 or 409."""

    schemas: list[str]
    status: str
    detail: str
    scimType: NotRequired[str]
