"""The loads that wait for room, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llamaforge.memory.devices import Memory
from llamaforge.memory.policy import Claim, Decision, Evict, Refuse, Resident, Start, Wait, admit


class Ticket:
    """A place in the queue.

    decision: the last one; with Start and Refuse the ticket has left the queue. reserved: others make way for it, and its
    room is counted as taken.
    """

    __slots__ = ("claim", "decision", "reserved")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.decision: Decision = Wait()
        self.reserved = False


class RoomQueue:
    """Decides for all that wait. It knows no clock and no lock: whoever drives it tells it when something has changed."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []

    def join(self, claim: Claim) -> Ticket:
        """A ticket at the end of the queue."""
        ticket = Ticket(claim)
        self._tickets.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up waiting; for one that has left already, nothing happens."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def decide(
        self, residents: Callable[[Ticket], Iterable[Resident]], budget: Memory, now: float
    ) -> Iterator[tuple[Ticket, Start | Evict | Refuse]]:
        """Each decision but Wait, one at a time: act on it before the next is taken.

        residents: what there is at the moment of the call, as that ticket sees it, without the tickets' own rooms.
        """
        for ticket in tuple(self._tickets):
            ahead = []
            if not ticket.reserved:
                earlier = self._tickets[: self._tickets.index(ticket)]
                ahead = [other.claim for other in earlier if not other.reserved]
            rooms = [self._room(other) for other in self._tickets if other.reserved and other is not ticket]
            decision = admit(ticket.claim, (*residents(ticket), *rooms), budget, now, ahead)
            if isinstance(decision, Wait):
                continue
            if isinstance(decision, Evict):
                ticket.reserved = True
            else:
                self._tickets.remove(ticket)
            ticket.decision = decision
            yield ticket, decision

    @staticmethod
    def _room(ticket: Ticket) -> Resident:
        claim = ticket.claim
        return Resident(claim.name, claim.memory, "reserved", started=claim.since)
