"""JSON-RPC as MCP has it: what a client may send, and what it is answered. No I/O."""

from typing import Any, Final, TypeGuard

import msgspec

# Revisions of the protocol that are spoken, the newest first; and what a client speaks that says nothing.
VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
UNSAID: Final = "2025-03-26"
# The one in which several messages may come at once.
BATCHES: Final = "2025-03-26"
# Of JSON-RPC, and of MCP.
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NO_METHOD: Final = -32601
BAD_PARAMS: Final = -32602
INTERNAL: Final = -32603
REFUSED: Final = -32000
NO_RESOURCE: Final = -32002
UNKNOWN_VERSION: Final = -32022
CANCELLED: Final = -32800
# Characters of names, addresses and ids that clients give.
MAX_WORD: Final = 2_000
_MOST: Final = 2**63
Id = str | int
Wire = dict[str, Any]


class Problem(Exception):
    """What is answered in place of a result. id: of the request, where it could be read."""

    def __init__(self, code: int, sentence: str, data: Any = None, id: Id | None = None) -> None:  # noqa: A002
        super().__init__(sentence)
        self.code, self.sentence, self.data, self.id = code, sentence, data, id

    def wire(self, id: Id | None) -> Wire:  # noqa: A002
        """The error as the protocol has it."""
        said: Wire = {"code": self.code, "message": self.sentence}
        return {"jsonrpc": "2.0", "id": id, "error": said | ({} if self.data is None else {"data": self.data})}


class Request(msgspec.Struct, frozen=True):
    """Something that is answered. token: under which the client wants to hear how far it is."""

    id: Id
    method: str
    params: Wire
    token: Id | None = None


class Notification(msgspec.Struct, frozen=True):
    """Something that is not."""

    method: str
    params: Wire


def parse(message: Any) -> Request | Notification | None:
    """A message of a client; None for an answer to a question, of which this server asks none. Raises Problem."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Problem(INVALID_REQUEST, 'A message is a JSON object with `jsonrpc` "2.0".')
    if "method" not in message and ("result" in message or "error" in message):
        return None
    number = message.get("id")
    if "id" in message and not is_id(number):
        raise Problem(INVALID_REQUEST, "The `id` of a request is a text or a whole number.")
    method, params = message.get("method"), message.get("params", {})
    if not isinstance(method, str):
        raise Problem(INVALID_REQUEST, "A message names a `method`.", id=number)
    if not isinstance(params, dict):
        raise Problem(BAD_PARAMS, "The `params` of a message are an object.", id=number)
    if not is_id(number):
        return Notification(method, params)
    about = params.get("_meta")
    token = about.get("progressToken") if isinstance(about, dict) else None
    if token is not None and not is_id(token):
        raise Problem(BAD_PARAMS, "A `progressToken` is a text or a whole number.", id=number)
    return Request(number, method, params, token)


def is_id(value: Any) -> TypeGuard[Id]:
    """Whether it may name a request."""
    if isinstance(value, str):
        return len(value) <= MAX_WORD
    return isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value < _MOST


def result(request: Request, value: Wire) -> Wire:
    """The answer to a request."""
    return {"jsonrpc": "2.0", "id": request.id, "result": value}


def progress(token: Id, step: int, text: str) -> Wire:
    """How far a call is."""
    params = {"progressToken": token, "progress": step, "message": text}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def word(params: Wire, name: str) -> str:
    """A text among the params that names something. Raises Problem."""
    value = params.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_WORD:
        raise Problem(BAD_PARAMS, f"`{name}` should be a text of at most {MAX_WORD:,} characters.")
    return value


def position(params: Wire) -> int:
    """Where a list goes on, from 0. Raises Problem for a cursor that this server has not made."""
    cursor = params.get("cursor")
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not cursor.isascii() or not cursor.isdigit() or len(cursor) > 7:
        raise Problem(BAD_PARAMS, "The cursor is none of this server's.")
    return int(cursor)
