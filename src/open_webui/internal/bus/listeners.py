"""Who wants to hear what of the bus, whatever carries it: the half of port.Bus that all buses share."""

from collections.abc import Iterable
from typing import Any

import msgspec

from open_webui.errors import OuiError
from open_webui.internal.bus.port import Answerer, Handler, PeerHandler, PeerLost
from open_webui.internal.log import get_logger

log = get_logger(__name__)
_encode, _decode = msgspec.msgpack.Encoder(enc_hook=repr).encode, msgspec.msgpack.decode


class Listeners:
    """The handlers of one process. Nothing that they raise reaches the bus."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._answerers: dict[str, Answerer] = {}
        self._joined: list[PeerHandler] = []
        self._left: list[PeerHandler] = []

    def subscribe(self, topic: str, handler: Handler) -> None:
        self._handlers.setdefault(topic, []).append(handler)

    def serve(self, topic: str, answerer: Answerer) -> None:
        self._answerers[topic] = answerer

    def on_joined(self, handler: PeerHandler) -> None:
        self._joined.append(handler)

    def on_left(self, handler: PeerHandler) -> None:
        self._left.append(handler)

    def hear(self, peer: str, topic: str, payload: Any) -> None:
        """Hands news of a peer to those who want them."""
        for handler in self._handlers.get(topic, ()):
            try:
                handler(peer, payload)
            except Exception:
                # The event fan-out's place: news that can't be taken must not take others with them.
                log.exception("news of another process can't be taken", topic=topic, peer=peer)

    def say_joined(self, peer: str) -> None:
        self._say(self._joined, peer)

    def say_left(self, peer: str) -> None:
        self._say(self._left, peer)

    def _say(self, handlers: Iterable[PeerHandler], peer: str) -> None:
        for handler in handlers:
            try:
                handler(peer)
            except Exception:
                log.exception("the coming or going of another process can't be handled", peer=peer)

    async def answer(self, peer: str, topic: str, payload: Any) -> bytes:
        """Has a question answered: what `result_of` takes. An error that is no OuiError is logged, and told as one."""
        try:
            answerer = self._answerers.get(topic)
            if answerer is None:
                raise PeerLost
            return _encode([None, await answerer(peer, payload)])
        except OuiError as error:
            return _encode(_told(error))
        except Exception:
            log.exception("a question of another process can't be answered", topic=topic, peer=peer)
            return _encode(_told(OuiError()))


def _told(error: OuiError) -> list[Any]:
    # Its class may say the status and the detail.
    return [type(error).__name__, {"status": error.status, "detail": error.detail} | vars(error)]


def result_of(answer: bytes) -> Any:
    """What was answered. Raises the OuiError that the answerer raised, with all that it said of itself."""
    kind, value = _decode(answer)
    if kind is None:
        return value
    known = _error_classes(OuiError)
    error = OuiError.__new__(known.get(kind, OuiError))
    # Its own constructor may want other things than it keeps.
    Exception.__init__(error, value["detail"])
    vars(error).update(value)
    raise error


def _error_classes(root: type[OuiError]) -> dict[str, type[OuiError]]:
    found = {root.__name__: root}
    for below in root.__subclasses__():
        found |= _error_classes(below)
    return found
