"""Changes that a directory asks for (RFC 7644, 3.5.2), as Entra and Okta write them too: read, and applied to a document."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from open_webui.errors import ScimError
from open_webui.services.scim.documents import Document
from open_webui.utils.scim_filters import FilterProblem, Path, matches, read_path, wanted_of

Op = Literal["add", "replace", "remove"]
MAX_OPERATIONS: Final = 200
MAX_TEXT: Final = 1_000
MAX_EMAILS: Final = 10
_CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:"
_PARTS: Final = ("formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix")
NAME_PARTS: Final = {name.lower(): name for name in _PARTS}
EMAIL_PARTS: Final = {"value": "value", "display": "display", "type": "type", "primary": "primary"}
TEXTS: Final = {"username": "userName", "displayname": "displayName", "externalid": "externalId"}
READ_ONLY: Final = frozenset({"id", "meta", "groups", "photos", "schemas"})
# What the standard has and this server does not keep: directories send it unasked, so that it is passed over.
PASSED_OVER: Final = frozenset(
    {
        "title", "nickname", "profileurl", "usertype", "preferredlanguage", "locale", "timezone", "password",
        "phonenumbers", "ims", "addresses", "entitlements", "roles", "x509certificates",
    }
)  # fmt: skip


class Operation(msgspec.Struct, frozen=True):
    """path: None for an operation whose value names attributes."""

    op: Op
    path: Path | None
    value: Any = None


def operations(body: Mapping[str, Any]) -> list[Operation]:
    """The operations of a request, those without a path taken apart. Raises ScimError."""
    given = next((v for k, v in body.items() if k.lower() == "operations"), None)
    if not isinstance(given, list) or not given:
        raise ScimError("A change has 'Operations', a list of at least one.", "invalidSyntax")
    if len(given) > MAX_OPERATIONS:
        raise ScimError(f"A change has {MAX_OPERATIONS} operations at most.", "tooMany", status=413)
    return [made for one in given for made in _read(one)]


def _read(given: Any) -> Iterator[Operation]:
    fields = {str(k).lower(): v for k, v in given.items()} if isinstance(given, dict) else {}
    # Entra writes "Add" and "Replace".
    op: Any = str(fields.get("op", "")).lower()
    if op not in {"add", "replace", "remove"}:
        raise ScimError("'op' is add, replace or remove.", "invalidSyntax")
    path, value = fields.get("path"), fields.get("value")
    if op != "remove" and "value" not in fields:
        raise ScimError(f"'{op}' needs a value.")
    if isinstance(path, str) and path.strip():
        yield from _at(op, path, value)
    elif path not in (None, ""):
        raise ScimError("'path' is a text.", "invalidPath")
    elif op == "remove":
        raise ScimError("'remove' needs a path.", "noTarget")
    elif not isinstance(value, dict):
        raise ScimError("An operation without a path has an object as its value.")
    else:
        for name, part in value.items():
            yield from _named(op, str(name), part)


def _named(op: Op, name: str, value: Any) -> Iterator[Operation]:
    """An attribute in the value of an operation without a path. Its name may be a path, as Okta and Entra have it."""
    if name.lower().startswith("urn:") and isinstance(value, dict):
        if name.lower().startswith(_CORE):
            for inner, part in value.items():
                yield from _at(op, str(inner), part)
        return
    if name.lower() in {"schemas", "meta"}:
        return
    yield from _at(op, name, value)


def _at(op: Op, text: str, value: Any) -> Iterator[Operation]:
    if len(text) > MAX_TEXT:
        raise ScimError("A path is too long.", "invalidPath")
    if text.lower().startswith("urn:") and not text.lower().startswith(_CORE):
        # Of an extension, none of which is kept.
        return
    try:
        path = read_path(text)[1]
    except FilterProblem as problem:
        raise ScimError(str(problem), "invalidFilter" if "[" in text else "invalidPath") from None
    if path.attribute not in PASSED_OVER:
        yield Operation(op, path, value)


# Accounts


def user_changed(document: Document, changes: list[Operation]) -> Document:
    """The document after the changes, of which one that can't be made refuses all. Raises ScimError."""
    out = {k: v for k, v in document.items() if k.lower() not in READ_ONLY}
    out["name"] = dict(out.get("name") or {})
    out["emails"] = [dict(one) for one in out.get("emails") or ()]
    for change in changes:
        _change(out, change, document.get("id"))
    return out


