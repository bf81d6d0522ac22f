"""What the server and the process with the MCP sessions say to each other: JSON with four bytes of length before it."""

import struct
from typing import Any, Final, Literal

import msgspec

LENGTH: Final = struct.Struct("<I")
# Bytes of one frame; a result has a bound below it.
MAX_FRAME: Final = 32 * 2**20
# Why there is no result. refused: the server, or the library, says no. unsent: the session is gone, and the server has not
# begun with this call. lost: the session is gone, and nobody knows. absent: there is no such session here. scope: whoever signed
# in there has too few rights; the error names those that are wanted.
Trouble = Literal["refused", "unsent", "lost", "absent", "scope"]


Transport = Literal["http", "sse", "stdio"]
# What an MCP server is asked in a session.
Method = Literal[
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
]
# What a server may have beside tools.
Offer = Literal["resources", "prompts", "completions"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to speak with. transport: http (streamable HTTP) and sse have a url, stdio a command."""

    transport: Transport = "http"
    url: str = ""
    headers: dict[str, str] = {}
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    # Seconds for which what it is opened with holds; the server opens it anew then.
    good_for: float | None = None


class Open(msgspec.Struct, frozen=True, tag=True):
    """Begins a session. Answered by Done with a Listing."""

    id: int
    session: str
    target: Target


class Call(msgspec.Struct, frozen=True, tag=True):
    """Calls a tool, or asks something else. Answered by Done with what MCP's method gives; lists come whole, cut to their bounds.

    name: of the tool or the prompt, the address of the resource (with braces where `arguments` go into it), or empty.
    """

    id: int
    session: str
    name: str
    arguments: dict[str, Any]
    method: Method = "tools/call"


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for an Open or a Call any more."""

    id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Ends a session."""

    session: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    """To an Ask. error: a sentence, in place of a value."""

    ask: int
    value: Any = None
    error: str | None = None


class Done(msgspec.Struct, frozen=True, tag=True):
    """The result of an Open or a Call."""

    id: int
    value: Any


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no result."""

    id: int
    error: str
    trouble: Trouble = "refused"


class Progress(msgspec.Struct, frozen=True, tag=True):
    """What a call says of how far it is."""

    id: int
    progress: float
    total: float | None = None
    message: str | None = None


class Ask(msgspec.Struct, frozen=True, tag=True):
    """An MCP server wants something of the person, or of a model, for a call. params: as MCP has them."""

    ask: int
    call: int
    kind: Literal["elicit", "sample"]
    params: dict[str, Any]


class Changed(msgspec.Struct, frozen=True, tag=True):
    """A session has other tools now (`listing`), or other things of those that `stale` names, which are listed when asked for."""

    session: str
    listing: "Listing | None" = None
    stale: tuple[Offer, ...] = ()


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A session is gone."""

    session: str
    why: str


class Listing(msgspec.Struct, frozen=True):
    """What a server has. tools: as MCP's `tools/list` gives them. offers: what it says that it has besides."""

    tools: list[dict[str, Any]]
    name: str = ""
    instructions: str = ""
    offers: tuple[Offer, ...] = ()


ToChild = Open | Call | Cancel | Close | Answer
FromChild = Done | Failed | Progress | Ask | Changed | Ended


def encode(message: ToChild | FromChild) -> bytes:
    """A frame. Raises ValueError for one that is too large."""
    body = msgspec.json.encode(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"is larger than {MAX_FRAME:,} bytes")
    return LENGTH.pack(len(body)) + body
