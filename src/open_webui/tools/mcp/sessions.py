"""MCP sessions as the server keeps them: one for each person and server, open while it is used, opened anew when it was lost."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.tools.mcp.frames import Call, Changed, Close, Listing, Method, Open, Target
from open_webui.tools.mcp.process import Hearer, Process, Refused
from open_webui.tools.openapi_calls import ServerAway

log = get_logger(__name__)
# Seconds: of an unused session, between two looks, of an attempt to open one, and until another attempt.
IDLE: Final = 600.0
LOOK: Final = 30.0
OPENING: Final = 15.0
AWAY: Final = 15.0
# Seconds that a list beside the tools may take, with all its pages.
READING: Final = 15.0
# Sessions at once; one more closes the one that was not used for the longest time.
MOST: Final = 2_000
# Whose session with which server: a person's id, or "" for one that all share, and what the server is asked with.
Key = tuple[str, str]
# How a session is opened; asked whenever one is.
Way = Callable[[], Awaitable[Target]]


class Session(msgspec.Struct, kw_only=True):
    """An open one. used_at, ends_at: by the loop's clock; it is opened anew then. calls: those in it now.

    lists: what the server listed beside tools, while it does not say that they changed. reading: those that are being read.
    """

    name: str
    listing: Listing
    used_at: float
    ends_at: float | None = None
    calls: int = 0
    lists: dict[Method, list[dict[str, Any]]] = msgspec.field(default_factory=dict)
    reading: dict[Method, asyncio.Task[list[dict[str, Any]]]] = msgspec.field(default_factory=dict)


class Sessions:
    """All of this process."""

    def __init__(self, *, idle: float = IDLE, process: Process | None = None) -> None:
        self._idle = idle
        self._process = process or Process(self._changed, self._ended)
        self._sessions: dict[Key, Session] = {}
        self._keys: dict[str, Key] = {}
        self._opening: dict[Key, asyncio.Task[Session]] = {}
        # Servers that could not be reached: until when nobody tries again, and why.
        self._away: dict[Key, tuple[float, str]] = {}
        self._names = itertools.count(1)
        self._look: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process that has them, while there is one."""
        return self._process.pid

    def __len__(self) -> int:
        return len(self._sessions)

    async def listing(self, key: Key, target: Way) -> Listing:
        """What a server has, of the session that is open or is opened now. Raises ServerAway."""
        return (await self._open(key, target)).listing

    async def items(self, key: Key, target: Way, method: Method) -> list[dict[str, Any]]:
        """A list beside the tools: of memory, or read now, once for all who want it. Raises ServerAway, Refused, Unavailable."""
        session = await self._open(key, target)
        if (kept := session.lists.get(method)) is not None:
            return kept
        task = session.reading.get(method)
        if task is None:
            task = session.reading[method] = asyncio.create_task(self._items(session, key, target, method), name=method)
            task.add_done_callback(
                lambda done: session.reading.pop(method, None) if session.reading.get(method) is done else None
            )
        return await asyncio.shield(task)

    async def _items(self, session: Session, key: Key, target: Way, method: Method) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(READING):
                found: list[dict[str, Any]] = await self.call(key, target, "", {}, None, method)
        except TimeoutError:
            raise Refused(f"The server did not list its things within {READING:g} seconds.", "refused") from None
        # One that changed meanwhile is read anew by the next who wants it.
        if session.reading.get(method) is asyncio.current_task():
            session.lists[method] = found
        return found

    async def call(
        self,
        key: Key,
        target: Way,
        name: str,
        arguments: dict[str, Any],
        hearer: Hearer | None,
        method: Method = "tools/call",
    ) -> Any:
        """What a tool gives, or another method. A session that the server does not know any more is opened anew, and the call
        made in that one. hearer: None where nobody can be asked anything.

        Raises ServerAway, Refused, Unavailable.
        """
        for last in (False, True):
            session = await self._open(key, target)
            session.calls += 1
            try:
                return await self._process.request(
                    lambda number, at=session.name: Call(number, at, name, arguments, method),  # type: ignore[misc]
                    hearer,
                )
            except Refused as error:
                if error.trouble == "refused":
                    raise
                self._forget(key, session)
                if last or error.trouble in {"lost", "scope"}:
                    raise
            finally:
                session.calls -= 1
                session.used_at = _now()
        raise AssertionError("unreachable")

    def forget(self, key: Key) -> None:
        """Ends a session, if there is one."""
        if (session := self._sessions.get(key)) is not None:
            self._forget(key, session)
        self._away.pop(key, None)

    async def close(self) -> None:
        """Ends all, and the process."""
        if self._look is not None:
            self._look.cancel()
        for task in list(self._opening.values()):
            task.cancel()
        await self._process.close()

    async def _open(self, key: Key, way: Way) -> Session:
        session = self._sessions.get(key)
        if session is not None and session.ends_at is not None and _now() > session.ends_at:
            self._forget(key, session)
            session = None
        if session is not None:
            session.used_at = _now()
            return session
        if (away := self._away.get(key)) is not None and _now() < away[0]:
            raise ServerAway(away[1])
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.create_task(self._begin(key, way), name="MCP session")
            task.add_done_callback(lambda _: self._opening.pop(key, None))
        # Others may wait for the same one.
        return await asyncio.shield(task)

    async def _begin(self, key: Key, way: Way) -> Session:
        if len(self._sessions) >= MOST:
            oldest = min(self._sessions, key=lambda k: self._sessions[k].used_at)
            self._forget(oldest, self._sessions[oldest])
        if self._stopping is not None:
            await asyncio.wait({self._stopping})
        name = str(next(self._names))
        try:
            async with asyncio.timeout(OPENING):
                target = await way()
                found = await self._process.request(lambda number: Open(number, name, target))
        except TimeoutError:
            raise self._missed(key, f"The server did not answer within {OPENING:g} seconds.") from None
        except OuiError as error:
            raise self._missed(key, error.detail) from None
        at = _now()
        ends = None if target.good_for is None else at + target.good_for
        session = Session(name=name, listing=msgspec.convert(found, Listing), used_at=at, ends_at=ends)
        self._sessions[key] = session
        self._keys[name] = key
        self._away.pop(key, None)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(min(LOOK, self._idle), self._sweep)
        return session

    def _missed(self, key: Key, why: str) -> ServerAway:
        if len(self._away) > MOST:
            self._away.clear()
        self._away[key] = (_now() + AWAY, why)
        return ServerAway(why)

    def _forget(self, key: Key, session: Session) -> None:
        self._keys.pop(session.name, None)
        if self._sessions.get(key) is session:
            del self._sessions[key]
            self._process.send(Close(session.name))

    def _sweep(self) -> None:
        """Ends what nobody uses; with the last session the process."""
        self._look = None
        before = _now() - self._idle
        for key, session in list(self._sessions.items()):
            if not session.calls and session.used_at < before:
                self._forget(key, session)
        if self._sessions or self._opening:
            self._look = asyncio.get_running_loop().call_later(min(LOOK, self._idle), self._sweep)
        else:
            self._stopping = asyncio.create_task(self._stop(), name="end of MCP sessions")

    async def _stop(self) -> None:
        """Ends the process, if nobody has come since."""
        if not self._sessions and not self._opening:
            await self._process.stop()

    def _changed(self, news: Changed) -> None:
        if (key := self._keys.get(news.session)) is None:
            return
        session = self._sessions[key]
        if news.listing is not None:
            session.listing = news.listing
        for kept in (session.lists, session.reading):
            for method in [one for one in kept if one.partition("/")[0] in news.stale]:
                kept.pop(method, None)

    def _ended(self, name: str | None, why: str) -> None:
        if name is None:
            self._sessions.clear()
            self._keys.clear()
        elif (key := self._keys.pop(name, None)) is not None:
            self._sessions.pop(key, None)
            log.info("an MCP session ended", why=why)


def _now() -> float:
    return asyncio.get_running_loop().time()
