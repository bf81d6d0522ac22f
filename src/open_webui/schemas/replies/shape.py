"""How a handler says what it takes and answers where its own annotations do not. They stand in quotes, and nobody reads them
before somebody asks what the interface looks like.
"""

from typing import Any

import msgspec

# Any JSON object.
Object = dict[str, Any]


class Shape(msgspec.Struct, frozen=True):
    """The JSON of a reply, `-> "Annotated[Any, Shape(Chat)]"`, or of a body that is read by hand,
    `request: "Annotated[Request, Shape(ChatBody)]"`. of: its type. Several of them: it is one or another.
    """

    of: Any


class Media(msgspec.Struct, frozen=True):
    """What a reply is beside JSON, or instead of it: `-> "Annotated[Response, Media('image/*')]"`. type: its media type.

    also: statuses without a body that may come instead.
    """

    type: str
    also: tuple[int, ...] = ()
