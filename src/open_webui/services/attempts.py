"""Limits on attempts: so many in a sliding window for each key, in bounded memory."""

import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from open_webui.errors import TooManyRequests
from open_webui.internal.forwarded import household

WINDOW_SECONDS = 180
# As on the wire: successful sign-ins count too. Of one account from one address: strangers elsewhere lock nobody out.
PER_ACCOUNT = 15
# Of one account from all addresses together: what a crowd of them may guess.
PER_ACCOUNT_ANYWHERE = 300
# A household or an office behind one address signs in more often than one person does.
PER_ADDRESS = 60
# Attackers choose keys (e-mail addresses), so their number is bounded; the longest untouched leaves first.
MAX_KEYS = 20_000


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
        # Hashed: a key is whatever somebody typed, of any length.
        digest = hashlib.blake2b(key.encode(errors="replace"), digest_size=16).digest()
        times = self._by_key.setdefault(digest, deque())
        while times and times[0] <= at - self._window:
            times.popleft()
        if len(times) >= self._limit:
            wait = max(1, round(times[0] + self._window - at))
            raise TooManyRequests(headers={"Retry-After": str(wait)})
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
    """The limits of signing in: for an address, for an account there and anywhere, and for changing a password."""

    def __init__(self) -> None:
        self._by_both = Attempts(PER_ACCOUNT)
        self._by_email = Attempts(PER_ACCOUNT_ANYWHERE)
        self._by_address = Attempts(PER_ADDRESS)
        self.by_password = Attempts(PER_ACCOUNT)

    def from_address(self, address: str) -> None:
        """Counts a sign-up. Raises TooManyRequests."""
        self._by_address.take(household(address))

    def sign_in(self, address: str, email: str) -> None:
        """Counts a sign-in. Raises TooManyRequests."""
        place = household(address)
        self._by_address.take(place)
        self._by_both.take(f"{place} {email}")
        self._by_email.take(email)
