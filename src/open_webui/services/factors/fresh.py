"""Whether the owner of a session has shown a short while ago that it is them: at its beginning, or since."""

import time
from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access import second_factor
from open_webui.access.tokens import Claims
from open_webui.errors import Forbidden
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.models import factors, passkeys
from open_webui.models.passkeys import Kind

# What a page looks for in a refusal after which it asks its person, and repeats the request.
NEEDS: Final = "X-Needs"
SHOW_FACTOR: Final = "Show first that it is you, with your authenticator app, a passkey or a recovery code."
SHOW_ANY: Final = "Show first that it is you: sign in again, or type your password."
# So long after signing in, or after showing it, one may change one's factors: who finds an open page can't lock its owner out.
FRESH_SECONDS: Final = 900
# Proofs are kept as long as the longest setting may ask for.
KEEP_SECONDS: Final = 86_400
# Ways in by which nobody shows anything: a proxy names people, and the server itself asks in somebody's name.
_SILENT: Final = frozenset({"trusted_header", second_factor.DELEGATED})


class ProofNeeded(Forbidden):
    """Somebody has to show again that it is them."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, status=403, headers={NEEDS: "proof"})


async def has_factor(connection: AsyncConnection, user_id: str) -> bool:
    """Whether somebody has an app or a passkey."""
    return await factors.of_user(connection, user_id) is not None or await passkeys.has_any(connection, user_id)


async def is_fresh(connection: AsyncConnection, claims: Claims, seconds: int, kinds: Collection[Kind]) -> bool:
    """Whether a session's owner has shown one of these so many seconds ago, or later."""
    since = int(time.time()) - seconds
    by_sign_in = claims.mfa_verified or ("password" in kinds and claims.auth_method not in _SILENT)
    if claims.iat > since and by_sign_in:
        return True
    return await passkeys.is_proved(connection, claims.jti, since, kinds)


async def check_own(connection: AsyncConnection, user_id: str, claims: Claims) -> None:
    """Refuses to change factors where their owner has not shown one lately; where they have none, the password. Raises
    ProofNeeded.
    """
    if claims.auth_method == second_factor.DELEGATED:
        raise ProofNeeded(SHOW_ANY)
    has = await has_factor(connection, user_id)
    if not has and claims.iat > time.time() - FRESH_SECONDS:
        # However they came in: there is nothing else that they could show.
        return
    kinds: tuple[Kind, ...] = ("factor",) if has else ("factor", "password")
    if not await is_fresh(connection, claims, FRESH_SECONDS, kinds):
        raise ProofNeeded(SHOW_FACTOR if has else SHOW_ANY)


async def note(unit: UnitOfWork, claims: Claims, kind: Kind) -> None:
    """The owner of a session has just shown that it is them."""
    at = int(time.time())
    await passkeys.prove(unit.connection, claims.jti, claims.id, kind, at=at, keep=KEEP_SECONDS)
    acts.note("user", claims.id, {"proof": (None, kind)})
