"""One connection's model list, kept fresh in the background, apart from all others."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from open_webui.connections.base import Connection, ModelEntry
from open_webui.connections.breaker import Breaker
from open_webui.connections.transport import failure
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise

log = get_logger(__name__)
# An endpoint that fell silent keeps its last known models in the list for this long.
KEPT_SECONDS: Final = 900.0


class Source:
    """Asks a connection for its models, again and again.

    entries: what it is known to offer. error: why the last try failed. tried: a first answer or failure is there.
    changed: called after each try that told something new.
    """

    def __init__(
        self,
        connection: Connection,
        ttl: float,
        timeout: float,
        changed: Callable[[], None],
        *,
        place: Callable[[], int] = lambda: 0,
        fetched: Callable[["Source"], None] = lambda _source: None,
        recall: Callable[["Source"], Awaitable[tuple[list[ModelEntry], float] | None]] | None = None,
    ) -> None:
        """ttl: seconds between two tries when all is well. timeout: how long one may take.

        place: how many other processes ask before this one, which asks when none of them did. fetched: is told of each
        try that succeeded. recall: what is known of before this process started, and for how many seconds that is good.
        """
        self.connection = connection
        self.entries: list[ModelEntry] = []
        self.error: str | None = None
        self.tried = False
        self._ttl = ttl
        self._timeout = timeout
        self._changed = changed
        self._place = place
        self._fetched = fetched
        self._recall = recall
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self.breaker = Breaker(loop.time)
        self._listed_at = 0.0
        # When a process is to ask next, whichever it is.
        self._due = 0.0
        self._is_wanted = False
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._task = supervise(f"models of {connection.key}", self._run)

    async def _run(self) -> None:
        known = None if self._recall is None or self.tried else await self._recall(self)
        if known is not None:
            self.take_over(*known)
            self._settled.set()
            await self._rest()
        while True:
            try:
                await self._try()
            finally:
                # Also where it failed in a way that nobody thought of: who waits for the try must not wait for ever.
                self.tried = True
                self._settled.set()
            self._due = self._clock() + (self.breaker.pause() if self.breaker.failures else self._ttl)
            if self.error is None:
                self._fetched(self)
            await self._rest()

    async def _rest(self) -> None:
        """Until it is this process's turn to ask, or somebody wants it now."""
        while not self._is_wanted:
            self._wake.clear()
            # Who asks before this one has the time for a try of his own.
            wait = self._due + self._place() * (self._timeout + 1) - self._clock()
            if wait <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
        self._is_wanted = False

    async def _try(self) -> None:
        before = (self.entries, self.error, self.tried)
        try:
            async with asyncio.timeout(self._timeout):
                entries = await self.connection.list_models()
        except OuiError as error:
            self._failed(error)
        except TimeoutError as error:
            self._failed(failure(error, getattr(getattr(self.connection, "spec", None), "url", self.connection.key)))
        else:
            if self.error is not None:
                log.info("a provider is back", connection=self.connection.key)
            self.entries, self.error = entries, None
            self._listed_at = self._clock()
            self.breaker.succeeded()
        self.tried = True
        if before != (self.entries, self.error, self.tried):
            self._changed()

    def _failed(self, error: OuiError) -> None:
        if self.error is None:
            log.warning("a provider's models can't be listed", connection=self.connection.key, error=error.detail)
        self.error = error.detail
        self.breaker.failed()
        if self.entries and self._clock() - self._listed_at > KEPT_SECONDS:
            self.entries = []

    @property
    def wait(self) -> float | None:
        """Seconds until its list is to be asked for again; None when the last try failed, or there was none yet."""
        return max(0.0, self._due - self._clock()) if self.tried and self.error is None else None

    def take_over(self, entries: list[ModelEntry], wait: float) -> None:
        """Takes a list that another process has got, and leaves the next try for so many seconds."""
        before = (self.entries, self.error, self.tried)
        self.entries, self.error, self.tried = entries, None, True
        self._listed_at = self._clock()
        self._due = self._listed_at + wait
        self.breaker.succeeded()
        self.look_again()
        if before != (self.entries, self.error, self.tried):
            self._changed()

    def look_again(self) -> None:
        """Finds out anew whose turn it is to ask, and when."""
        self._wake.set()

    def refresh(self) -> asyncio.Event:
        """Tries soon, whatever the breaker says: somebody asks for it. The event is set after that try."""
        if self._settled.is_set():
            self._settled = asyncio.Event()
            self._is_wanted = True
            self._wake.set()
        return self._settled

    @property
    def settled(self) -> asyncio.Event:
        """Set when no try is under way."""
        return self._settled

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
