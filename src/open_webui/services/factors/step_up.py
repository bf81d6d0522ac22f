"""Fresh proofs: the owner of a session shows that it is them before an act of which the route's policy wants that."""

import secrets
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access import second_factor
from open_webui.access.api_keys import STEP_UP
from open_webui.access.passkeys import Site
from open_webui.access.tokens import Claims
from open_webui.config.factors import MOST_MINUTES
from open_webui.errors import BadRequest, Forbidden, OuiError, Unauthenticated
from open_webui.internal.db import UnitOfWork
from open_webui.models import accounts, factors, passkeys, users
from open_webui.models.passkeys import Kind, Passkey
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.factors import ceremonies, fresh
from open_webui.services.factors.ceremonies import Begun, Given
from open_webui.services.factors.fresh import ProofNeeded
from open_webui.services.factors.proving import OVER, prove, refusal
from open_webui.services.signing_in import methods_of, token_hash

ON: Final = "auth.step_up.enable"
MINUTES: Final = "auth.step_up.minutes"
NEEDED: Final = (
    "On this server this needs a fresh proof that it is you. Sign out and in again, or use the server's own page, which asks"
    " for it, and try again within {} minutes."
)
NO_KEY: Final = (
    "On this server this needs a fresh proof that it is you, which an API key can't give. A key of a service account may be"
    f" made for it, with the scope '{STEP_UP}'."
)
WRONG_PASSWORD: Final = "The password is not correct."
NOTHING: Final = "Sign out and in again: this account has no password and no factor that could be asked for here."
FACTOR: Final = "This account has a second factor: show that one."
NOBODY_THERE: Final = "Nobody is there who could be asked."


class Ways(msgspec.Struct, frozen=True):
    """By what somebody may show that it is them: password, code, recovery, passkey. passkey: what a browser is asked."""

    methods: list[str]
    passkey: Begun | None


class Shown(msgspec.Struct, frozen=True):
    """expires_in: seconds for which it counts."""

    kind: Kind
    expires_in: int


async def check(deps: Deps, caller: Principal, token: str) -> None:
    """Refuses an act that needs a fresh proof. token: the caller's. Raises Forbidden (403)."""
    if not deps.config[ON]:
        return
    if caller.key is not None:
        if STEP_UP in (caller.key.scopes or ()):
            return
        raise Forbidden(NO_KEY, status=403)
    claims = deps.tokens.verify(token)
    minutes = _minutes(deps)
    if claims is not None and claims.auth_method != second_factor.DELEGATED:
        async with deps.database.read() as connection:
            kinds = await _kinds(deps, connection, caller.id)
            if await fresh.is_fresh(connection, claims, minutes * 60, kinds):
                return
    raise ProofNeeded(NEEDED.format(minutes))


def _minutes(deps: Deps) -> int:
    """Whatever an import of settings has left there."""
    return max(1, min(MOST_MINUTES, int(deps.config[MINUTES])))


async def _kinds(deps: Deps, connection: AsyncConnection, user_id: str) -> tuple[Kind, ...]:
    """What counts: of who has a factor the factor, unless second factors are switched off, as they are when some were lost."""
    if second_factor.is_on(deps.config) and await fresh.has_factor(connection, user_id):
        return ("factor",)
    return ("factor", "password")


async def start(deps: Deps, caller: Principal, claims: Claims, site: Site | None) -> Ways:
    """By what somebody may show that it is them. site: None where the address can have no passkeys."""
    token = secrets.token_urlsafe(32)
    begun = None
    async with deps.database.write() as unit:
        kinds = await _kinds(deps, unit.connection, caller.id)
        has = await fresh.has_factor(unit.connection, caller.id)
        methods = await methods_of(deps, unit.connection, caller.id) or (["code"] if has else [])
        if "passkey" in methods:
            methods.remove("passkey")
            known = await passkeys.of_user(unit.connection, caller.id)
            if site is not None and any(one.rp_id == site.rp_id for one in known):
                options = await ceremonies.begin_signing(unit, site, "proof", token, caller.id, jti=claims.jti)
                begun = Begun(token, options)
                methods.insert(0, "passkey")
        if await factors.count_codes(unit.connection, caller.id):
            methods.append("recovery")
        credential = await accounts.credential_of(unit.connection, caller.id)
        if "password" in kinds and credential is not None and credential.password_hash is not None:
            methods.append("password")
    if not methods:
        raise BadRequest(NOTHING)
    return Ways(methods, begun)


async def by_password(deps: Deps, caller: Principal, claims: Claims, password: str) -> Shown:
    """Raises BadRequest, TooManyRequests, Forbidden."""
    _check_somebody(claims)
    await deps.attempts.change_password(caller.id)
    async with deps.database.read() as connection:
        if "password" not in await _kinds(deps, connection, caller.id):
            raise BadRequest(FACTOR)
        credential = await accounts.credential_of(connection, caller.id)
    stored = None if credential is None else credential.password_hash
    if not await deps.passwords.verify(password, stored):
        raise BadRequest(WRONG_PASSWORD)
    async with deps.database.write() as unit:
        return await _note(deps, unit, claims, "password")


async def by_code(deps: Deps, caller: Principal, claims: Claims, code: str, address: str, *, recovery: bool) -> Shown:
    """Raises BadRequest, TooManyRequests, Forbidden."""
    _check_somebody(claims)
    await deps.attempts.try_factor(address, caller.id)
    shown = None
    async with deps.database.write() as unit:
        await users.get(unit.connection, caller.id, lock=True)
        proof = await prove(deps, unit, caller.id, code, recovery=recovery)
        if proof == "right":
            shown = await _note(deps, unit, claims, "factor")
    if error := refusal(proof, recovery=recovery):
        raise error
    assert shown is not None, "the code was right"
    return shown


async def by_passkey(deps: Deps, caller: Principal, claims: Claims, given: Given) -> Shown:
    """Raises BadRequest, Unauthenticated, TooManyRequests, Forbidden."""
    _check_somebody(claims)
    await deps.attempts.try_factor(given.address, caller.id)
    shown = None
    async with deps.database.write() as unit:
        # As all who change an account's factors hold it, and before anything else.
        await users.get(unit.connection, caller.id, lock=True)
        ceremony = await passkeys.take(unit.connection, token_hash(given.token), "proof")
        if ceremony is not None and (ceremony.user_id != caller.id or ceremony.jti != claims.jti):
            ceremony = None
        if ceremony is None:
            found: Passkey | OuiError = Unauthenticated(OVER)
        else:
            found = await ceremonies.signed(unit, given, ceremony, verified=False)
        if isinstance(found, Passkey):
            shown = await _note(deps, unit, claims, "factor")
    if isinstance(found, OuiError):
        raise await ceremonies.refuse(deps, found)
    assert shown is not None, "the passkey was right"
    return shown


def _check_somebody(claims: Claims) -> None:
    if claims.auth_method == second_factor.DELEGATED:
        raise Forbidden(NOBODY_THERE, status=403)


async def _note(deps: Deps, unit: UnitOfWork, claims: Claims, kind: Kind) -> Shown:
    await fresh.note(unit, claims, kind)
    return Shown(kind, _minutes(deps) * 60)