def _change(out: Document, change: Operation, own_id: Any) -> None:
    path = change.path
    assert path is not None, "operations without a path are taken apart"
    name = path.attribute
    if name == "id" and change.value == own_id and change.op != "remove":
        return
    if name in READ_ONLY:
        raise ScimError(f"'{name}' can't be changed by a directory.", "mutability")
    if name == "emails":
        _change_emails(out, change, path)
    elif path.of is not None or (path.part is not None and name != "name"):
        raise ScimError(f"'{name}' has no values or parts of its own.", "invalidPath")
    elif name in TEXTS:
        _set(out, TEXTS[name], change, text)
    elif name == "active":
        _set(out, "active", change, truth)
    elif name == "name":
        _change_name(out["name"], change, path.part)
    else:
        raise ScimError(f"There is no attribute '{name[:100]}'.", "invalidPath")


def _set(out: Document, name: str, change: Operation, read: Any) -> None:
    if change.op == "remove" or change.value is None:
        if name in {"userName", "displayName"}:
            raise ScimError(f"'{name}' can't be removed.", "mutability")
        out[name] = True if name == "active" else None
    else:
        out[name] = read(change.value, name)


def _change_name(own: Document, change: Operation, part: str | None) -> None:
    if part is None:
        if change.op == "remove" or change.value is None:
            own.clear()
        else:
            own |= name_parts(change.value)
            for gone in [key for key, value in own.items() if value is None]:
                del own[gone]
        return
    if part not in NAME_PARTS:
        raise ScimError(f"'name' has no part '{part[:100]}'.", "invalidPath")
    if change.op == "remove" or change.value is None:
        own.pop(NAME_PARTS[part], None)
    else:
        own[NAME_PARTS[part]] = text(change.value, part)


def _change_emails(out: Document, change: Operation, path: Path) -> None:
    own: list[Document] = out["emails"]
    if path.part is not None and path.part not in EMAIL_PARTS:
        raise ScimError(f"'emails' has no part '{path.part[:100]}'.", "invalidPath")
    if path.of is None and path.part is None:
        out["emails"] = _emails_after(own, change)
        return
    chosen = _chosen(own, path)
    if change.op == "remove":
        out["emails"] = [one for one in own if one not in chosen or path.part is not None]
        for one in chosen if path.part is not None else ():
            one.pop(EMAIL_PARTS[path.part or ""], None)
        return
    if not chosen:
        # Entra replaces the address of a kind that isn't there yet.
        made = wanted_of(path.of) if path.of is not None else {}
        if made is None or path.part is None or not made.keys() <= EMAIL_PARTS.keys():
            raise ScimError("No address fulfils the filter.", "noTarget")
        chosen = [one_email(made)]
        own.append(chosen[0])
    given = one_email(change.value if path.part is None else {path.part: change.value})
    for one in chosen:
        one.update(given)
    if given.get("primary"):
        _only_primary(own, chosen[0])


def _chosen(own: list[Document], path: Path) -> list[Document]:
    if path.of is None:
        # A part of all addresses is a part of the one that counts.
        return [one for one in own if one.get("primary")] or own[:1]
    try:
        return [one for one in own if matches(path.of, one)]
    except FilterProblem as problem:
        raise ScimError(str(problem), "invalidFilter") from None


def _emails_after(own: list[Document], change: Operation) -> list[Document]:
    if change.value is None:
        return []
    given = email_list(change.value)
    if change.op == "remove":
        gone = {one.get("value") for one in given}
        return [one for one in own if one.get("value") not in gone]
    if change.op == "replace":
        return given
    for one in given:
        same = next((known for known in own if str(known.get("value")).lower() == str(one.get("value")).lower()), None)
        if same is None:
            own.append(one)
        else:
            same |= one
        if one.get("primary"):
            _only_primary(own, one if same is None else same)
    return own


def _only_primary(own: list[Document], chosen: Document) -> None:
    for one in own:
        if one is not chosen and one.get("primary"):
            one["primary"] = False


# Values


