"""One's own second factor, with a session: whether there is one, setting one up, replacing it, new recovery codes."""

from functools import partial
from typing import Final

import msgspec

from open_webui import constants
from open_webui.access import second_factor
from open_webui.access.tokens import Claims, new_jti
from open_webui.errors import BadRequest, Conflict, Forbidden
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.models import accounts, factors, passkeys, users
from open_webui.principal import Principal
from open_webui.services.deps import AccountDeps, Deps
from open_webui.services.factors import fresh
from open_webui.services.factors.proving import prove, refusal
from open_webui.services.factors.steps import give_codes
from open_webui.services.signing_in import Challenged, challenge

OFF: Final = "Second factors are switched off on this server. An administrator can switch them on."
NONE: Final = "This account has no second factor. Set one up first."
HAS_ONE: Final = "This account has an authenticator already. Replace it instead."
NOT_HERE: Final = (
    "Your own authenticator is replaced with a code of it, in the settings of your account. The first administrator's is removed"
    " on the server's machine: `oui-backend users remove-factor`."
)
# A word that pages look for, as recorded: it says that one has to sign in again first.
SIGN_IN_AGAIN: Final = "reauthentication_required"


class Status(msgspec.Struct, frozen=True):
    """enabled: the account has a factor that is asked for, an app or a passkey. required: it must have one."""

    enabled: bool
    required: bool
    recovery_codes_remaining: int


async def status(deps: Deps, caller: Principal) -> Status:
    if not second_factor.is_on(deps.config):
        return Status(enabled=False, required=False, recovery_codes_remaining=0)
    required = second_factor.is_required(deps.config, caller.role, caller.groups)
    async with deps.database.read() as connection:
        enabled = await fresh.has_factor(connection, caller.id)
        left = await factors.count_codes(connection, caller.id)
    return Status(enabled=enabled, required=required, recovery_codes_remaining=left)


async def begin(deps: Deps, caller: Principal, claims: Claims) -> Challenged:
    """Sets out to set an app up where there is none. claims: of the session that asks. Raises Forbidden, Conflict."""
    _check_on(deps)
    async with deps.database.write() as unit:
        if await factors.of_user(unit.connection, caller.id) is not None:
            raise Conflict(HAS_ONE)
        try:
            await fresh.check_own(unit.connection, caller.id, claims)
        except fresh.ProofNeeded as error:
            raise Forbidden(SIGN_IN_AGAIN, status=403, headers=error.headers) from None
        return await _enroll(unit, caller, claims)


async def replace(
    deps: Deps, caller: Principal, claims: Claims, code: str, address: str, *, recovery: bool
) -> Challenged:
    """Sets out to put another app in the place of the one whose code this is."""
    await deps.attempts.try_factor(address, caller.id)
    begun = None
    async with deps.database.write() as unit:
        current = await _current(deps, unit, caller)
        proof = await prove(deps, unit, caller.id, code, recovery=recovery)
        if proof == "right":
            begun = await _enroll(unit, caller, claims, replaces=current)
    if error := refusal(proof, recovery=recovery):
        raise error
    assert begun is not None, "the code was right"
    return begun


async def new_codes(deps: Deps, caller: Principal, code: str, address: str, *, recovery: bool) -> list[str]:
    """Other recovery codes in place of the ones that are left."""
    await deps.attempts.try_factor(address, caller.id)
    codes: list[str] = []
    async with deps.database.write() as unit:
        await _current(deps, unit, caller)
        proof = await prove(deps, unit, caller.id, code, recovery=recovery)
        if proof == "right":
            codes = await give_codes(unit, caller.id)
    if error := refusal(proof, recovery=recovery):
        raise error
    return codes


async def codes_after_proof(deps: Deps, caller: Principal, claims: Claims) -> list[str]:
    """The same for who has shown a factor lately, as who has passkeys alone can. claims: of the session that asks. Raises
    ProofNeeded.
    """
    async with deps.database.write() as unit:
        await _current(deps, unit, caller)
        await fresh.check_own(unit.connection, caller.id, claims)
        return await give_codes(unit, caller.id)


async def remove(deps: AccountDeps, user_id: str) -> bool:
    """Removes somebody's factors and recovery codes, which ends their sessions. Whether there was one. Raises BadRequest."""
    async with deps.database.write() as unit:
        if await users.get(unit.connection, user_id, lock=True) is None:
            raise BadRequest(constants.NOT_FOUND)
        return await take(deps, unit, user_id)


async def take(deps: AccountDeps, unit: UnitOfWork, user_id: str) -> bool:
    """The same in a unit of work that holds the person's row."""
    had = await passkeys.remove_all(unit.connection, user_id)
    had = await factors.remove(unit.connection, user_id) or had
    acts.note("user", user_id, {"second_factor": (had, False)})
    await accounts.new_stamp(unit.connection, user_id)
    unit.after_commit(partial(deps.identifier.forget, user_id))
    return had


async def remove_of(deps: Deps, actor: Principal, user_id: str) -> bool:
    """The same by an administrator. Nobody removes their own, which a code of it replaces, or the first administrator's."""
    async with deps.database.read() as connection:
        primary = await users.primary_admin(connection)
    if user_id == actor.id or (primary is not None and user_id == primary.id):
        raise Forbidden(NOT_HERE, status=403)
    return await remove(deps, user_id)


def _check_on(deps: Deps) -> None:
    if not second_factor.is_on(deps.config):
        raise Forbidden(OFF, status=403)


async def _current(deps: Deps, unit: UnitOfWork, caller: Principal) -> str:
    """The id of the caller's app, "" where they have passkeys alone, with the person's row held. Raises Forbidden, BadRequest."""
    _check_on(deps)
    await users.get(unit.connection, caller.id, lock=True)
    found = await factors.of_user(unit.connection, caller.id)
    if found is None and not await passkeys.has_any(unit.connection, caller.id):
        raise BadRequest(NONE)
    return "" if found is None else found.id


async def _enroll(unit: UnitOfWork, caller: Principal, claims: Claims, replaces: str = "") -> Challenged:
    return await challenge(
        unit, "enroll", caller.id, claims.session_stamp, claims.auth_method, jti=new_jti(), renews=claims.jti,
        replaces=replaces,
    )  # fmt: skip
