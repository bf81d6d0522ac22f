"""What a directory may learn before it has shown its token: what this server can do, and which attributes it has."""

from typing import Any, Final

from open_webui.errors import ScimError
from open_webui.services.scim.documents import GROUP, MAX_COUNT, PREFIX, USER, Document

CONFIG: Final = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
TYPE: Final = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:Schema"
# Operations of one bulk request, and bytes of any request.
MAX_OPERATIONS: Final = 200
MAX_BYTES: Final = 1024 * 1024


def service_provider_config(base: str) -> Document:
    return {
        "schemas": [CONFIG],
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": MAX_OPERATIONS, "maxPayloadSize": MAX_BYTES},
        "filter": {"supported": True, "maxResults": MAX_COUNT},
        "changePassword": {"supported": False},
        "sort": {"supported": True},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "OAuth Bearer Token",
                "description": "The token of this server's setting SCIM_TOKEN, in the header Authorization.",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}{PREFIX}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[Document]:
    return [
        {
            "schemas": [TYPE],
            "id": kind,
            "name": kind,
            "endpoint": f"/{kind}s",
            "description": about,
            "schema": schema,
            "meta": {"location": f"{base}{PREFIX}/ResourceTypes/{kind}", "resourceType": "ResourceType"},
        }
        for kind, schema, about in (("User", USER, "An account."), ("Group", GROUP, "A group of people."))
    ]


def schemas(base: str) -> list[Document]:
    return [
        {
            "schemas": [SCHEMA],
            "id": schema,
            "name": kind,
            "description": about,
            "attributes": attributes,
            "meta": {"location": f"{base}{PREFIX}/Schemas/{schema}", "resourceType": "Schema"},
        }
        for schema, kind, about, attributes in (
            (USER, "User", "An account.", USER_ATTRIBUTES),
            (GROUP, "Group", "A group of people.", GROUP_ATTRIBUTES),
        )
    ]


def one_of(found: list[Document], name: str) -> Document:
    """Raises ScimError."""
    for one in found:
        if one["id"].lower() == name.lower():
            return one
    raise ScimError("There is no such thing here.", "", status=404)


def _attribute(name: str, about: str, kind: str = "string", **other: Any) -> Document:
    """An attribute of a schema, by what differs from most."""
    known: Document = {
        "name": name,
        "type": kind,
        "multiValued": False,
        "description": about,
        "required": False,
        "mutability": "readWrite",
        "returned": "default",
    }
    if kind in {"string", "reference"}:
        known |= {"caseExact": False, "uniqueness": "none"}
    return known | other


_NAME: Final = [
    _attribute("formatted", "The whole name."),
    _attribute("familyName", "The family name."),
    _attribute("givenName", "The given name."),
    _attribute("middleName", "Other names."),
    _attribute("honorificPrefix", "A title before the name."),
    _attribute("honorificSuffix", "What stands behind the name."),
]
_EMAIL: Final = [
    _attribute("value", "The address.", required=True),
    _attribute("display", "How it is shown."),
    _attribute("type", "What it is for.", canonicalValues=["work", "home", "other"]),
    _attribute("primary", "Whether it is the account's address. One is.", "boolean"),
]
_PHOTO: Final = [
    _attribute("value", "Where the picture is.", "reference", referenceTypes=["external"], mutability="readOnly"),
    _attribute("type", "What it is.", mutability="readOnly"),
    _attribute("primary", "Whether it is the one.", "boolean", mutability="readOnly"),
]


def _reference(kind: str, types: list[str], mutability: str) -> list[Document]:
    return [
        _attribute("value", "The id.", mutability=mutability, caseExact=True),
        _attribute("$ref", "The address.", "reference", referenceTypes=[kind], mutability=mutability, caseExact=True),
        _attribute("type", "What it is.", mutability=mutability, canonicalValues=types),
    ]


USER_ATTRIBUTES: Final = [
    _attribute("userName", "What the directory calls the account.", required=True, uniqueness="server"),
    _attribute("name", "The parts of the person's name.", "complex", subAttributes=_NAME),
    _attribute("displayName", "The name that others see.", required=True),
    _attribute(
        "emails", "Addresses; the primary one is the account's.", "complex", multiValued=True, required=True,
        subAttributes=_EMAIL,
    ),
    _attribute("active", "Whether the person may be here. True where it isn't said at the start.", "boolean", required=True),
    _attribute(
        "photos", "The person's picture.", "complex", multiValued=True, mutability="readOnly", subAttributes=_PHOTO
    ),
    _attribute(
        "groups", "The groups that the person is in.", "complex", multiValued=True, mutability="readOnly",
        subAttributes=[*_reference("Group", ["direct"], "readOnly"), _attribute("display", "The name.", mutability="readOnly")],
    ),
]  # fmt: skip
GROUP_ATTRIBUTES: Final = [
    _attribute("displayName", "The group's name.", required=True, uniqueness="server"),
    _attribute(
        "members", "The people who are in it.", "complex", multiValued=True,
        subAttributes=[
            *_reference("User", ["User"], "immutable"),
            _attribute("display", "The name. Sent where it is asked for.", mutability="readOnly", returned="request"),
        ],
    ),
]  # fmt: skip
