"""The workspace of models: making, changing, sharing and moving them, with every rule on who may."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.connections.profiles import listed_meta, row_wire
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError
from open_webui.models import file_uses, models, versions
from open_webui.models.models import Model
from open_webui.models.repository import Query
from open_webui.principal import Principal
from open_webui.schemas.models import ModelForm
from open_webui.services import affect, attached, outgoing
from open_webui.services import versions as history
from open_webui.services.deps import Deps
from open_webui.services.files import check_picture

KIND: Final = "model"
TAKEN: Final = "This model id is taken. Choose another one."
BAD_BASE: Final = "A model can't be made of itself."
NO_OVERRIDE: Final = "Only administrators may change what connections offer. Choose a base model for yours."
NO_BASE: Final = "The base model was not found."
TOO_BIG: Final = "The model can't be stored: {}."
Wire = dict[str, Any]


def wire(row: Model, principal: Principal) -> Wire:
    """One row for one person: parameters hold the system prompt and are for those who may change it."""
    return row_wire(row, params=row.may(principal, "write"))


# Reading


async def listed(deps: Deps, principal: Principal, query: Query, tag: str | None) -> Wire:
    """The custom models that the caller may read, a page of them."""
    async with deps.database.read() as connection:
        page = await models.page(connection, principal, query, tag)
    shown = []
    for row in page.items:
        more = {"meta": listed_meta(row.meta), "user": page.owners.get(row.user_id)}
        shown.append(wire(row, principal) | more | {"write_access": row.may(principal, "write")})
    return {"items": shown, "total": page.total}


async def tags(deps: Deps, principal: Principal) -> list[str]:
    """The names of the tags on the custom models that the caller may read."""
    async with deps.database.read() as connection:
        return await models.tags(connection, principal)


async def override_tags(deps: Deps) -> list[str]:
    """The names of the tags on the rows about connections' own models."""
    async with deps.database.read() as connection:
        return await models.tags(connection, None)


async def get(deps: Deps, principal: Principal, model_id: str) -> Wire:
    async with deps.database.read() as connection:
        row = await models.repository.get(connection, model_id)
    if row is None:
        raise NotFound
    if not row.may(principal, "read"):
        raise Forbidden
    return wire(row, principal) | {"user": None, "write_access": row.may(principal, "write")}


async def check_readable(deps: Deps, principal: Principal, model_id: str) -> None:
    """Raises NotFound or Forbidden."""
    await get(deps, principal, model_id)


async def every(deps: Deps) -> list[Wire]:
    """All rows, for admins."""
    async with deps.database.read() as connection:
        return [row_wire(row, params=True) for row in await models.repository.all(connection)]


async def overrides(deps: Deps) -> list[Model]:
    async with deps.database.read() as connection:
        return await models.overrides(connection)


def picture(deps: Deps, principal: Principal, model_id: str) -> str | None:
    """The address of a model's own picture; None where there is none that the caller may see."""
    snapshot = deps.catalogue.snapshot
    row = snapshot.rows.get(model_id)
    url = row.meta.get("profile_image_url") if row is not None and row.may(principal, "read") else None
    return url if isinstance(url, str) else None


async def exported(deps: Deps, principal: Principal, ids: Sequence[str] | None) -> list[Wire]:
    """The custom models that the caller may change, whole, with their pictures."""
    async with deps.database.read() as connection:
        rows = await models.accessible(connection, principal, "write")
    wanted = None if ids is None else set(ids)
    return [
        await _with_pictures(deps, row) | {"background_image_data": None}
        for row in sorted(rows, key=lambda row: (-row.updated_at, row.id))
        if wanted is None or row.id in wanted
    ]


async def _with_pictures(deps: Deps, row: Model) -> Wire:
    item = row_wire(row, params=True)
    found = await outgoing.used_by_model(deps, row.id)
    return item if not found else await outgoing.value_with_pictures(deps, found, item)


# Writing


async def create(deps: Deps, principal: Principal, form: ModelForm) -> Wire:
    """A new model. Grants that the caller may not give are left out."""
    values = _values(form)
    _check_base(deps, principal, form)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _insert(unit.connection, principal, form, values)
    return wire(row, principal)


