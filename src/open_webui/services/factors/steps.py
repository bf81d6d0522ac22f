"""The second step of a sign-in: a code is verified, an app is set up, a lost one is replaced. One unit of work each."""

import time
from functools import partial
from typing import Final

import msgspec

from open_webui.access import recovery_codes, totp
from open_webui.errors import BadRequest, Conflict, Unauthenticated
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.models import accounts, factors, provider_sessions, sessions, users
from open_webui.models.factors import Challenge
from open_webui.services.deps import Deps
from open_webui.services.factors import fresh
from open_webui.services.factors.proving import OVER, WRONG, hold, owner_of, prove, refusal
from open_webui.services.signing_in import Challenged, SignedIn, challenge, lifetime, methods_of, token_hash

KIND: Final = "totp"
OTHER_STEP: Final = "This sign-in has another step to do. Sign in again."
CHANGED: Final = "The authenticator of this account was changed meanwhile. Sign in again."


class Setup(msgspec.Struct, frozen=True):
    """What an app is told: typed, or read from a picture (a PNG as a data: URL)."""

    manual_key: str
    qr_code: str


class Enrolled(msgspec.Struct, frozen=True):
    """The session of who has set an app up, and the recovery codes, which are never shown again."""

    signed_in: SignedIn
    recovery_codes: list[str]


async def verify(deps: Deps, token: str, code: str, address: str, *, recovery: bool) -> SignedIn:
    """The session of who showed the code of their app, or a recovery code. Raises Unauthenticated, BadRequest,
    TooManyRequests.
    """
    await count(deps, token, address)
    signed_in = None
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, token, "verify", "recover")
        proof = await prove(deps, unit, held.user_id, code, recovery=recovery)
        if proof == "right":
            await factors.end(unit.connection, held.hash)
            await users.touch(unit.connection, held.user_id)
            signed_in = await open_session(deps, unit, held, held.stamp)
    # After the commit: what was wrong is counted.
    if error := refusal(proof, recovery=recovery):
        raise error
    assert signed_in is not None, "the code was right"
    return signed_in


async def waiting(deps: Deps, token: str, address: str) -> Challenged | None:
    """What a challenge asks for, by its token; None for one that is over."""
    await deps.attempts.answer_challenge(address)
    async with deps.database.read() as connection:
        found = await factors.find(connection, token_hash(token))
        if found is None:
            return None
        methods = await methods_of(deps, connection, found.user_id) if found.step == "verify" else []
    return Challenged(found.step, token, max(1, found.expires_at - int(time.time())), methods)


async def start(deps: Deps, token: str, address: str) -> Setup:
    """The secret of an app that is about to be set up; asked again, the same."""
    await deps.attempts.answer_challenge(address)
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, token, "enroll")
        secret = deps.sealer.unseal(held.sealed, held.user_id) if held.sealed else None
        if secret is None:
            secret = totp.new_secret()
            await factors.keep_secret(unit.connection, held.hash, deps.sealer.seal(secret, held.user_id))
        user = await users.get(unit.connection, held.user_id)
    assert user is not None, "its challenge was held"
    return Setup(secret, totp.picture(totp.uri(secret, deps.config["ui.name"], user.email)))


async def confirm(deps: Deps, token: str, code: str, address: str) -> Enrolled:
    """Sets the app up whose code was shown: in place of the one before, with new recovery codes. All sessions of the account end
    but the one of the reply.
    """
    await count(deps, token, address)
    await deps.uses.flush()
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, token, "enroll")
        secret = deps.sealer.unseal(held.sealed, held.user_id) if held.sealed else None
        step = None if secret is None else totp.matching_step(secret, code, time.time(), -1)
        if step is None:
            raise BadRequest(WRONG)
        had = await fresh.has_factor(unit.connection, held.user_id)
        await make_place(unit, held)
        await factors.put(unit.connection, held.user_id, KIND, held.sealed, step)
        return await enrolled_by(deps, unit, held, had=had)


async def make_place(unit: UnitOfWork, held: Challenge) -> None:
    """Removes the app in whose place something else comes, and all sign-ins that wait. Raises Conflict if it isn't there now."""
    current = await factors.of_user(unit.connection, held.user_id)
    if ("" if current is None else current.id) != held.replaces:
        raise Conflict(CHANGED)
    await factors.remove(unit.connection, held.user_id)


async def enrolled_by(deps: Deps, unit: UnitOfWork, held: Challenge, *, had: bool) -> Enrolled:
    """The session of who has set something up, after which all others end, and new recovery codes. had: there was a factor."""
    acts.note("user", held.user_id, {"second_factor": (had, True)})
    codes = await give_codes(unit, held.user_id)
    stamp = await accounts.new_stamp(unit.connection, held.user_id, held.jti, held.renews)
    signed_in = await open_session(deps, unit, held, stamp)
    unit.after_commit(partial(deps.identifier.forget, held.user_id))
    return Enrolled(signed_in, codes)


async def recover(deps: Deps, token: str, recovery_code: str, address: str) -> Challenged:
    """Lets who has a recovery code set another app up. The one before stays until that is done."""
    await count(deps, token, address)
    begun = None
    async with deps.database.write() as unit:
        held = await hold_step(deps, unit, token, "verify", "recover")
        current = await factors.of_user(unit.connection, held.user_id)
        proof = await prove(deps, unit, held.user_id, recovery_code, recovery=True)
        if proof == "right":
            await factors.end(unit.connection, held.hash)
            begun = await challenge(
                unit, "enroll", held.user_id, held.stamp, held.auth_method, jti=held.jti,
                replaces="" if current is None else current.id,
            )  # fmt: skip
    if error := refusal(proof, recovery=True):
        raise error
    assert begun is not None, "the code was right"
    return begun


async def give_codes(unit: UnitOfWork, user_id: str) -> list[str]:
    """New recovery codes in place of all before."""
    codes = recovery_codes.new_codes()
    await factors.put_codes(unit.connection, user_id, [recovery_codes.code_hash(code) for code in codes])
    return codes


async def count(deps: Deps, token: str, address: str) -> None:
    """Counts a try, of an address, and of the account from there. Raises TooManyRequests, Unauthenticated."""
    await deps.attempts.answer_challenge(address)
    await deps.attempts.try_factor(address, await owner_of(deps, token))


async def hold_step(deps: Deps, unit: UnitOfWork, token: str, *steps: str) -> Challenge:
    """A challenge of one of these steps, as `hold` gives it. Raises BadRequest for one of another."""
    held = await hold(deps, unit, token)
    if held.step not in steps:
        raise BadRequest(OTHER_STEP)
    return held


async def open_session(deps: Deps, unit: UnitOfWork, held: Challenge, stamp: str) -> SignedIn:
    """The session that a challenge leads to: a new one, or in place of the one that asked."""
    user = await users.get(unit.connection, held.user_id)
    if user is None:
        raise Unauthenticated(OVER)
    acts.by(user.id, user.email)
    token, claims = deps.tokens.issue(user.id, stamp, lifetime(deps), held.auth_method, jti=held.jti, mfa_verified=True)
    if held.renews:
        await sessions.move(unit.connection, held.renews, claims.jti, stamp)
        await provider_sessions.move(unit.connection, held.renews, claims.jti)
    return SignedIn(user, token, claims)
