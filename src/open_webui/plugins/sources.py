"""The server's side of the processes that read plugins: started when somebody saves one, and gone a minute later."""

import asyncio
from typing import Any, Final, TypeVar

import msgspec

from open_webui.errors import BadRequest
from open_webui.internal.child.process import Child, Lost, Refused
from open_webui.plugins.text import MAX_CONTENT, Check, Compare, Format, PluginText, Read, Request, Which

AT_ONCE: Final = 2
IDLE_SECONDS: Final = 60.0
# The largest published plugin takes half a second.
SECONDS: Final = 15.0
_MODULE: Final = "open_webui.plugins.reader"
TOO_LONG: Final = f"A plugin may have {MAX_CONTENT:,} characters."
BEYOND: Final = "This text takes more time or memory to read than there is. It was not taken."
T = TypeVar("T")


class Sources:
    """Processes with one text each, `AT_ONCE` of them at most. To be used from one event loop.

    One that a text ends is not asked again, so that nobody waits for what another has sent.
    """

    def __init__(self, *, module: str = _MODULE, seconds: float = SECONDS) -> None:
        """module: what the processes run. seconds: that one text may take."""
        self._module = module
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._free: list[Child] = []
        self._all: set[Child] = set()

    async def read(self, content: str) -> PluginText:
        """See `reading.read`. Raises BadRequest for a text that is no plugin."""
        return await self._ask(Read(content), PluginText)

    async def check(self, content: str, which: Which, values: dict[str, Any]) -> dict[str, Any]:
        """See `reading.check`. Raises BadRequest for values that don't fit."""
        return await self._ask(Check(content, which, values), dict[str, Any])

    async def compare(self, old: str, new: str, old_name: str, new_name: str) -> list[str]:
        """The lines of a unified diff. Raises BadRequest where it would take too long."""
        return [] if old == new else await self._ask(Compare(old, new, old_name, new_name), list[str])

    async def format(self, code: str) -> str:
        """Python as the installed formatter lays it out. Raises BadRequest for what is no Python."""
        return await self._ask(Format(code), str)

    async def close(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(child.close() for child in self._all))

    async def _ask(self, request: Request, kind: type[T]) -> T:
        try:
            packed = msgspec.msgpack.encode(request)
        except OverflowError:
            raise BadRequest("A whole number may have 64 bits.") from None
        async with self._turns:
            child = self._free.pop() if self._free else self._start()
            well = False
            try:
                answer = await child.call(packed, timeout=self._seconds)
                well = True
            except Refused as error:
                well = True
                raise BadRequest(str(error)) from None
            except Lost:
                raise BadRequest(BEYOND) from None
            finally:
                if well:
                    self._free.append(child)
                else:
                    self._all.discard(child)
                    await asyncio.shield(child.close())
        return msgspec.msgpack.decode(answer, type=kind)

    def _start(self) -> Child:
        child = Child(self._module, "The process that reads plugins", idle_seconds=IDLE_SECONDS)
        self._all.add(child)
        return child
