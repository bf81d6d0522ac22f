"""Password hashing: Argon2id, with bcrypt hashes accepted from imported accounts, off the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from open_webui.constants import MAX_PASSWORD

# OWASP's first recommendation for Argon2id (19 MiB, 2 passes, 1 lane): 60 ms of one core here.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Of a random password that nobody knows, with the parameters above (a test compares them). Ready-made, so that the very
# first sign-in of an unknown account takes no longer than the others.
DECOY = "$argon2id$v=19$m=19456,t=2,p=1$flXcqiKIFasYM9K3DqVXPQ$tkLIb6yFIRzJp4u7/t0GA7RMtwhIeVsnn6giMJVng+I"
# bcrypt looks at 72 bytes and refuses longer ones.
_BCRYPT_MAX = 72


class Passwords:
    """Hashes and checks in a small pool, so that neither the loop nor memory is flooded by a burst of sign-ins."""

    def __init__(self, workers: int = 2) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _hasher.hash, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password fits the stored hash. Takes as long for None (an unknown account) as for a real one."""
        if len(password) > MAX_PASSWORD:
            return False
        fits = await asyncio.get_running_loop().run_in_executor(self._pool, _check, password, stored or DECOY)
        return fits and bool(stored)

    def needs_rehash(self, stored: str) -> bool:
        """Whether a stored hash is bcrypt's or of weaker parameters than today's."""
        return stored.startswith("$2") or _hasher.check_needs_rehash(stored)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _check(password: str, stored: str) -> bool:
    if stored.startswith("$2"):
        try:
            return bcrypt.checkpw(password.encode()[:_BCRYPT_MAX], stored.encode())
        except ValueError:
            return False
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
