"""Whether somebody holds a challenge, and whether the code that they typed is theirs: for all that asks for one."""

import time
from typing import Final, Literal

from open_webui.access import recovery_codes, second_factor, totp
from open_webui.errors import BadRequest, OuiError, TooManyRequests, Unauthenticated
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.models import accounts, factors
from open_webui.models import users as people
from open_webui.models.factors import Challenge, Factor
from open_webui.services.deps import Deps
from open_webui.services.signing_in import token_hash

OVER: Final = "This sign-in took too long, or something about the account changed meanwhile. Sign in again."
WRONG: Final = "The code is not correct. Type the one that your app shows now; each is good once."
WRONG_RECOVERY: Final = "This is none of the recovery codes of this account, or it was used already."
UNREADABLE: Final = (
    "The server can't read your authenticator any more, because its key was changed. Use a recovery code, or ask an"
    " administrator to remove it."
)
# Wrong codes in a row that cost no waiting, and the longest that one costs then: an hour. Each code after the first ones costs
# twice as long as the one before. Who knows the password alone has 24 tries a day in the end, each at three codes of a million.
FREE_TRIES: Final = 5
FIRST_WAIT: Final = 30
LONGEST_WAIT: Final = 3600
Proof = Literal["right", "wrong", "wait", "unreadable"]


async def hold(deps: Deps, unit: UnitOfWork, token: str) -> Challenge:
    """A challenge that may go on, with its person's row held. Raises Unauthenticated for any other."""
    waiting = await factors.find(unit.connection, token_hash(token))
    if waiting is None or not second_factor.is_on(deps.config):
        raise Unauthenticated(OVER)
    acts.about("user", waiting.user_id)
    await people.get(unit.connection, waiting.user_id, lock=True)
    # Of two at once the second one finds what the first one left.
    waiting = await factors.find(unit.connection, waiting.hash)
    found = None if waiting is None else await accounts.identity(unit.connection, waiting.user_id, waiting.renews)
    if waiting is None or found is None or not found.active or found.service or found.revoked:
        raise Unauthenticated(OVER)
    if found.session_stamp != waiting.stamp:
        raise Unauthenticated(OVER)
    return waiting


async def owner_of(deps: Deps, token: str) -> str:
    """Whose challenge it is, so that tries are counted before anything is held. Raises Unauthenticated."""
    async with deps.database.read() as connection:
        waiting = await factors.find(connection, token_hash(token))
    if waiting is None:
        raise Unauthenticated(OVER)
    return waiting.user_id


async def prove(deps: Deps, unit: UnitOfWork, user_id: str, code: str, *, recovery: bool) -> Proof:
    """Looks at a code, and notes that it was used, or wrong: commit before the error is raised. The person's row is held."""
    if recovery:
        right = await factors.spend_code(unit.connection, user_id, recovery_codes.code_hash(code))
        return "right" if right else "wrong"
    found = await factors.of_user(unit.connection, user_id)
    if found is None:
        return "wrong"
    return await _prove_by_app(deps, unit, found, code)


async def _prove_by_app(deps: Deps, unit: UnitOfWork, found: Factor, code: str) -> Proof:
    at = time.time()
    if found.wait_until > at:
        return "wait"
    secret = deps.sealer.unseal(found.sealed, found.user_id)
    if secret is None:
        return "unreadable"
    step = totp.matching_step(secret, code, at, found.counter)
    if step is None:
        await factors.failed(unit.connection, found.id, int(at) + _wait(found.failed + 1))
        return "wrong"
    await factors.used(unit.connection, found.id, step)
    return "right"


def _wait(failed: int) -> int:
    """Seconds after so many wrong codes in a row."""
    over = failed - FREE_TRIES
    return 0 if over <= 0 else min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(over - 1, 10))


def refusal(proof: Proof, *, recovery: bool) -> OuiError | None:
    """What is said of a code that wasn't right; None for one that was."""
    if proof == "wait":
        return TooManyRequests("There were too many wrong codes. Wait a while, or use a recovery code.")
    if proof == "unreadable":
        return BadRequest(UNREADABLE)
    if proof == "wrong":
        return BadRequest(WRONG_RECOVERY if recovery else WRONG)
    return None