async def _insert(
    connection: AsyncConnection, principal: Principal, form: ModelForm, values: Mapping[str, Any]
) -> Model:
    if await models.repository.create(connection, principal.id, values, row_id=form.id) is None:
        raise OuiError(TAKEN, status=401)
    version_id = await history.record(
        connection, KIND, form.id, _snapshot(values), user_id=principal.id, message=form.commit_message
    )
    await models.repository.change(connection, form.id, {"version_id": version_id})
    await attached.check(connection, principal, form.meta.knowledge)
    await attached.check_tools(connection, principal, values["meta"].get("toolIds"))
    await file_uses.link(connection, "model_id", form.id, principal.id, values, new=True)
    await check_picture(connection, "model_id", form.id, form.meta.profile_image_url, known=False)
    await models.repository.set_grants(connection, principal, form.id, form.access_grants or [], strict=False)
    return await _changed(connection, form.id)


def _snapshot(values: Mapping[str, Any]) -> Wire:
    """What a version of a model holds."""
    return {name: values[name] for name in ("name", "base_model_id", "params", "meta")}


async def update(deps: Deps, principal: Principal, form: ModelForm) -> Wire:
    """Replaces a model. Grants that stand may stay; of new ones, those that the caller may give are added."""
    values = _values(form)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _writable(unit.connection, principal, form.id)
        await _change(deps, unit.connection, principal, row, form, values)
        row = await _changed(unit.connection, form.id)
    return wire(row, principal)


async def _change(
    deps: Deps,
    connection: AsyncConnection,
    principal: Principal,
    row: Model,
    form: ModelForm,
    values: Mapping[str, Any],
) -> None:
    """A new version of a model."""
    before = {name: getattr(row, name) for name in ("name", "base_model_id", "params", "meta")}
    version_id = await history.record(
        connection, KIND, row.id, _snapshot(values), user_id=principal.id, current=row.version_id, before=before,
        message=form.commit_message,
    )  # fmt: skip
    await _replace(deps, connection, principal, row, form, {**values, "version_id": version_id})


async def _replace(
    deps: Deps,
    connection: AsyncConnection,
    principal: Principal,
    row: Model,
    form: ModelForm,
    values: Mapping[str, Any],
) -> None:
    if form.base_model_id != row.base_model_id:
        _check_base(deps, principal, form)
    await attached.check(connection, principal, form.meta.knowledge, row.meta.get("knowledge"))
    await attached.check_tools(connection, principal, values["meta"].get("toolIds"), row.meta.get("toolIds"))
    await models.repository.change(connection, row.id, values)
    # Pictures of earlier versions stay, too.
    kept = await versions.snapshots(connection, KIND, row.id)
    await file_uses.link(connection, "model_id", row.id, principal.id, [_snapshot(values), *kept])
    await check_picture(connection, "model_id", row.id, form.meta.profile_image_url, known=False)
    if form.access_grants is not None:
        await models.repository.set_grants(connection, principal, row.id, form.access_grants, strict=False)


async def toggle(deps: Deps, principal: Principal, model_id: str) -> Wire:
    """Switches a model off or on; it stays the version that it is."""
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _writable(unit.connection, principal, model_id)
        await models.repository.change(unit.connection, model_id, {"is_active": not row.is_active})
        row = await _changed(unit.connection, model_id)
    return wire(row, principal)


async def set_access(deps: Deps, principal: Principal, model_id: str, given: Sequence[Mapping[str, Any]]) -> Wire:
    """Replaces the grants on a model. Raises Forbidden (403) when a new one is not the caller's to give."""
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        await _writable(unit.connection, principal, model_id)
        await models.repository.set_grants(unit.connection, principal, model_id, given, strict=True)
        row = await _changed(unit.connection, model_id)
    return wire(row, principal)


# Its history


async def versions_of(deps: Deps, principal: Principal, model_id: str, page: int) -> list[Wire]:
    """The versions of a model, the newest first, for those who may use it. What is in one is not among it."""
    await check_readable(deps, principal, model_id)
    async with deps.database.read() as connection:
        return await history.page(connection, KIND, model_id, page)


async def version(deps: Deps, principal: Principal, model_id: str, version_id: str) -> Wire:
    """A version, whole: its system prompt is for those who may change the model."""
    async with deps.database.read() as connection:
        await models.repository.require(connection, principal, model_id, "write")
        return await history.entry(connection, KIND, model_id, version_id)


