"""Accounts, as a directory makes, changes and removes them. It makes no administrators, and leaves at least one."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, ScimError
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import directory, identities, provider_sessions, users
from open_webui.models.base import new_id
from open_webui.models.directory import DirectoryUser, Wanted
from open_webui.models.users import DEFAULT_IMAGE
from open_webui.services import accounts
from open_webui.services.oauth.logout import end_all
from open_webui.services.scim import patching
from open_webui.services.scim.deps import ScimDeps, storable, unlike
from open_webui.services.scim.documents import USER, Document, Place, Shown, check_version, main_email, user_document
from open_webui.utils.emails import is_email

log = get_logger(__name__)
NO_USER: Final = "There is no such account."
FIRST: Final = "This server has no administrator yet. Make that account on the server itself first."
PROTECTED: Final = "The first administrator's account is changed on the server itself only."
LAST: Final = "This is the only administrator who can sign in. Make another one first."
TAKEN: Final = "Another account has this userName, address or externalId."
MAX_PASSWORD: Final = 1_000


class Person(msgspec.Struct, frozen=True):
    """What an account is to be, checked and complete."""

    display_name: str
    email: str
    user_name: str
    external_id: str | None
    name: dict[str, Any] | None
    emails: list[dict[str, Any]]
    active: bool


async def page(deps: ScimDeps, place: Place, wanted: Wanted, shown: Shown) -> tuple[list[Document], int]:
    """Raises FilterProblem."""
    async with deps.database.read() as connection:
        rows, total = await directory.page_of_users(connection, place.provider, wanted)
        groups = await directory.groups_of(connection, [row.id for row in rows]) if rows else {}
    return [shown.of(user_document(row, groups.get(row.id, ()), place)) for row in rows], total


async def get(deps: ScimDeps, place: Place, user_id: str) -> Document:
    """Raises ScimError."""
    async with deps.database.read() as connection:
        return (await _found(connection, place, user_id))[1]


async def create(deps: ScimDeps, place: Place, body: Mapping[str, Any]) -> Document:
    """A new account, which may sign in if it is active: whom the directory names has been let in. Raises ScimError."""
    given = _given(body)
    person = _person(given | {"active": given.get("active", True)}, None)
    password = next((v for k, v in body.items() if k.lower() == "password"), None)
    password_hash = await deps.passwords.hash(_password(password)) if password is not None else None
    user_id = new_id()
    values = {
        "id": user_id,
        "name": person.display_name,
        "email": person.email,
        "role": "user",
        "profile_image_url": DEFAULT_IMAGE,
    }
    async with deps.database.write() as unit:
        if await users.primary_admin(unit.connection) is None:
            raise ScimError(FIRST, "", status=403)
        await _check_free(unit, person, "")
        try:
            await accounts.insert(unit, values, password_hash)
        except BadRequest:
            raise ScimError(TAKEN, "uniqueness", status=409) from None
        await accounts.join_default_group(deps, unit, user_id)
        if not person.active:
            await accounts.switch(deps, unit, user_id, on=False)
        await _keep(deps, unit, place, user_id, person, None)
        made = (await _found(unit.connection, place, user_id))[1]
    log.info("a directory made an account", user_id=user_id)
    return made


async def replace(
    deps: ScimDeps, place: Place, user_id: str, body: Mapping[str, Any], if_match: str | None
) -> Document:
    """Raises ScimError."""
    given = _given(body)

    def whole(before: Document) -> Document:
        # What is required stays where it isn't sent; the rest goes.
        stay = {k: before[k] for k in ("userName", "displayName", "emails", "active")}
        return stay | {k: v for k, v in given.items() if v is not None}

    return await _change(deps, place, user_id, whole, if_match)


async def patch(deps: ScimDeps, place: Place, user_id: str, body: Mapping[str, Any], if_match: str | None) -> Document:
    """Raises ScimError."""
    changes = patching.operations(body)
    return await _change(deps, place, user_id, lambda before: patching.user_changed(before, changes), if_match)


async def delete(deps: ScimDeps, place: Place, user_id: str, if_match: str | None) -> None:
    """As an administrator removes an account. Raises ScimError."""
    async with deps.database.write() as unit:
        primary = await users.primary_admin(unit.connection)
        await users.lock(unit.connection, [user_id, *([primary.id] if primary is not None else [])])
        row, document = await _found(unit.connection, place, user_id)
        check_version(document, if_match)
        if primary is None or primary.id == user_id:
            raise ScimError(PROTECTED, "", status=403)
        await _check_not_last(unit, row)
        await accounts.remove(deps, unit, user_id, heir=primary.id)
    await deps.running.stop_user(user_id)
    await deps.running.stop_gone()
    log.info("a directory removed an account", user_id=user_id)


async def _change(deps: ScimDeps, place: Place, user_id: str, change: Any, if_match: str | None) -> Document:
    async with deps.database.write() as unit:
        if await users.get(unit.connection, user_id, lock=True) is None:
            raise ScimError(NO_USER, "", status=404)
        row, before = await _found(unit.connection, place, user_id)
        check_version(before, if_match)
        person = _person(change(before), row)
        if _same(person, before):
            return before
        primary = await users.primary_admin(unit.connection)
        if primary is not None and primary.id == user_id:
            raise ScimError(PROTECTED, "", status=403)
        await _check_free(unit, person, user_id)
        await _store(deps, unit, row, person, was_active=before["active"])
        await _keep(deps, unit, place, user_id, person, row)
        unit.after_commit(partial(deps.identifier.forget, user_id))
        after = (await _found(unit.connection, place, user_id))[1]
    if before["active"] and not person.active:
        await deps.running.stop_user(user_id)
    return after


async def _found(connection: AsyncConnection, place: Place, user_id: str) -> tuple[DirectoryUser, Document]:
    row = await directory.get_user(connection, user_id)
    if row is None:
        raise ScimError(NO_USER, "", status=404)
    groups = await directory.groups_of(connection, [user_id])
    return row, user_document(row, groups.get(user_id, ()), place)


async def _check_not_last(unit: UnitOfWork, row: DirectoryUser) -> None:
    if row.role == "admin" and not await directory.other_admins(unit.connection, row.id):
        raise ScimError(LAST, "", status=403)


async def _check_free(unit: UnitOfWork, person: Person, user_id: str) -> None:
    by_email = await users.get_by_email(unit.connection, person.email)
    taken = by_email is not None and by_email.id != user_id
    if taken or await directory.user_name_taken(unit.connection, person.user_name, but=user_id):
        raise ScimError(TAKEN, "uniqueness", status=409)


async def _store(deps: ScimDeps, unit: UnitOfWork, row: DirectoryUser, person: Person, *, was_active: bool) -> None:
    """What the account itself has."""
    values = unlike(
        {"name": person.display_name, "email": person.email}, {"name": row.display_name, "email": row.email}
    )
    if person.active and not was_active and row.role == "pending":
        values["role"] = "user"
    if was_active and not person.active:
        await _check_not_last(unit, row)
    if was_active is not person.active:
        await accounts.switch(deps, unit, row.id, on=person.active)
    if values:
        try:
            await users.update(unit.connection, row.id, values)
        except BadRequest:
            raise ScimError(TAKEN, "uniqueness", status=409) from None


async def _keep(
    deps: ScimDeps, unit: UnitOfWork, place: Place, user_id: str, person: Person, row: DirectoryUser | None
) -> None:
    """What only the directory says of it."""
    main = main_email(person.emails)
    others = [one for one in person.emails if one is not main]
    lines = [(str(one.get("type", "")).lower(), str(one["value"]).lower()) for one in others]
    values = {
        "provider": place.provider,
        "external_id": person.external_id,
        "user_name": person.user_name,
        "user_name_key": person.user_name.lower(),
        "name": person.name,
        "emails": person.emails,
        "email_kind": str(main.get("type", "")).lower(),
        "email_values": "\n" + "".join(f"{value}\n" for _, value in lines),
        "email_kinds": "\n" + "".join(f"{kind}\t{value}\n" for kind, value in lines),
    }
    if not await directory.keep_user(unit.connection, user_id, values):
        raise ScimError(TAKEN, "uniqueness", status=409)
    before = row.external_id if row is not None and row.provider == place.provider else None
    if place.provider and person.external_id != before:
        await _tie(
            deps, unit, place.provider, user_id, person, before, is_admin=row is not None and row.role == "admin"
        )


async def _tie(
    deps: ScimDeps, unit: UnitOfWork, provider: str, user_id: str, person: Person, before: str | None, *, is_admin: bool
) -> None:
    """Who signs in by the provider under this id is this account. Administrators link theirs themselves."""
    old = await identities.find(unit.connection, provider, before) if before is not None else None
    if old is not None and old.user_id == user_id:
        await end_all(deps, unit, await provider_sessions.of_identity(unit.connection, old.id))
        await identities.remove(unit.connection, user_id, old.id)
    if person.external_id is None:
        return
    known = await identities.find(unit.connection, provider, person.external_id)
    if known is not None and known.user_id != user_id:
        raise ScimError(TAKEN, "uniqueness", status=409)
    if known is not None or is_admin:
        return
    if not await identities.add(unit.connection, user_id, provider, person.external_id, person.email):
        raise ScimError(TAKEN, "uniqueness", status=409)


# What is sent


def _given(body: Mapping[str, Any]) -> Document:
    """The attributes of a body that are kept, each checked. Others are passed over."""
    known = {k.lower(): v for k, v in storable(body).items()}
    said = known.get("schemas")
    if said is not None and (not isinstance(said, list) or USER.lower() not in [str(one).lower() for one in said]):
        raise ScimError(f"'schemas' names {USER}.", "invalidSyntax")
    out: Document = {
        name: patching.text(known[key], name) if known[key] is not None else None
        for key, name in patching.TEXTS.items()
        if key in known and known[key] != ""
    }
    if known.get("name") is not None:
        out["name"] = {k: v for k, v in patching.name_parts(known["name"]).items() if v is not None}
    if known.get("emails") is not None:
        out["emails"] = patching.email_list(known["emails"])
    if known.get("active") is not None:
        out["active"] = patching.truth(known["active"], "active")
    return out


def _password(given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= MAX_PASSWORD:
        raise ScimError(f"'password' is a text of {MAX_PASSWORD:,} characters at most.")
    return given


def _person(document: Document, row: DirectoryUser | None) -> Person:
    """Raises ScimError."""
    user_name = document.get("userName")
    if not user_name:
        raise ScimError("An account needs a userName.")
    name = document.get("name")
    display_name = document.get("displayName") or _spoken(name or {}) or user_name
    sent = [dict(one) for one in document.get("emails") or ()]
    if not sent and row is not None:
        sent = [{"value": row.email, "type": "work", "primary": True}]
    if not sent and is_email(user_name):
        sent = [{"value": user_name, "type": "work", "primary": True}]
    if not sent or not all(isinstance(one.get("value"), str) for one in sent):
        raise ScimError("An account needs an address: 'emails' with a 'value'.")
    main = main_email(sent)
    main.setdefault("primary", True)
    email = str(main["value"]).lower()
    if not is_email(email) or len(email) > patching.MAX_TEXT or not all(is_email(str(one["value"])) for one in sent):
        raise ScimError("'emails' has an address that mail can't go to.")
    return Person(
        display_name, email, user_name, document.get("externalId") or None, name, sent, document.get("active", True)
    )


def _spoken(name: Document) -> str:
    return str(name.get("formatted") or " ".join(name[k] for k in ("givenName", "familyName") if name.get(k)))


def _same(person: Person, before: Document) -> bool:
    """Whether an account is like this already."""
    now = (
        before["displayName"], before["userName"], before.get("externalId"), before.get("name") or {}, before["emails"],
        before["active"],
    )  # fmt: skip
    return now == (
        person.display_name, person.user_name, person.external_id, person.name or {}, person.emails, person.active
    )  # fmt: skip
