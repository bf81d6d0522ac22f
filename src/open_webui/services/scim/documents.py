"""Accounts and groups as resources of SCIM: what they look like, which attributes are asked for, and their versions."""

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from open_webui.errors import ScimError
from open_webui.models.directory import DirectoryGroup, DirectoryUser
from open_webui.utils.scim_filters import without_schema

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PREFIX: Final = "/api/v1/scim/v2"
# Resources of a page, and of one where nothing is said.
MAX_COUNT: Final = 200
DEFAULT_COUNT: Final = 100
# Names of attributes that one request asks for.
_MAX_NAMES: Final = 100
_ALWAYS: Final = frozenset({"schemas", "id"})
_encode = msgspec.json.encode
Document = dict[str, Any]


class Place(msgspec.Struct, frozen=True):
    """What documents depend on beside the database. base: the server's address. provider: whose externalIds are."""

    base: str
    provider: str

    def of(self, kind: str, row_id: str) -> str:
        return f"{self.base}{PREFIX}/{kind}/{row_id}"


class Shown(msgspec.Struct, frozen=True):
    """Which attributes are asked for: these only, or all but these. Names in small letters, without schemas."""

    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether an attribute is shown, so that it has to be read."""
        if self.only:
            return any(asked == name or asked.startswith(f"{name}.") for asked in self.only)
        return name not in self.without

    def names(self, name: str) -> bool:
        """Whether an attribute is asked for by its name."""
        return name in self.only

    def of(self, document: Document) -> Document:
        """What is asked for of a document; its id and schemas are always there."""
        if not self.only and not self.without:
            return document
        return {k: self._part(k.lower(), v) for k, v in document.items() if k in _ALWAYS or self.has(k.lower())}

    def _part(self, name: str, value: Any) -> Any:
        if name in self.only or name in _ALWAYS:
            return value
        if isinstance(value, list):
            return [self._part(name, one) for one in value]
        if not isinstance(value, dict):
            return value
        if self.only:
            return {k: v for k, v in value.items() if f"{name}.{k.lower()}" in self.only}
        return {k: v for k, v in value.items() if f"{name}.{k.lower()}" not in self.without}


def shown(attributes: str | None, excluded: str | None) -> Shown:
    """Raises ScimError."""
    return Shown(_names(attributes), _names(excluded))


def _names(text: str | None) -> frozenset[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if len(names) > _MAX_NAMES:
        raise ScimError(f"{_MAX_NAMES} attributes can be named at most.")
    # A schema alone stands for all that it has, which is everything here.
    return frozenset(without_schema(name)[1].lower() for name in names)


def user_document(row: DirectoryUser, groups: Collection[tuple[str, str]], place: Place) -> Document:
    picture = row.picture if not row.picture.startswith("data:") else f"/api/v1/users/{row.id}/profile/image"
    document: Document = {"schemas": [USER], "id": row.id}
    if external_id := _external_id(row, place):
        document["externalId"] = external_id
    document["userName"] = row.user_name
    if row.name != {}:
        document["name"] = row.name or {"formatted": row.display_name}
    document["displayName"] = row.display_name
    document["emails"] = emails(row)
    document["active"] = row.active and row.role != "pending"
    document["photos"] = [{"value": picture, "type": "photo", "primary": True}]
    if groups:
        document["groups"] = [
            {"value": group_id, "$ref": place.of("Groups", group_id), "display": name, "type": "direct"}
            for group_id, name in groups
        ]
    return _with_meta(document, "User", row, place)


def group_document(
    row: DirectoryGroup, members: Collection[tuple[str, str]], place: Place, *, names: bool = False
) -> Document:
    """names: with those of the members, which RFC 7643 does not know (4.2): where they are asked for."""
    document: Document = {"schemas": [GROUP], "id": row.id}
    if external_id := _external_id(row, place):
        document["externalId"] = external_id
    document["displayName"] = row.display_name
    document["members"] = [
        {"value": user_id, "$ref": place.of("Users", user_id), "type": "User"} | ({"display": name} if names else {})
        for user_id, name in members
    ]
    changed = (row.version, row.updated_at, row.member_count, row.newest_member, row.display_name, external_id)
    return _with_meta(document, "Group", row, place, changed)


def emails(row: DirectoryUser) -> list[Document]:
    """As the directory sent them; the main one is the account's, whoever changed it."""
    sent = [dict(one) for one in row.emails or ()]
    if not sent:
        sent = [{"value": row.email, "type": "work", "primary": True}]
    main = main_email(sent)
    if str(main.get("value", "")).lower() != row.email:
        main["value"] = row.email
    return sent


def main_email(sent: list[Document]) -> Document:
    """The one that is the account's."""
    return next((one for one in sent if one.get("primary") is True), sent[0])


def _external_id(row: DirectoryUser | DirectoryGroup, place: Place) -> str | None:
    return row.external_id if row.provider == place.provider else None


def _with_meta(
    document: Document, kind: str, row: DirectoryUser | DirectoryGroup, place: Place, changed: Any = None
) -> Document:
    """version: of what the document says, or of what stands for it where that is long."""
    digest = hashlib.blake2b(_encode(document if changed is None else changed), digest_size=9).hexdigest()
    document["meta"] = {
        "resourceType": kind,
        "created": _time(row.created_at),
        "lastModified": _time(row.updated_at),
        "location": place.of(f"{kind}s", row.id),
        "version": f'W/"{digest}"',
    }
    return document


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def list_response(found: Collection[Document], total: int, first: int) -> Document:
    return {
        "schemas": [LIST],
        "totalResults": total,
        "itemsPerPage": len(found),
        "startIndex": first + 1,
        "Resources": list(found),
    }


def check_version(document: Mapping[str, Any], if_match: str | None) -> None:
    """Refuses a change of something that has changed meanwhile. Raises ScimError."""
    if if_match and not same_version(if_match, document["meta"]["version"]):
        raise ScimError("This has been changed meanwhile. Read it again.", "", status=412)


def same_version(header: str, version: str) -> bool:
    """Whether a header (If-Match, If-None-Match) names this version. All of ours are weak, and so compared."""
    named = [one.strip() for one in header[:2_000].split(",")]
    return "*" in named or any(one.removeprefix("W/") == version.removeprefix("W/") for one in named)
