"""What a bus promises: news from process to process, in order and once, and questions with their answers.

A process is a *peer* of the others while it is heard. What crosses the bus can be made again from what is stored: when a
peer joins, it is told everything (`on_joined`); when it is lost, what it told is void (`on_left`).
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from open_webui.errors import Unavailable

# Called in the order in which a peer sent, at once: it must not wait. Gets the peer's name and the payload.
Handler = Callable[[str, Any], None]
# Answers a question: gets the peer's name and the payload. An OuiError that it raises is raised where it was asked, with
# all its attributes; anything else is logged, and an OuiError there.
Answerer = Callable[[str, Any], Awaitable[Any]]
# Called with the name of a peer.
PeerHandler = Callable[[str], None]


class PeerLost(Unavailable):
    """The process that was asked is gone, or can't be reached."""

    detail = "The part of the server that has this can't be reached at the moment. Try again."


class Bus(Protocol):
    """Payloads are what msgspec encodes as MessagePack: None, bool, int, float, str, bytes, lists, dicts with text keys.

    Handlers are registered before `open`. Nothing here raises because a peer or the carrier is gone, but for `call`.
    """

    # This process's name, new with each start: hexadecimal.
    instance: str

    @property
    def peers(self) -> Collection[str]:
        """The other processes that are heard."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether what carries the news can be reached. Always true where there is none."""
        ...

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Has a handler get what peers send under a topic."""
        ...

    def serve(self, topic: str, answerer: Answerer) -> None:
        """Has questions of peers under a topic answered, each in a task of its own."""
        ...

    def on_joined(self, handler: PeerHandler) -> None:
        """Called when a peer is heard first, or anew after news to it were lost: it knows nothing of this process."""
        ...

    def on_left(self, handler: PeerHandler) -> None:
        """Called when a peer is gone, or news from it were lost: what it told before is void. Before its next news."""
        ...

    async def open(self) -> None:
        """Begins to listen. Returns when this process can be heard, or when what carries the news is away."""
        ...

    async def close(self) -> None:
        """Tells the peers that this process goes, and listens no more."""
        ...

    def send(self, peer: str, topic: str, payload: Any) -> None:
        """To one peer, behind what was sent to it before. Reaches it once, also when the carrier is away for a while.

        Dropped when it is no peer. When more waits for it than is kept, `on_left` is called there and `on_joined` here.
        """
        ...

    def publish(self, topic: str, payload: Any) -> None:
        """The same to each peer."""
        ...

    async def flush(self) -> None:
        """Returns when what was sent so far has been taken by the carrier, or the carrier is away.

        What a peer is told by anybody who acts on an answer given after this, it hears after it.
        """
        ...

    async def call(self, peer: str, topic: str, payload: Any, *, timeout: float) -> Any:
        """What the peer answers within `timeout` seconds. It hears the question behind what was sent to it before.

        Raises TimeoutError, the OuiError that its answerer raised, and PeerLost when nobody answers there or the carrier is
        or goes away; the peer may have acted on the question all the same.
        """
        ...
