"""Limits on attempts: so many in a sliding window for each key; in bounded memory, or in a database that processes share."""

import hashlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from open_webui.errors import TooManyRequests
from open_webui.internal.db import Database
from open_webui.internal.forwarded import household
from open_webui.models import attempts

WINDOW_SECONDS = 180
# As on the wire: successful sign-ins count too. Of one account from one address: strangers elsewhere lock nobody out.
PER_ACCOUNT = 15
# Of one account from all addresses together: what a crowd of them may guess.
PER_ACCOUNT_ANYWHERE = 300
# A household or an office behind one address signs in more often than one person does.
PER_ADDRESS = 60
# Messages of one webhook, and what one address asks of all of them, right or wrong.
PER_WEBHOOK = 180
PER_CALLER = 300
# Buttons of apps' messages that one person presses: each press is a request of the server's.
PER_BUTTONS = 60
# Attackers choose keys (e-mail addresses), so their number is bounded; the longest untouched leaves first.
MAX_KEYS = 20_000
# Of having all of one's memories indexed anew, which is work for the server and for whoever makes vectors.
PER_INDEX = 3
# Of putting all that one has into one file.
PER_EXPORT = 3
# Of ways back from a provider, for an address: an office behind one signs in in the morning. And of words on sign-outs.
PER_RETURN = 300
PER_LOGOUT = 600
# Codes of second factors of one account from one address, right and wrong, so that strangers elsewhere keep nobody out: what is
# wrong costs waiting besides (services/factors/proving.py). And steps of sign-ins, for an address.
PER_FACTOR = 10
PER_CHALLENGE = 300
# What is counted, each with a key: a place, an account from a place, an account, an account's password, an account's index.
_LIMITS: Final = {
    "place": PER_ADDRESS,
    "both": PER_ACCOUNT,
    "account": PER_ACCOUNT_ANYWHERE,
    "password": PER_ACCOUNT,
    "index": PER_INDEX,
    "export": PER_EXPORT,
    "webhook": PER_WEBHOOK,
    "webhooks": PER_CALLER,
    "buttons": PER_BUTTONS,
    "returns": PER_RETURN,
    "logouts": PER_LOGOUT,
    "factor": PER_FACTOR,
    "challenges": PER_CHALLENGE,
}


def _digest(key: str) -> bytes:
    """Of fixed length: a key is whatever somebody typed, of any length."""
    return hashlib.blake2b(key.encode(errors="replace"), digest_size=16).digest()


def _refused(wait: float) -> TooManyRequests:
    return TooManyRequests(headers={"Retry-After": str(max(1, math.ceil(wait)))})


class Attempts:
    """Counts attempts by key. A refused attempt does not count, so that waiting helps."""

    def __init__(
        self,
        limit: int,
        window: float = WINDOW_SECONDS,
        max_keys: int = MAX_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window = window
        self._max_keys = max_keys
        self._clock = clock
        self._by_key: OrderedDict[bytes, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Counts an attempt. Raises TooManyRequests when there were too many, with the seconds to wait."""
        at = self._clock()
        digest = _digest(key)
        times = self._by_key.setdefault(digest, deque())
        while times and times[0] <= at - self._window:
            times.popleft()
        if len(times) >= self._limit:
            raise _refused(times[0] + self._window - at)
        times.append(at)
        self._by_key.move_to_end(digest)
        self._shrink(at)

    def _shrink(self, at: float) -> None:
        """Lets go of keys whose window has passed (they are in the order of their last attempt), and of too many."""
        while self._by_key:
            oldest = next(iter(self._by_key.values()))
            if oldest and oldest[-1] > at - self._window and len(self._by_key) <= self._max_keys:
                return
            self._by_key.popitem(last=False)

    def __len__(self) -> int:
        return len(self._by_key)


class SignInAttempts:
    """The limits of signing in: for an address, for an account there and anywhere, and for changing a password. And of what is
    much work for little asking, and of webhooks.

    Each method counts an attempt and raises TooManyRequests when there were too many. Counted in memory, for one process.
    """

    def __init__(self) -> None:
        self._by_kind = {kind: Attempts(limit) for kind, limit in _LIMITS.items()}

    async def sign_up(self, address: str) -> None:
        await self._take(("place", household(address)))

    async def sign_in(self, address: str, email: str) -> None:
        place = household(address)
        await self._take(("place", place), ("both", f"{place} {email}"), ("account", email))

    async def change_password(self, user_id: str) -> None:
        await self._take(("password", user_id))

    async def index_anew(self, user_id: str) -> None:
        await self._take(("index", user_id))

    async def export(self, user_id: str) -> None:
        await self._take(("export", user_id))

    async def press_button(self, user_id: str) -> None:
        await self._take(("buttons", user_id))

    async def find_webhook(self, address: str) -> None:
        """Somebody tries a token."""
        await self._take(("webhooks", household(address)))

    async def use_webhook(self, webhook_id: str) -> None:
        """Its token was right."""
        await self._take(("webhook", webhook_id))

    async def come_back(self, address: str) -> None:
        """Somebody begins to sign in by a provider, or comes back from one."""
        await self._take(("returns", household(address)))

    async def hear_logout(self, address: str) -> None:
        """A provider, or who pretends to be one, says that somebody signed out."""
        await self._take(("logouts", household(address)))

    async def try_factor(self, address: str, user_id: str) -> None:
        """Somebody shows the code of a second factor, or a recovery code."""
        await self._take(("factor", f"{household(address)} {user_id}"))

    async def answer_challenge(self, address: str) -> None:
        """Somebody goes on with a sign-in."""
        await self._take(("challenges", household(address)))

    async def _take(self, *tries: tuple[str, str]) -> None:
        """Counts each kind and key in turn. What comes behind a refused one does not count."""
        for kind, key in tries:
            self._by_kind[kind].take(key)


class SharedSignInAttempts(SignInAttempts):
    """The same for all processes that share a database: counted there, by its clock."""

    def __init__(self, database: Database, window: float = WINDOW_SECONDS) -> None:
        super().__init__()
        self._database = database
        self._window = window
        self._clean_at = time.monotonic() + window

    async def _take(self, *tries: tuple[str, str]) -> None:
        limits = [(_digest(f"{kind} {key}").hex(), _LIMITS[kind]) for kind, key in tries]
        wait = None
        async with self._database.write(aside=True) as unit:
            taken = await attempts.take(unit.connection, limits, self._window)
            if taken < len(limits):
                wait = await attempts.wait(unit.connection, limits[taken][0], self._window)
            if time.monotonic() >= self._clean_at:
                self._clean_at = time.monotonic() + self._window
                await attempts.remove_old(unit.connection, self._window)
        # After the commit: those before the refused one count.
        if wait is not None:
            raise _refused(wait)
