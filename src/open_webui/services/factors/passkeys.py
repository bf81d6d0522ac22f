"""Passkeys: one's own, and signing in with one, alone or after the password. One unit of work each."""

import secrets
from typing import Any, Final

import msgspec

from open_webui.access import passkeys as webauthn
from open_webui.access import second_factor
from open_webui.access.passkeys import Site
from open_webui.access.tokens import Claims
from open_webui.errors import BadRequest, Conflict, Forbidden, NotFound, OuiError, Unauthenticated
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.models import accounts, factors, passkeys, users
from open_webui.models.passkeys import Passkey
from open_webui.principal import Principal
from open_webui.services.accounts import SWITCHED_OFF
from open_webui.services.deps import Deps
from open_webui.services.factors import ceremonies, fresh
from open_webui.services.factors.ceremonies import Begun, Given
from open_webui.services.factors.proving import OVER
from open_webui.services.factors.steps import (
    Enrolled,
    count,
    enrolled_by,
    give_codes,
    hold_step,
    make_place,
    open_session,
)
from open_webui.services.signing_in import Admitted, SignedIn, admit, token_hash

AUTH_METHOD: Final = "passkey"
MOST: Final = 20
OFF: Final = "Passkeys are switched off on this server. An administrator can switch them on."
SIGN_IN_OFF: Final = "Signing in with a passkey alone is switched off on this server."
TOO_MANY: Final = f"An account has {MOST} passkeys at most. Remove one first."
TAKEN: Final = "This passkey is registered already."
LAST: Final = "This is your last factor, and this server asks you for one. Set another one up first."
GONE: Final = "You have no such passkey."


class Own(msgspec.Struct, frozen=True):
    """enabled: some may be made, and are asked for. app: there is an authenticator app, too."""

    enabled: bool
    app: bool
    passkeys: list[dict[str, Any]]


class Registered(msgspec.Struct, frozen=True):
    """recovery_codes: of who had no factor before; they are never shown again."""

    passkey: dict[str, Any]
    recovery_codes: list[str]


def wire(found: Passkey) -> dict[str, Any]:
    """As its owner sees it."""
    return {
        "id": found.id, "name": found.name, "site": found.rp_id, "transports": found.transports.split(),
        "sign_count": found.counter, "backup_eligible": found.backup_eligible, "backed_up": found.backed_up,
        "created_at": found.created_at, "last_used_at": found.last_used_at,
    }  # fmt: skip


# One's own


async def own(deps: Deps, caller: Principal) -> Own:
    async with deps.database.read() as connection:
        found = await passkeys.of_user(connection, caller.id)
        app = await factors.of_user(connection, caller.id) is not None
    return Own(enabled=_is_on(deps), app=app, passkeys=[wire(one) for one in found])


async def begin(deps: Deps, caller: Principal, claims: Claims, site: Site) -> Begun:
    """Sets out to make a passkey. claims: of the session that asks. Raises Forbidden, BadRequest."""
    _check_on(deps)
    token = secrets.token_urlsafe(32)
    async with deps.database.write() as unit:
        await fresh.check_own(unit.connection, caller.id, claims)
        options = await ceremonies.begin_making(deps, unit, site, "register", token, caller.id, jti=claims.jti)
    return Begun(token, options)


async def register(deps: Deps, caller: Principal, claims: Claims, given: Given) -> Registered:
    """Stores the passkey that was made. Who has a first factor with it gets recovery codes. Raises Forbidden, BadRequest,
    Conflict, Unauthenticated.
    """
    _check_on(deps)
    codes: list[str] = []
    found: Passkey | None = None
    error: OuiError | None = None
    async with deps.database.write() as unit:
        await users.get(unit.connection, caller.id, lock=True)
        await fresh.check_own(unit.connection, caller.id, claims)
        had = await fresh.has_factor(unit.connection, caller.id)
        ceremony = await passkeys.take(unit.connection, token_hash(given.token), "register")
        try:
            if ceremony is None or ceremony.user_id != caller.id or ceremony.jti != claims.jti:
                raise Unauthenticated(OVER)
            found = ceremonies.made(given, ceremony, caller.id)
            await _store(unit, found)
            if not had:
                codes = await give_codes(unit, caller.id)
                # It has just been shown.
                await fresh.note(unit, claims, "factor")
        except OuiError as refused:
            # The challenge is used up either way.
            error = refused
    if error is not None:
        raise error
    assert found is not None, "nothing was refused"
    return Registered(wire(found), codes)


async def rename(deps: Deps, caller: Principal, passkey_id: str, name: str) -> dict[str, Any]:
    async with deps.database.write() as unit:
        found = await passkeys.rename(unit.connection, caller.id, passkey_id, name)
        if found is None:
            raise NotFound(GONE)
    return wire(found)


async def remove(deps: Deps, caller: Principal, claims: Claims, passkey_id: str) -> None:
    """Raises NotFound, ProofNeeded, and Conflict for the last factor of who must have one."""
    async with deps.database.write() as unit:
        await users.get(unit.connection, caller.id, lock=True)
        found = next((p for p in await passkeys.of_user(unit.connection, caller.id) if p.id == passkey_id), None)
        if found is None:
            raise NotFound(GONE)
        await fresh.check_own(unit.connection, caller.id, claims)
        await passkeys.remove(unit.connection, caller.id, passkey_id)
        left = await fresh.has_factor(unit.connection, caller.id)
        if not left and second_factor.is_required(deps.config, caller.role, caller.groups):
            raise Conflict(LAST)
        if not left:
            await factors.remove(unit.connection, caller.id)
        acts.note("user", caller.id, {"passkey": (found.name, None), "second_factor": (True, left)})


