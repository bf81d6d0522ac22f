"""The end of every way in: a session, or, where a second factor is asked for, the challenge that comes before it."""

import hashlib
import secrets
import time
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.access import second_factor
from open_webui.access.tokens import Claims, new_jti, parse_duration
from open_webui.errors import BadRequest
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import factors, passkeys, users
from open_webui.models.factors import Challenge, Step
from open_webui.models.users import User
from open_webui.services.deps import Deps

log = get_logger(__name__)
LIFETIME: Final = "auth.jwt_expiry"
FOUR_WEEKS: Final = 28 * 86_400
CHALLENGE_SECONDS: Final = 300


class SignedIn:
    """A fresh session: the person and the token."""

    __slots__ = ("claims", "token", "user")

    def __init__(self, user: User, token: str, claims: Claims) -> None:
        self.user = user
        self.token = token
        self.claims = claims


class Challenged(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who somebody is was shown once, and has to be shown another way. next_step: verify (the code of their app, or a passkey),
    enroll (they set one up first), recover (a recovery code: theirs can't be read any more). challenge_token: what the page says
    then. expires_in: seconds. methods: by what they may verify, `code` and `passkey`; left out where they have an app alone.
    """

    next_step: Step
    challenge_token: str
    expires_in: int
    methods: list[str] = []


Admitted = SignedIn | Challenged


def lifetime(deps: Deps) -> int | None:
    """Seconds that a new session lasts, None for no end."""
    try:
        return parse_duration(deps.config[LIFETIME])
    except ValueError:
        log.warning("the stored session lifetime can't be read; four weeks are used", value=deps.config[LIFETIME])
        return FOUR_WEEKS


async def admit(
    deps: Deps,
    unit: UnitOfWork,
    user_id: str,
    stamp: str,
    auth_method: str = "password",
    jti: str | None = None,
    *,
    proven: bool = False,
) -> Admitted:
    """What somebody gets who showed who they are. jti: the id that the session is to have. proven: they have shown a second
    factor with it, as a passkey is that has asked its person. Raises BadRequest.
    """
    user = await users.get(unit.connection, user_id)
    if user is None:
        raise BadRequest(constants.NOT_FOUND)
    step = None if proven else await _next_step(deps, unit, user, auth_method)
    if step is not None:
        asked = await challenge(unit, step, user_id, stamp, auth_method, jti=jti or new_jti())
        methods = await methods_of(deps, unit.connection, user_id) if step == "verify" else []
        return msgspec.structs.replace(asked, methods=methods)
    acts.by(user.id, user.email)
    token, claims = deps.tokens.issue(user_id, stamp, lifetime(deps), auth_method, jti=jti, mfa_verified=proven)
    return SignedIn(user, token, claims)


async def _next_step(deps: Deps, unit: UnitOfWork, user: User, auth_method: str) -> Step | None:
    """What comes before the session; None for nothing."""
    if not second_factor.is_asked(deps.config, auth_method):
        return None
    found = await factors.of_user(unit.connection, user.id)
    if await passkeys.has_any(unit.connection, user.id):
        return "verify"
    if found is not None:
        return "recover" if deps.sealer.unseal(found.sealed, user.id) is None else "verify"
    groups = (await deps.identifier.rights(unit.connection, user.id)).groups
    return "enroll" if second_factor.is_required(deps.config, user.role, groups) else None


async def methods_of(deps: Deps, connection: AsyncConnection, user_id: str) -> list[str]:
    """By what somebody may verify, where that is more than the code of an app."""
    if not await passkeys.has_any(connection, user_id):
        return []
    found = await factors.of_user(connection, user_id)
    readable = found is not None and deps.sealer.unseal(found.sealed, user_id) is not None
    return ["code", "passkey"] if readable else ["passkey"]


async def challenge(
    unit: UnitOfWork,
    step: Step,
    user_id: str,
    stamp: str,
    auth_method: str,
    *,
    jti: str,
    renews: str = "",
    replaces: str = "",
) -> Challenged:
    """Begins a step, for which whoever holds the token has five minutes. See the table for what it notes."""
    token = secrets.token_urlsafe(32)
    noted = Challenge(
        hash=token_hash(token), user_id=user_id, stamp=stamp, step=step, auth_method=auth_method, jti=jti, renews=renews,
        replaces=replaces, expires_at=int(time.time()) + CHALLENGE_SECONDS,
    )  # fmt: skip
    await factors.begin(unit.connection, noted)
    return Challenged(step, token, CHALLENGE_SECONDS)


def token_hash(token: str) -> str:
    """By which a challenge is found."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
