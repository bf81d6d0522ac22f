"""How a handler says what its reply looks like where its own return type does not."""

from typing import Any

import msgspec

# Any JSON object.
Object = dict[str, Any]


class Shape(msgspec.Struct, frozen=True):
    """Stands in the annotation of a handler's reply: `Annotated[Any, Shape(Chat)]`. of: the type of the JSON."""

    of: Any
