"""One other process as a link sees it: what was sent to it and not acknowledged, and how far it is heard. No I/O."""

from collections import deque
from collections.abc import Iterator
from typing import Final

# What one message costs beside its bytes.
_OVERHEAD: Final = 100


class Peer:
    """Both directions of a link. A direction has a number, its *epoch*, and begins anew under a higher one."""

    def __init__(self, name: str, epoch: int, heard_at: float) -> None:
        """epoch: of what is sent to it. heard_at: by the loop's clock."""
        self.name = name
        self.heard_at = heard_at
        # To the peer. `is_cut`: something was lost that can't be sent again; nothing is kept until `restart`.
        self.epoch = epoch
        self.sent = 0
        self.is_cut = False
        self.kept_bytes = 0
        self._kept: deque[tuple[int, bytes, bytes]] = deque()
        # From the peer. `asked`: what is missing up to this number has been asked for.
        self.its_epoch = 0
        self.got = 0
        self.asked = 0
        self.got_at_beat = 0
        self.unacknowledged = 0

    def keep(self, kind: bytes, body: bytes) -> int:
        """The number of the next message to the peer, which is kept until it is acknowledged."""
        self.sent += 1
        self._kept.append((self.sent, kind, body))
        self.kept_bytes += len(body) + _OVERHEAD
        return self.sent

    def acknowledge(self, epoch: int, got: int) -> int:
        """The peer has all up to a number. Gives the bytes that need not be kept any more."""
        if epoch != self.epoch:
            return 0
        before = self.kept_bytes
        while self._kept and self._kept[0][0] <= got:
            self.kept_bytes -= len(self._kept.popleft()[2]) + _OVERHEAD
        return before - self.kept_bytes

    def can_repeat(self, after: int) -> bool:
        """Whether all that followed a number is there."""
        return after == self.sent or bool(self._kept and self._kept[0][0] <= after + 1)

    def repeat(self, after: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, kind and body of all that followed a number."""
        return (message for message in self._kept if message[0] > after)

    def cut(self) -> int:
        """Gives up what is kept: its bytes."""
        self._kept.clear()
        freed, self.kept_bytes, self.is_cut = self.kept_bytes, 0, True
        return freed

    def restart(self, epoch: int) -> None:
        """What is sent to the peer begins anew."""
        self.epoch, self.sent, self.is_cut = epoch, 0, False

    def follow(self, epoch: int) -> bool:
        """Takes an epoch of the peer's. True when what it told before is void."""
        if epoch <= self.its_epoch:
            return False
        had_told = self.got > 0
        self.its_epoch, self.got, self.asked, self.got_at_beat, self.unacknowledged = epoch, 0, 0, 0, 0
        return had_told

    def take(self, epoch: int, number: int) -> bool:
        """Whether a message is the next one. One that isn't is old, or shows that others are missing: see `is_missing`."""
        if epoch != self.its_epoch or number != self.got + 1:
            return False
        self.got = number
        if number >= self.asked:
            self.asked = 0
        return True

    def is_missing(self, epoch: int, number: int) -> bool:
        """Whether messages up to a number have to be asked for; says so once."""
        if epoch != self.its_epoch or number <= self.got or self.asked:
            return False
        self.asked = number
        return True

    def is_stuck(self, epoch: int, sent: int) -> bool:
        """Asked at each beat of the peer's: whether what it has sent has to be asked for (again)."""
        no_progress = self.got == self.got_at_beat
        self.got_at_beat = self.got
        if no_progress and epoch == self.its_epoch:
            self.asked = 0
        return self.is_missing(epoch, sent)
