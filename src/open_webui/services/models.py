"""The workspace of models: making, changing, sharing and moving them, with every rule on who may."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.profiles import listed_meta, row_wire
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError
from open_webui.internal.db import Database
from open_webui.models import groups, models, users
from open_webui.models.models import GrantTriple, Model
from open_webui.principal import Principal
from open_webui.schemas.models import ModelForm
from open_webui.services import affect, sharing
from open_webui.utils.pictures import from_data_url

PER_PAGE: Final = 30
TAKEN: Final = "This model id is taken. Choose another one."
BAD_BASE: Final = "A model can't be made of itself."
NO_OVERRIDE: Final = "Only administrators may change what connections offer. Choose a base model for yours."
NO_BASE: Final = "The base model was not found."
TOO_BIG: Final = "The model can't be stored: {}."
Wire = dict[str, Any]


class Floor(Protocol):
    """The part of the state that this needs."""

    database: Database
    catalogue: Catalogue


def wire(row: Model, principal: Principal) -> Wire:
    """One row for one person: parameters hold the system prompt and are for those who may change it."""
    return row_wire(row, params=row.may(principal, "write"))


# Reading


async def listed(floor: Floor, principal: Principal, filters: Mapping[str, Any], page: int) -> Wire:
    """The custom models that the caller may read, a page of them."""
    async with floor.database.read() as connection:
        rows = _filtered(await models.accessible(connection, principal, "read"), principal, filters)
        shown = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
        owners = {u.id: u for u in await users.get_many(connection, {row.user_id for row in shown})}
    items = []
    for row in shown:
        owner = owners.get(row.user_id)
        person = {"id": owner.id, "name": owner.name, "role": owner.role, "email": owner.email} if owner else None
        item = wire(row, principal)
        item |= {"meta": listed_meta(row.meta), "user": person, "write_access": row.may(principal, "write")}
        items.append(item)
    return {"items": items, "total": len(rows)}


def _filtered(rows: list[Model], principal: Principal, filters: Mapping[str, Any]) -> list[Model]:
    text = (filters.get("query") or "").casefold()
    tag, view = filters.get("tag"), filters.get("view_option")
    out = [
        row
        for row in rows
        if (not text or text in row.name.casefold() or text in row.id.casefold())
        and (not tag or tag in tags_of([row]))
        and (view != "created" or row.user_id == principal.id)
        and (view != "shared" or row.user_id != principal.id)
    ]
    order, descending = filters.get("order_by"), filters.get("direction") != "asc"
    if order == "name":
        out.sort(key=lambda row: row.name.casefold(), reverse=filters.get("direction") == "desc")
    elif order in {"created_at", "updated_at"}:
        out.sort(key=lambda row: row.created_at if order == "created_at" else row.updated_at, reverse=descending)
    return out


def tags_of(rows: Sequence[Model]) -> list[str]:
    """The names of the tags on some models, sorted."""
    found = set()
    for row in rows:
        tags = row.meta.get("tags")
        for tag in tags if isinstance(tags, list) else ():
            name = tag.get("name") if isinstance(tag, dict) else tag
            if isinstance(name, str) and name:
                found.add(name)
    return sorted(found)


async def tags(floor: Floor, principal: Principal) -> list[str]:
    async with floor.database.read() as connection:
        return tags_of(await models.accessible(connection, principal, "read"))


async def get(floor: Floor, principal: Principal, model_id: str) -> Wire:
    async with floor.database.read() as connection:
        row = await models.get(connection, model_id)
    if row is None:
        raise NotFound
    if not row.may(principal, "read"):
        raise Forbidden
    return wire(row, principal) | {"user": None, "write_access": row.may(principal, "write")}


async def check_readable(floor: Floor, principal: Principal, model_id: str) -> None:
    """Raises NotFound or Forbidden."""
    await get(floor, principal, model_id)


async def every(floor: Floor) -> list[Wire]:
    """All rows, for admins."""
    async with floor.database.read() as connection:
        return [row_wire(row, params=True) for row in await models.all_models(connection)]


async def overrides(floor: Floor) -> list[Model]:
    async with floor.database.read() as connection:
        return await models.overrides(connection)


def picture(floor: Floor, principal: Principal, model_id: str) -> tuple[bytes, str] | None:
    """A model's own picture and its media type; None where there is none that the caller may see."""
    snapshot = floor.catalogue.snapshot
    row = snapshot.rows.get(model_id)
    if row is None or not row.may(principal, "read"):
        return None
    url = row.meta.get("profile_image_url")
    return from_data_url(url) if isinstance(url, str) else None


