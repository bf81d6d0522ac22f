"""API keys beside the one that the wire knows: many of an account, named and limited, and those of service accounts."""

from collections.abc import Collection
from functools import partial
from typing import Any, Final

import msgspec

from open_webui.access.api_keys import STEP_UP, key_hash, new_key
from open_webui.access.identify import API_KEYS
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import accounts as credentials
from open_webui.models import api_keys, users
from open_webui.models.api_keys import ApiKey, NewKey
from open_webui.models.base import new_id, now
from open_webui.principal import Principal
from open_webui.schemas.keys import NewKeyForm, RotateForm, ServiceAccountForm
from open_webui.services import budgets
from open_webui.services.accounts import KEYS_OFF
from open_webui.services.deps import Deps

# Keys of one account.
MOST: Final = 50
MOST_SERVICE_ACCOUNTS: Final = 200
TOO_MANY: Final = f"An account may have {MOST} API keys. Delete one that is not needed any more."
TOO_MANY_ACCOUNTS: Final = (
    f"There may be {MOST_SERVICE_ACCOUNTS} service accounts. Remove one that is not needed any more."
)
NO_SCOPE: Final = "There is no scope '{}'."
OVER: Final = "A key can't end in the past."
NO_SERVICE: Final = "There is no such service account."
Wire = dict[str, Any]


def wire(key: ApiKey) -> Wire:
    """A key without its secret. shown_again: it is the one that its owner can look at. former_until: until when the secret
    before the last change is good.
    """
    said = msgspec.structs.asdict(key)
    shown_again = said.pop("sealed") is not None
    until = key.former_until if key.former_until is not None and key.former_until > now() else None
    return {**said, "former_until": until, "shown_again": shown_again}


def _check(deps: Deps, principal: Principal) -> None:
    """Raises Forbidden where somebody may have no keys."""
    if not deps.config["auth.enable_api_keys"] or not principal.may(API_KEYS):
        raise Forbidden(KEYS_OFF, status=403)


async def listed(deps: Deps, principal: Principal) -> list[Wire]:
    """One's own."""
    await deps.uses.flush()
    async with deps.database.read() as connection:
        return [wire(key) for key in await api_keys.of_user(connection, principal, principal.id)]


async def create(deps: Deps, principal: Principal, form: NewKeyForm, scopes: Collection[str]) -> Wire:
    """A new key, with its secret, which is nowhere else. scopes: those that there are."""
    _check(deps, principal)
    return await _create(deps, principal, principal.id, form, scopes)


async def _create(deps: Deps, principal: Principal, user_id: str, form: NewKeyForm, scopes: Collection[str]) -> Wire:
    unknown = next((scope for scope in form.scopes or () if scope not in scopes), None)
    if unknown is not None:
        raise BadRequest(NO_SCOPE.format(unknown))
    if form.expires_at is not None and form.expires_at <= now():
        raise BadRequest(OVER)
    new = NewKey(
        name=form.name,
        scopes=None if form.scopes is None else sorted(set(form.scopes)),
        models=None if form.models is None else list(dict.fromkeys(form.models)),
        addresses=form.addresses,
        expires_at=form.expires_at,
        budget_id=form.budget_id,
    )
    secret = new_key()
    async with deps.database.write() as unit:
        # Of two at once, the second one sees what the first one left.
        if await users.get(unit.connection, user_id, lock=True) is None:
            raise NotFound
        if form.budget_id is not None:
            await budgets.usable(unit, principal, form.budget_id, missing=400)
        made = await api_keys.add(unit.connection, user_id, key_hash(secret), new, MOST)
    if made is None:
        raise BadRequest(TOO_MANY)
    return {**wire(made), "api_key": secret}


async def rotate(deps: Deps, principal: Principal, key_id: str, form: RotateForm) -> Wire:
    """Gives a key another secret; the one before ends, now or after the overlap."""
    _check(deps, principal)
    secret = new_key()
    async with deps.database.write() as unit:
        key = await api_keys.get(unit.connection, principal, key_id, lock=True)
        if key is None:
            raise NotFound
        sealed = None if key.sealed is None else deps.sealer.seal(secret, key.user_id)
        until = now() + form.overlap if form.overlap else None
        await api_keys.replace_secret(unit.connection, key_id, key_hash(secret), sealed, until)
        unit.after_commit(partial(deps.identifier.forget, key.user_id))
        key = await api_keys.get(unit.connection, principal, key_id)
        assert key is not None, "its row is held"
    return {**wire(key), "api_key": secret}


async def revoke(deps: Deps, principal: Principal, key_id: str) -> None:
    """Ends a key, with what goes on by it."""
    async with deps.database.write() as unit:
        user_id = await api_keys.delete(unit.connection, principal, key_id)
        if user_id is None:
            raise NotFound
        unit.after_commit(partial(deps.identifier.forget, user_id))


# Service accounts: for administrators


async def service_accounts(deps: Deps) -> list[Wire]:
    async with deps.database.read() as connection:
        return [msgspec.structs.asdict(one) for one in await credentials.services(connection)]


async def create_service_account(deps: Deps, form: ServiceAccountForm) -> Wire:
    """An account with the role user that only keys get into. It is in no group."""
    user_id = new_id()
    # No letter arrives there, and no other site speaks for it (RFC 2606).
    values = {"id": user_id, "name": form.name, "email": f"{user_id}@service.invalid", "role": "user"}
    async with deps.database.write() as unit:
        if len(await credentials.services(unit.connection)) >= MOST_SERVICE_ACCOUNTS:
            raise BadRequest(TOO_MANY_ACCOUNTS)
        await users.insert(unit.connection, values | {"profile_image_url": users.DEFAULT_IMAGE})
        await credentials.insert_credential(unit.connection, user_id, None, service=True)
        (made,) = await credentials.services(unit.connection, user_id)
    return msgspec.structs.asdict(made)


async def keys_of(deps: Deps, principal: Principal, user_id: str) -> list[Wire]:
    """A service account's."""
    await deps.uses.flush()
    async with deps.database.read() as connection:
        if not await credentials.services(connection, user_id):
            raise NotFound(NO_SERVICE)
        return [wire(key) for key in await api_keys.of_user(connection, principal, user_id)]


async def create_for(deps: Deps, principal: Principal, user_id: str, form: NewKeyForm, scopes: Collection[str]) -> Wire:
    """A new key for a service account."""
    _check(deps, principal)
    async with deps.database.read() as connection:
        if not await credentials.services(connection, user_id):
            raise NotFound(NO_SERVICE)
    return await _create(deps, principal, user_id, form, {*scopes, STEP_UP})
