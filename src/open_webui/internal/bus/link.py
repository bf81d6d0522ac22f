"""A bus over a carrier that may lose what it carries: numbers, acknowledgements and repetition, for each pair of processes.

Every process tells all others once a second that it lives (a *beat*): how much it has sent to each, and how much it has
got of each. What is sent to a peer is numbered and kept until a beat acknowledges it; who misses a number asks for all
that follows. So nothing is lost while the carrier is away. What can't be repeated, since it was more than is kept, begins
anew: the receiver is told that the peer has left before its next news, the sender that it has joined.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection
from typing import Any, Final

from open_webui.internal.bus import frames
from open_webui.internal.bus.frames import Frame
from open_webui.internal.bus.listeners import Listeners, result_of
from open_webui.internal.bus.peer import Peer
from open_webui.internal.bus.port import PeerLost
from open_webui.internal.bus.transport import ALL, Transport
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise

log = get_logger(__name__)

# Seconds between beats. A peer of which nothing is heard for longer than SILENCE is lost.
BEAT: Final = 1.0
SILENCE: Final = 6.0
# What is kept for all peers together, until they acknowledge it.
KEPT_BYTES: Final = 32 * 2**20
# What is got of a peer is acknowledged before the next beat when it is more than this.
_ACKNOWLEDGE_BYTES: Final = 2**20


class LinkBus(Listeners):
    """port.Bus over a Transport."""

    def __init__(self, transport: Transport, *, kept_bytes: int = KEPT_BYTES) -> None:
        """kept_bytes: the most that is kept for repetition, for all peers together."""
        super().__init__()
        self.instance = secrets.token_hex(6)
        self._sender = self.instance.encode()
        self._transport = transport
        self._most_bytes = kept_bytes
        self._kept_bytes = 0
        self._peers: dict[str, Peer] = {}
        # Counted through all peers: what belongs to a former link is known by its lower number.
        self._epochs = itertools.count(1)
        self._numbers = itertools.count(1)
        # Of what was asked: whom, and its answer to be; None when it will not come.
        self._questions: dict[int, tuple[str, asyncio.Future[bytes | None]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        # When this process last heard itself.
        self._echo_at = 0.0
        self._messages: dict[bytes, Callable[..., None]] = {
            frames.NEWS: self.hear,
            frames.QUESTION: self._on_question,
            frames.ANSWER: self._on_answer,
        }

    @property
    def peers(self) -> Collection[str]:
        return self._peers.keys()

    @property
    def is_up(self) -> bool:
        return self._transport.is_up

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._transport.open(self.instance, self._receive, self._on_change)
        self._beating = supervise("beats of the bus", self._beat)

    async def close(self) -> None:
        if self._beating is None:
            return
        self._beating.cancel()
        self._beating = None
        for task in self._answering:
            task.cancel()
        self._transport.send(ALL, self._frame(frames.LEAVE))
        await self._transport.close()
        for peer in self._peers:
            self._give_up_questions(peer)
        self._peers.clear()

    def send(self, peer: str, topic: str, payload: Any) -> None:
        known = self._peers.get(peer)
        if known is not None:
            self._post(known, frames.NEWS, frames.encode((topic, payload)))

    def publish(self, topic: str, payload: Any) -> None:
        if self._peers:
            body = frames.encode((topic, payload))
            for peer in self._peers.values():
                self._post(peer, frames.NEWS, body)

    async def flush(self) -> None:
        await self._transport.flush()

    async def call(self, peer: str, topic: str, payload: Any, *, timeout: float) -> Any:
        known = self._peers.get(peer)
        if known is None or known.is_cut or not self.is_up:
            raise PeerLost
        number = next(self._numbers)
        answer: asyncio.Future[bytes | None] = self._loop.create_future()
        self._questions[number] = (peer, answer)
        try:
            self._post(known, frames.QUESTION, frames.encode((number, topic, payload)))
            async with asyncio.timeout(timeout):
                answered = await answer
        finally:
            del self._questions[number]
        if answered is None:
            raise PeerLost
        return result_of(answered)

    # What is sent.

    def _frame(self, kind: bytes, epoch: int = 0, number: int = 0, body: bytes = b"") -> bytes:
        return frames.pack(kind, self._sender, epoch, number, body)

    def _post(self, peer: Peer, kind: bytes, body: bytes) -> None:
        """Sends a message to a peer and keeps it until it is acknowledged."""
        if peer.is_cut:
            return
        before = peer.kept_bytes
        number = peer.keep(kind, body)
        self._kept_bytes += peer.kept_bytes - before
        self._transport.send(peer.name, self._frame(kind, peer.epoch, number, body))
        if self._kept_bytes > self._most_bytes:
            self._cut(max(self._peers.values(), key=lambda one: one.kept_bytes))

    def _cut(self, peer: Peer) -> None:
        """Gives up what a peer has not acknowledged. Its link begins anew when it is heard next."""
        log.warning("news for another process were more than is kept: it is told all anew", peer=peer.name)
        self._kept_bytes -= peer.cut()
        self._give_up_questions(peer.name)

    def _restart(self, peer: Peer) -> None:
        self._kept_bytes -= peer.cut()
        peer.restart(next(self._epochs))
        self.say_joined(peer.name)

    def _beat_frame(self) -> bytes:
        entries = {peer.name: (peer.epoch, peer.sent, peer.its_epoch, peer.got) for peer in self._peers.values()}
        return self._frame(frames.BEAT, body=frames.encode(entries))

    async def _beat(self) -> None:
        while True:
            began = self._loop.time()
            self._transport.send(ALL, self._beat_frame())
            await asyncio.sleep(BEAT)
            self._look_around(late=self._loop.time() - began - BEAT)

    def _look_around(self, late: float) -> None:
        """Loses who is silent. late: seconds for which this process was busy or stopped, and heard nobody."""
        if not self.is_up:
            return
        now = self._loop.time()
        if late > BEAT:
            self._echo_at += late
            for peer in self._peers.values():
                peer.heard_at += late
        if now - self._echo_at > SILENCE / 2:
            # It doesn't even hear itself: the connection is dead, and nobody has said so.
            self._transport.renew()
            return
        for peer in list(self._peers.values()):
            if now - peer.heard_at > SILENCE:
                self._lose(peer)

    def _on_change(self, is_up: bool) -> None:
        if not is_up:
            for peer in self._peers:
                self._give_up_questions(peer)
            return
        self._echo_at = self._loop.time()
        for known in self._peers.values():
            known.heard_at = self._echo_at
        self._transport.send(ALL, self._beat_frame())

    def _give_up_questions(self, peer: str) -> None:
        for asked, answer in self._questions.values():
            if asked == peer and not answer.done():
                answer.set_result(None)

    # What is heard.

    def _receive(self, data: bytes) -> None:
        try:
            for frame in frames.unpack(data):
                self._on_frame(frame)
        except ValueError as error:
            log.debug("foreign data on the bus are ignored", bytes=len(data), reason=str(error))

    def _on_frame(self, frame: Frame) -> None:
        kind, name = frame.kind, frame.sender
        if name == self.instance:
            self._echo_at = self._loop.time()
        elif kind == frames.LEAVE:
            if name in self._peers:
                self._lose(self._peers[name])
        else:
            peer = self._peers.get(name) or self._meet(name)
            peer.heard_at = self._loop.time()
            if kind in self._messages:
                self._on_message(peer, frame)
            elif kind == frames.BEAT:
                self._on_beat(peer, frame.body.get(self.instance))
            elif kind == frames.GOT:
                self._kept_bytes -= peer.acknowledge(frame.epoch, frame.number)
            elif kind == frames.REPEAT:
                self._on_repeat(peer, frame.epoch, frame.number)

    def _meet(self, name: str) -> Peer:
        peer = self._peers[name] = Peer(name, next(self._epochs), self._loop.time())
        log.info("another process of this server is there", peer=name)
        self._transport.send(name, self._beat_frame())
        self.say_joined(name)
        return peer

    def _lose(self, peer: Peer) -> None:
        del self._peers[peer.name]
        self._kept_bytes -= peer.kept_bytes
        log.info("another process of this server is gone", peer=peer.name)
        self._give_up_questions(peer.name)
        self.say_left(peer.name)

    def _follow(self, peer: Peer, epoch: int) -> None:
        """Takes over that what a peer sends begins anew."""
        if peer.follow(epoch):
            self._give_up_questions(peer.name)
            self.say_left(peer.name)

    def _on_message(self, peer: Peer, frame: Frame) -> None:
        self._follow(peer, frame.epoch)
        if peer.take(frame.epoch, frame.number):
            peer.unacknowledged += frame.size
            if peer.unacknowledged > _ACKNOWLEDGE_BYTES:
                peer.unacknowledged = 0
                self._transport.send(peer.name, self._frame(frames.GOT, peer.its_epoch, peer.got))
            self._messages[frame.kind](peer.name, *frame.body)
        elif peer.is_missing(frame.epoch, frame.number):
            self._transport.send(peer.name, self._frame(frames.REPEAT, peer.its_epoch, peer.got))

    def _on_beat(self, peer: Peer, entry: tuple[int, int, int, int] | None) -> None:
        if entry is None:
            # It has not heard of this process yet, and will with the next beat.
            return
        epoch, sent, own_epoch, got = entry
        self._follow(peer, epoch)
        self._kept_bytes -= peer.acknowledge(own_epoch, got)
        if peer.is_cut:
            self._restart(peer)
        if peer.is_stuck(epoch, sent):
            self._transport.send(peer.name, self._frame(frames.REPEAT, peer.its_epoch, peer.got))

    def _on_repeat(self, peer: Peer, epoch: int, after: int) -> None:
        if epoch != peer.epoch or peer.is_cut:
            return
        if not peer.can_repeat(after):
            self._restart(peer)
            return
        for number, kind, body in peer.repeat(after):
            self._transport.send(peer.name, self._frame(kind, epoch, number, body))

    def _on_question(self, peer: str, number: int, topic: str, payload: Any) -> None:
        task = self._loop.create_task(self._answer(peer, number, topic, payload))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, peer: str, number: int, topic: str, payload: Any) -> None:
        answer = await self.answer(peer, topic, payload)
        if (known := self._peers.get(peer)) is not None:
            self._post(known, frames.ANSWER, frames.encode((number, answer)))

    def _on_answer(self, peer: str, number: int, answer: bytes) -> None:
        asked, waiting = self._questions.get(number, (None, None))
        if asked == peer and waiting is not None and not waiting.done():
            waiting.set_result(answer)