async def exported(floor: Floor, principal: Principal, ids: Sequence[str] | None) -> list[Wire]:
    """The custom models that the caller may change, whole."""
    async with floor.database.read() as connection:
        rows = await models.accessible(connection, principal, "write")
    wanted = None if ids is None else set(ids)
    return [
        row_wire(row, params=True) | {"background_image_data": None}
        for row in rows
        if wanted is None or row.id in wanted
    ]


# Writing


async def create(floor: Floor, principal: Principal, form: ModelForm) -> Wire:
    """A new model. Grants that the caller may not give are left out."""
    values = _values(form)
    _check_base(floor, principal, form)
    async with floor.database.write() as unit:
        given = await _givable(unit.connection, principal, form.access_grants or [])
        if not await models.insert(unit.connection, principal.id, form.id, values):
            raise OuiError(TAKEN, status=401)
        await models.set_grants(unit.connection, form.id, given)
        row = await _changed(unit.connection, form.id)
    await floor.catalogue.reload()
    return wire(row, principal)


async def update(floor: Floor, principal: Principal, form: ModelForm) -> Wire:
    """Replaces a model. Grants that stand may stay; of new ones, those that the caller may give are added."""
    values = _values(form)
    async with floor.database.write() as unit:
        row = await _writable(unit.connection, principal, form.id)
        await _replace(floor, unit.connection, principal, row, form, values)
        row = await _changed(unit.connection, form.id)
    await floor.catalogue.reload()
    return wire(row, principal)


async def _replace(
    floor: Floor,
    connection: AsyncConnection,
    principal: Principal,
    row: Model,
    form: ModelForm,
    values: Mapping[str, Any],
) -> None:
    if form.base_model_id != row.base_model_id:
        _check_base(floor, principal, form)
    await models.update(connection, row.id, values)
    if form.access_grants is not None:
        kept = {(g.principal_type, g.principal_id, g.permission) for g in row.access_grants}
        given = await _givable(connection, principal, form.access_grants, kept)
        await models.set_grants(connection, row.id, given)


async def toggle(floor: Floor, principal: Principal, model_id: str) -> Wire:
    async with floor.database.write() as unit:
        row = await _writable(unit.connection, principal, model_id)
        await models.update(unit.connection, model_id, {"is_active": not row.is_active}, version=False)
        row = await _changed(unit.connection, model_id)
    await floor.catalogue.reload()
    return wire(row, principal)


async def set_access(floor: Floor, principal: Principal, model_id: str, grants: Sequence[Mapping[str, Any]]) -> Wire:
    """Replaces the grants on a model. Raises Forbidden (403) when a new one is not the caller's to give."""
    async with floor.database.write() as unit:
        row = await _writable(unit.connection, principal, model_id)
        kept = {(g.principal_type, g.principal_id, g.permission) for g in row.access_grants}
        given = await _givable(unit.connection, principal, grants, kept, strict=True)
        await models.set_grants(unit.connection, model_id, given)
        row = await _changed(unit.connection, model_id)
    await floor.catalogue.reload()
    return wire(row, principal)


async def delete(floor: Floor, principal: Principal, model_id: str) -> bool:
    async with floor.database.write() as unit:
        await _writable(unit.connection, principal, model_id, missing=401)
        await models.delete(unit.connection, [model_id])
    await floor.catalogue.reload()
    return True


async def delete_all(floor: Floor) -> bool:
    async with floor.database.write() as unit:
        await models.delete_all(unit.connection)
    await floor.catalogue.reload()
    return True