async def remove_version(deps: Deps, principal: Principal, model_id: str, version_id: str) -> bool:
    """Removes a version that is not in use."""
    async with deps.database.write() as unit:
        row = await _writable(unit.connection, principal, model_id)
        return await history.remove(unit.connection, KIND, model_id, version_id, row.version_id)


async def set_version(deps: Deps, principal: Principal, model_id: str, version_id: str) -> Wire:
    """Brings a version back. What it names, the caller must be allowed to name now."""
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _writable(unit.connection, principal, model_id)
        wanted = await history.require(unit.connection, KIND, model_id, version_id)
        form = _parsed(1, wanted.snapshot | {"id": model_id, "is_active": row.is_active})
        await _replace(deps, unit.connection, principal, row, form, _values(form) | {"version_id": version_id})
        row = await _changed(unit.connection, model_id)
    return wire(row, principal)


async def delete(deps: Deps, principal: Principal, model_id: str) -> bool:
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        await _writable(unit.connection, principal, model_id)
        await models.repository.delete(unit.connection, [model_id])
    return True


async def delete_all(deps: Deps) -> bool:
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        await models.repository.delete_all(unit.connection)
    return True


async def import_models(deps: Deps, principal: Principal, documents: Sequence[Mapping[str, Any]]) -> bool:
    """Makes or replaces models as they were exported: all or none. Owner and dates are not taken over."""
    forms = [_parsed(number, document) for number, document in enumerate(documents, 1)]
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        # In the order of their ids, so that two imports of the same models don't wait for each other.
        for form in sorted(forms, key=lambda form: form.id):
            values = _values(form)
            row = await models.repository.get(unit.connection, form.id, lock=True)
            if row is None:
                _check_base(deps, principal, form, new=False)
                await _insert(unit.connection, principal, form, values)
            elif row.may(principal, "write"):
                await _change(deps, unit.connection, principal, row, form, values)
            else:
                raise Forbidden
    return True


async def sync(deps: Deps, principal: Principal, documents: Sequence[Mapping[str, Any]]) -> list[Wire]:
    """Makes the models those of this list, for an administrator: they are made or replaced, and the others are removed; all
    of that or nothing. An empty list changes nothing: one that was lost on its way must not take everything along.
    """
    forms = {form.id: form for form in (_parsed(number, document) for number, document in enumerate(documents, 1))}
    if not forms:
        return await every(deps)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        stored = {row.id for row in await models.repository.all(unit.connection)}
        # In the order of their ids, so that two of these don't wait for each other.
        for model_id in sorted(stored | forms.keys()):
            row = await models.repository.get(unit.connection, model_id, lock=True)
            form = forms.get(model_id)
            if form is None:
                await models.repository.delete(unit.connection, [model_id])
            elif row is None:
                _check_base(deps, principal, form, new=False)
                await _insert(unit.connection, principal, form, _values(form))
            else:
                await _change(deps, unit.connection, principal, row, form, _values(form))
    return await every(deps)


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


def _check_base(deps: Deps, principal: Principal, form: ModelForm, *, new: bool = True) -> None:
    """The base model must be one that the caller may use: naming it is using it. Raises an OuiError.

    new: the base must be there now; an import may bring both in any order, by an admin.
    """
    if form.base_model_id is None:
        if not principal.is_admin:
            raise Forbidden(NO_OVERRIDE)
        return
    if form.base_model_id == form.id:
        raise BadRequest(BAD_BASE)
    if form.id in deps.catalogue.snapshot.entries:
        # It would take the place of a connection's model.
        raise OuiError(TAKEN, status=401)
    if principal.is_admin:
        return
    found = deps.catalogue.snapshot.find(form.base_model_id)
    if found is None or not deps.catalogue.may_use(principal, found):
        raise BadRequest(NO_BASE if new else f"{NO_BASE} ({form.id})")


async def _writable(connection: AsyncConnection, principal: Principal, model_id: str) -> Model:
    return await models.repository.require(connection, principal, model_id, "write", missing=401, lock=True)


async def _changed(connection: AsyncConnection, model_id: str) -> Model:
    row = await models.repository.get(connection, model_id)
    if row is None:
        raise NotFound
    return row


def check_permission(principal: Principal, *paths: str) -> None:
    """Raises the bare marker that pages know when none of the permissions is granted."""
    if not any(principal.may(path) for path in paths):
        raise Forbidden(constants.UNAUTHORIZED)