async def _store(unit: UnitOfWork, found: Passkey) -> None:
    """Raises BadRequest, Conflict."""
    if len(await passkeys.of_user(unit.connection, found.user_id)) >= MOST:
        raise BadRequest(TOO_MANY)
    if not await passkeys.put(unit.connection, found):
        raise Conflict(TAKEN)
    acts.note("user", found.user_id, {"passkey": (None, found.name)})


def _is_on(deps: Deps) -> bool:
    return second_factor.is_on(deps.config) or second_factor.signs_in(deps.config, deps.settings)


def _check_on(deps: Deps) -> None:
    if not _is_on(deps):
        raise Forbidden(OFF, status=403)


# Signing in with a passkey alone


async def begin_sign_in(deps: Deps, site: Site, address: str) -> Begun:
    """What a browser is asked so that any passkey that it has for this server signs."""
    if not second_factor.signs_in(deps.config, deps.settings):
        raise Forbidden(SIGN_IN_OFF, status=403)
    await deps.attempts.answer_challenge(address)
    token = secrets.token_urlsafe(32)
    async with deps.database.write() as unit:
        challenge = await ceremonies.begin(unit, site, "sign-in", token)
    return Begun(token, webauthn.to_sign(site, challenge, [], verified=True))


async def sign_in(deps: Deps, given: Given) -> SignedIn:
    """The session of who signed in with a passkey that has asked them for a PIN, a finger or a face. Raises Forbidden,
    BadRequest, Unauthenticated, TooManyRequests.
    """
    if not second_factor.signs_in(deps.config, deps.settings):
        raise Forbidden(SIGN_IN_OFF, status=403)
    await _count_sign_in(deps, given.credential["id"], given.address)
    admitted: Admitted | None = None
    async with deps.database.write() as unit:
        ceremony = await passkeys.take(unit.connection, token_hash(given.token), "sign-in")
        found = await ceremonies.signed(unit, given, ceremony, verified=True)
        if isinstance(found, Passkey):
            account = await accounts.identity(unit.connection, found.user_id, "")
            if account is None or account.service or not account.active:
                found = Forbidden(SWITCHED_OFF, status=403)
            else:
                admitted = await admit(deps, unit, found.user_id, account.session_stamp, AUTH_METHOD, proven=True)
                await users.touch(unit.connection, found.user_id)
    if isinstance(found, OuiError):
        raise await ceremonies.refuse(deps, found)
    assert isinstance(admitted, SignedIn), "nothing more is asked of who has shown a factor"
    return admitted


async def _count_sign_in(deps: Deps, credential_id: str, address: str) -> None:
    """Counts a try, like one of a password. Raises TooManyRequests."""
    async with deps.database.read() as connection:
        known = await passkeys.find(connection, credential_id)
        user = None if known is None else await users.get(connection, known.user_id)
    await deps.attempts.sign_in(address, credential_id if user is None else user.email)


# After the password


async def start(deps: Deps, site: Site, token: str, address: str) -> Begun:
    """What a browser is asked in a sign-in that waits: to sign, or to make a passkey where its person must set a factor up."""
    await deps.attempts.answer_challenge(address)
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, token, "verify", "enroll")
        if held.step == "verify":
            options = await ceremonies.begin_signing(unit, site, "verify", token, held.user_id)
        else:
            options = await ceremonies.begin_making(deps, unit, site, "enroll", token, held.user_id)
    return Begun(token, options)


async def verify(deps: Deps, given: Given) -> SignedIn:
    """The session of who has shown a passkey after the password. Raises Unauthenticated, BadRequest, TooManyRequests."""
    await count(deps, given.token, given.address)
    signed_in = None
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, given.token, "verify")
        ceremony = await passkeys.take(unit.connection, held.hash, "verify")
        found = await ceremonies.signed(unit, given, ceremony, verified=False)
        if isinstance(found, Passkey):
            await factors.end(unit.connection, held.hash)
            await users.touch(unit.connection, held.user_id)
            signed_in = await open_session(deps, unit, held, held.stamp)
    if isinstance(found, OuiError):
        raise await ceremonies.refuse(deps, found)
    assert signed_in is not None, "the passkey was right"
    return signed_in


async def enroll(deps: Deps, given: Given) -> Enrolled:
    """Sets a passkey up as a first factor, or in the place of an app, and signs in. All other sessions end."""
    await count(deps, given.token, given.address)
    await deps.uses.flush()
    enrolled: Enrolled | None = None
    error: OuiError | None = None
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, given.token, "enroll")
        had = await fresh.has_factor(unit.connection, held.user_id)
        ceremony = await passkeys.take(unit.connection, held.hash, "enroll")
        try:
            if ceremony is None:
                raise Unauthenticated(OVER)
            found = ceremonies.made(given, ceremony, held.user_id)
            await _store(unit, found)
        except OuiError as refused:
            error = refused
        else:
            await make_place(unit, held)
            enrolled = await enrolled_by(deps, unit, held, had=had)
    if error is not None:
        raise error
    assert enrolled is not None, "nothing was refused"
    return enrolled