async def import_models(floor: Floor, principal: Principal, documents: Sequence[Mapping[str, Any]]) -> bool:
    """Makes or replaces models as they were exported: all or none. Owner and dates are not taken over."""
    forms = [_parsed(number, document) for number, document in enumerate(documents, 1)]
    async with floor.database.write() as unit:
        for form in forms:
            values = _values(form)
            row = await models.get(unit.connection, form.id, lock=True)
            if row is not None:
                if not row.may(principal, "write"):
                    raise Forbidden
                await _replace(floor, unit.connection, principal, row, form, values)
                continue
            _check_base(floor, principal, form, new=False)
            await models.insert(unit.connection, principal.id, form.id, values)
            given = await _givable(unit.connection, principal, form.access_grants or [])
            await models.set_grants(unit.connection, form.id, given)
    await floor.catalogue.reload()
    return True


def _parsed(number: int, document: Mapping[str, Any]) -> ModelForm:
    try:
        return ModelForm.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadRequest(f"Model {number} can't be imported: {place}: {problem['msg']}.") from None


def _values(form: ModelForm) -> dict[str, Any]:
    try:
        values = form.values()
    except ValueError as error:
        raise BadRequest(TOO_BIG.format(error)) from None
    affect.check_model(values["meta"])
    return values


def _check_base(floor: Floor, principal: Principal, form: ModelForm, *, new: bool = True) -> None:
    """The base model must be one that the caller may use: naming it is using it. Raises an OuiError.

    new: the base must be there now; an import may bring both in any order, by an admin.
    """
    if form.base_model_id is None:
        if not principal.is_admin:
            raise Forbidden(NO_OVERRIDE)
        return
    if form.base_model_id == form.id:
        raise BadRequest(BAD_BASE)
    if form.id in floor.catalogue.snapshot.entries:
        # It would take the place of a connection's model.
        raise OuiError(TAKEN, status=401)
    if principal.is_admin:
        return
    found = floor.catalogue.snapshot.find(form.base_model_id)
    if found is None or not floor.catalogue.may_use(principal, found):
        raise BadRequest(NO_BASE if new else f"{NO_BASE} ({form.id})")


async def _writable(connection: AsyncConnection, principal: Principal, model_id: str, *, missing: int = 401) -> Model:
    row = await models.get(connection, model_id, lock=True)
    if row is None:
        raise NotFound(status=missing)
    if not row.may(principal, "write"):
        # Nothing tells a model that isn't there from one that is somebody else's.
        raise Forbidden if row.may(principal, "read") else NotFound(status=missing)
    return row


async def _changed(connection: AsyncConnection, model_id: str) -> Model:
    row = await models.get(connection, model_id)
    if row is None:
        raise NotFound
    return row


async def _givable(
    connection: AsyncConnection,
    principal: Principal,
    grants: Sequence[Mapping[str, Any]],
    kept: set[GrantTriple] | frozenset[GrantTriple] = frozenset(),
    *,
    strict: bool = False,
) -> list[GrantTriple]:
    """The grants that may be set: those that stand already, and those that the caller may give.

    strict: raises Forbidden (403) for another, which is left out otherwise. Raises BadRequest for what is no grant.
    """
    out = []
    for grant in grants:
        triple: GrantTriple = tuple(str(grant.get(k)) for k in ("principal_type", "principal_id", "permission"))  # type: ignore[assignment]
        if triple not in kept:
            try:
                (triple,) = sharing.checked(principal, [grant], public="sharing.public_models", anyone=None)
                await _check_audience(connection, principal, triple)
            except Forbidden:
                if strict:
                    raise
                continue
        out.append(triple)
    return out


async def _check_audience(connection: AsyncConnection, principal: Principal, grant: GrantTriple) -> None:
    """Raises Forbidden (403) when the caller may not share models, or not with this group."""
    if principal.is_admin:
        return
    kind, who, _ = grant
    allowed = who == "*" or principal.may("sharing.models")
    if allowed and kind == "group":
        group = await groups.get(connection, who)
        allowed = group is not None and (group.share is True or (group.share == "members" and who in principal.groups))
    if not allowed:
        raise Forbidden(sharing.REFUSED, status=403)


def check_permission(principal: Principal, *paths: str) -> None:
    """Raises the bare marker that pages know when none of the permissions is granted."""
    if not any(principal.may(path) for path in paths):
        raise Forbidden(constants.UNAUTHORIZED)
