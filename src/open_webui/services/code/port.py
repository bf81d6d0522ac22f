"""What code is run with, what came of it, and what an engine is."""

from typing import Any, Final, Protocol

import msgspec

from open_webui.principal import Principal

# Characters of one piece of code.
MAX_CODE: Final = 200_000
# Seconds that an admin may give it.
LONGEST_SECONDS: Final = 3_600


class Given(msgspec.Struct, frozen=True):
    """A file that the code may read."""

    name: str
    data: bytes


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of code and for whom. chat_id: what was named in this chat before is known; None: nothing is.

    files: of the question, as the wire has them. session_id: the socket of the page, where one waits.
    """

    principal: Principal
    code: str
    seconds: float
    chat_id: str | None = None
    message_id: str | None = None
    session_id: str | None = None
    files: tuple[dict[str, Any], ...] = ()


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. pictures: PNG files and the like. files: that the code wrote, by name. left_out: names of those that were
    too large or too many. notes: sentences about the run.
    """

    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    pictures: tuple[bytes, ...] = ()
    files: dict[str, bytes] = {}
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Something that runs code."""

    async def run(self, run: Run) -> Ran:
        """What the code itself does wrong stands in `stderr`. Raises OuiError where it can't be run at all."""
        ...
