"""What an engine is: takes an order, gives pictures. The adapters are beside this file."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

# Bytes of one picture, as it is.
LARGEST: Final = 48 * 2**20
# Pictures of one order.
MOST: Final = 10
# Hears how far it is, from 0 to 1, and in words.
Tell = Callable[[float | None, str | None], None]


class Given(msgspec.Struct, frozen=True):
    """A picture that an order brings along. mime: by its first bytes."""

    data: bytes
    mime: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made. width, height: None where nobody says; "auto" and such stand in `size`. images: those to be changed;
    where there are none, new ones are made. seed, guidance: for engines that take them; None where nobody says. more: fields that
    a client of OpenAI's API has set besides.
    """

    prompt: str
    model: str = ""
    count: int = 1
    size: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    negative_prompt: str = ""
    seed: int | None = None
    guidance: float | None = None
    background: str = ""
    images: tuple[Given, ...] = ()
    mask: Given | None = None
    more: Mapping[str, Any] = {}


class Made(msgspec.Struct, frozen=True):
    """A picture as an engine gave it. seed: the number that it came of, where the engine says so. prompt: as the engine wrote it
    anew, "" where it did not.
    """

    data: bytes
    seed: int | None = None
    prompt: str = ""


class Named(msgspec.Struct, frozen=True):
    """A model of an engine."""

    id: str
    name: str


class Engine(Protocol):
    """A service that makes pictures. All raise ProviderError with a sentence for a person.

    Cancelling `make` has the engine stop, where it can.
    """

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """The pictures of an order, at least one."""
        ...

    async def models(self) -> list[Named]:
        """The models that it has, or that are known of its kind."""
        ...

    async def check(self) -> None:
        """Raises ProviderError where it doesn't answer, or doesn't let this server in."""
        ...
