"""Apps themselves: shown, made, changed, connected and removed."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pydantic

from open_webui.errors import BadRequest, Conflict, Forbidden, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import apps
from open_webui.models.apps import App
from open_webui.models.base import new_id
from open_webui.principal import Principal
from open_webui.schemas.apps import AppConnectionForm, AppForm, AppManifestForm, AppUpdateForm, Manifest
from open_webui.services import webhook_calls
from open_webui.services.apps import calls
from open_webui.services.apps.calls import Failed, Target
from open_webui.services.deps import Deps

Wire = dict[str, Any]
MOST: Final = 100
UNKNOWN: Final = "App not found"
OFF: Final = "Apps are switched off on this server. An administrator can switch them on."
NO_KEY: Final = "An app API key is required"
TAKEN: Final = "There is an app with this slug. Choose another one."
FULL: Final = f"There are {MOST} apps, which is the most. Remove one first."
TOO_MUCH: Final = "An app can be allowed only what its manifest asks for."
NO_MANIFEST: Final = "What the app answered is no manifest: {}"


def is_on(deps: Deps) -> bool:
    """Whether there are apps at all. They are in channels."""
    return bool(deps.config["apps.enable"]) and bool(deps.config["channels.enable"])


def check(deps: Deps) -> None:
    """Raises Forbidden where apps are switched off."""
    if not is_on(deps):
        raise Forbidden(OFF, status=403)


# Reading


async def listed(deps: Deps, principal: Principal) -> list[Wire]:
    """The apps that somebody may use; none where apps are off."""
    if not is_on(deps):
        return []
    async with deps.database.read() as connection:
        found = await apps.repository.all(connection, apps.repository.readable_by(principal))
    return [wire(deps, one, principal) for one in found]


def wire(deps: Deps, app: App, principal: Principal) -> Wire:
    """An app as somebody sees it: where it is, and what is set of it, is for administrators."""
    data = {"manifest": app.manifest, "granted_scopes": app.data.get("granted_scopes") or []}
    if principal.is_admin:
        data |= {"url": app.url, "settings": app.data.get("settings") or {}}
    return {
        "connection_status": app.connection_status if app.is_active else "disconnected",
        "id": app.id,
        "slug": app.slug,
        "name": app.name,
        "is_active": app.is_active,
        "configured": api_key(deps, app) is not None,
        "data": data,
        "created_at": app.created_at,
        "updated_at": app.updated_at,
    }


def api_key(deps: Deps, app: App) -> str | None:
    """An app's key; None where the server's secret has changed since it was kept."""
    return deps.sealer.unseal(app.sealed, app.id)


def target(deps: Deps, app: App, key: str | None = None) -> Target:
    """Where an app is. Raises BadRequest where its key is lost."""
    key = key or api_key(deps, app)
    if key is None:
        raise BadRequest(NO_KEY)
    return Target(app.url, key, str(app.manifest.get("public_key", "")), allow_local(deps))


def allow_local(deps: Deps) -> bool:
    """Whether apps may be on this machine and in its networks."""
    return deps.settings.enable_rag_local_web_fetch


async def get(deps: Deps, principal: Principal, app_id: str) -> Wire:
    """An app, with who may use it. Raises NotFound."""
    app = await _there(deps, app_id)
    return wire(deps, app, principal) | {"access_grants": [msgspec.structs.asdict(g) for g in app.access_grants]}


async def _there(deps: Deps, app_id: str) -> App:
    async with deps.database.read() as connection:
        found = await apps.repository.get(connection, app_id) if is_on(deps) else None
    if found is None:
        raise NotFound(UNKNOWN)
    return found


async def _held(deps: Deps, unit: UnitOfWork, app_id: str) -> App:
    found = await apps.repository.get(unit.connection, app_id, lock=True) if is_on(deps) else None
    if found is None:
        raise NotFound(UNKNOWN)
    return found


# Asking it what it is


async def preview(deps: Deps, form: AppManifestForm) -> Wire:
    """The manifest at an address. Raises BadRequest, NotFound, Forbidden."""
    key = form.api_key
    if key is None and form.app_id is not None:
        key = api_key(deps, await _there(deps, form.app_id))
    if key is None:
        raise BadRequest(NO_KEY)
    check(deps)
    url = webhook_calls.checked(form.url, allow_local=allow_local(deps))
    return _plain(await _manifest(Target(url, key, None, allow_local(deps))))


async def _manifest(at: Target) -> Manifest:
    """What an app says of itself, signed with the key that it names. Raises BadRequest."""
    try:
        body, signature, signed = await calls.fetch(at, new_id())
        found = Manifest.model_validate_json(body)
        calls.check(found.public_key, signature, signed, body)
    except Failed as error:
        raise BadRequest(str(error)) from error
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(NO_MANIFEST.format(f"{where} {first['msg']}".strip()[:300])) from None
    return found


def _plain(manifest: Manifest) -> Wire:
    """A manifest as it is kept. Raises BadRequest for a key that is none."""
    calls.public_key(manifest.public_key)
    return manifest.model_dump() | {"profile_image_url": calls.picture(manifest.profile_image_url)}


# Changing


async def create(deps: Deps, principal: Principal, form: AppForm) -> Wire:
    """A new app, which is switched off until it is connected. Raises BadRequest, Forbidden."""
    check(deps)
    url = webhook_calls.checked(form.url, allow_local=allow_local(deps))
    manifest = _plain(form.manifest)
    app_id = new_id()
    values: Wire = {
        "slug": form.slug, "name": form.manifest.name, "is_active": False, "connection_status": "disconnected",
        "sealed": deps.sealer.seal(form.api_key, app_id),
        "data": {"manifest": manifest, "url": url, "granted_scopes": _scopes(form.granted_scopes, manifest)},
    }  # fmt: skip
    async with deps.database.write() as unit:
        connection = unit.connection
        if await apps.count(connection) >= MOST:
            raise BadRequest(FULL)
        made = await apps.repository.create(connection, principal.id, values, row_id=app_id, unique="slug")
        if made is None:
            raise BadRequest(TAKEN)
        await apps.repository.set_grants(connection, principal, app_id, form.access_grants, strict=False)
    return wire(deps, made, principal)


def _scopes(given: Sequence[str], manifest: Wire) -> list[str]:
    """What an app may do. Raises BadRequest for what its manifest does not ask for."""
    if not set(given) <= set(manifest["requested_scopes"]):
        raise BadRequest(TOO_MUCH)
    return sorted(set(given))


async def update(deps: Deps, principal: Principal, app_id: str, form: AppUpdateForm) -> Wire:
    """Changes an app; what is left out stays. Raises NotFound, BadRequest."""
    async with deps.database.write() as unit:
        app = await _held(deps, unit, app_id)
        data = dict(app.data)
        if form.manifest is not None:
            data["manifest"] = _plain(form.manifest)
            # What it does not ask for any more, it may not do.
            asked = data["manifest"]["requested_scopes"]
            data["granted_scopes"] = [s for s in data.get("granted_scopes") or () if s in asked]
        if form.granted_scopes is not None:
            data["granted_scopes"] = _scopes(form.granted_scopes, data["manifest"])
        if form.settings is not None:
            data["settings"] = form.settings
        values: Wire = {"data": data}
        if form.name is not None:
            values["name"] = form.name
        if form.is_active is not None:
            values |= {"is_active": form.is_active, "failures": 0}
            if not form.is_active:
                values["connection_status"] = "disconnected"
        await apps.repository.change(unit.connection, app_id, values)
        if form.access_grants is not None:
            await apps.repository.set_grants(unit.connection, principal, app_id, form.access_grants, strict=False)
        return wire(deps, await _held(deps, unit, app_id), principal)


async def connect(deps: Deps, principal: Principal, app_id: str, form: AppConnectionForm) -> Wire:
    """Asks an app whether it is there and has the key, and switches it on. Raises NotFound, BadRequest, Conflict."""
    app = await _there(deps, app_id)
    at = target(deps, app, form.api_key)
    try:
        await calls.tell(at, request_id := new_id(), {"type": "connect", "id": request_id, "app": about(app)})
    except Failed as error:
        if form.api_key is None and app.connection_status != "disconnected":
            async with deps.database.write() as unit:
                await apps.repository.change(
                    unit.connection, app_id, {"connection_status": "disconnected"}, touch=False
                )
        raise BadRequest(str(error)) from error
    async with deps.database.write() as unit:
        now = await _held(deps, unit, app_id)
        if (now.url, now.manifest.get("public_key")) != (app.url, app.manifest.get("public_key")):
            raise Conflict
        values: Wire = {"is_active": True, "connection_status": "connected", "failures": 0}
        if form.api_key is not None:
            values["sealed"] = deps.sealer.seal(form.api_key, app_id)
        await apps.repository.change(unit.connection, app_id, values)
        return wire(deps, await _held(deps, unit, app_id), principal)


def about(app: App) -> Wire:
    """What an app is told it is here."""
    return {"id": app.id, "slug": app.slug}


async def delete(deps: Deps, principal: Principal, app_id: str) -> Wire:
    """Removes an app from all channels; what it wrote stays. Raises NotFound."""
    async with deps.database.write() as unit:
        app = await _held(deps, unit, app_id)
        await apps.repository.set_grants(unit.connection, principal, app_id, [], strict=False)
        await apps.repository.delete(unit.connection, [app_id])
    return wire(deps, app, principal)