def text(value: Any, name: str) -> str:
    """Raises ScimError."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise ScimError(f"'{name}' is a text of {MAX_TEXT:,} characters at most.")
    if not value.isprintable():
        raise ScimError(f"'{name}' has a sign in it that can't be shown.")
    return value


def truth(value: Any, name: str) -> bool:
    """Entra writes "True" and "False". Raises ScimError."""
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ScimError(f"'{name}' is true or false.")
    return value


def name_parts(value: Any) -> Document:
    """Raises ScimError."""
    if not isinstance(value, dict):
        raise ScimError("'name' is an object.")
    known = {NAME_PARTS[k.lower()]: v for k, v in value.items() if k.lower() in NAME_PARTS}
    return {k: None if v in (None, "") else text(v, k) for k, v in known.items()}


def email_list(value: Any) -> list[Document]:
    """Raises ScimError."""
    given = value if isinstance(value, list) else [value]
    if len(given) > MAX_EMAILS:
        raise ScimError(f"An account has {MAX_EMAILS} addresses at most.")
    out = [one_email(one) for one in given]
    if sum(bool(one.get("primary")) for one in out) > 1:
        raise ScimError("One address is the primary one.")
    return out


def one_email(value: Any) -> Document:
    """Raises ScimError."""
    if not isinstance(value, dict):
        raise ScimError("An address is an object with a 'value'.")
    known = {EMAIL_PARTS[k.lower()]: v for k, v in value.items() if k.lower() in EMAIL_PARTS and v is not None}
    return {k: truth(v, k) if k == "primary" else text(v, k) for k, v in known.items()}


# Groups


class Membership(msgspec.Struct):
    """What becomes of a group's members. all_leave: those who are in it now do, but for those who join."""

    all_leave: bool = False
    join: dict[str, None] = msgspec.field(default_factory=dict)
    leave: set[str] = msgspec.field(default_factory=set)

    def add(self, ids: list[str]) -> None:
        self.join |= dict.fromkeys(ids)
        self.leave -= set(ids)

    def remove(self, ids: list[str]) -> None:
        self.leave |= set(ids)
        for one in ids:
            self.join.pop(one, None)

    def empty(self) -> None:
        self.all_leave, self.join, self.leave = True, {}, set()


class GroupChange(msgspec.Struct):
    """values: the attributes beside the members."""

    values: Document = msgspec.field(default_factory=dict)
    members: Membership = msgspec.field(default_factory=Membership)


def group_change(changes: list[Operation], own_id: str) -> GroupChange:
    """What operations make of a group; its members are not read for it. Raises ScimError."""
    out = GroupChange()
    for change in changes:
        path = change.path
        assert path is not None, "operations without a path are taken apart"
        if path.attribute == "members":
            _change_members(out.members, change, path)
        elif path.attribute == "id" and change.value == own_id and change.op != "remove":
            continue
        elif path.attribute in READ_ONLY:
            raise ScimError(f"'{path.attribute}' can't be changed by a directory.", "mutability")
        elif path.attribute not in {"displayname", "externalid"} or path.of is not None or path.part is not None:
            raise ScimError(f"A group has no '{path.attribute[:100]}'.", "invalidPath")
        else:
            _set(out.values, TEXTS[path.attribute], change, text)
    return out


def _change_members(out: Membership, change: Operation, path: Path) -> None:
    if path.part not in (None, "value"):
        raise ScimError("Of a member the id alone is kept.", "mutability")
    if path.of is not None:
        wanted = wanted_of(path.of)
        if change.op != "remove" or wanted is None or wanted.keys() != {"value"} or path.part is not None:
            raise ScimError('Members are removed by members[value eq "id"], and added by a list.', "invalidFilter")
        out.remove([str(wanted["value"])])
    elif change.op == "remove" and change.value is None:
        out.empty()
    elif change.op == "remove":
        out.remove(member_ids(change.value))
    else:
        if change.op == "replace":
            out.empty()
        out.add(member_ids(change.value))


def member_ids(value: Any) -> list[str]:
    """The ids in a list of members. Raises ScimError."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    out = []
    for one in given:
        found = one.get("value") if isinstance(one, dict) else one
        if not isinstance(found, str) or not 0 < len(found) <= MAX_TEXT:
            raise ScimError("A member is an object with a 'value', the id of an account.")
        if isinstance(one, dict) and str(one.get("type") or "User").lower() != "user":
            raise ScimError("Members are people; groups in groups are not known here.")
        out.append(found)
    return out
