"""Whether a model may be loaded now, who has to go for it, or why it can't be. Pure: no clock, no lock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from llamaforge.memory.devices import RAM, Memory, readable

OVERDUE_SECONDS = 10.0
"""A load that has waited so long is passed only by those that leave its room alone."""

ResidentState = Literal["idle", "busy", "leaving", "reserved"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A load that wants room.

    memory: bytes by device. since, deadline: when it began to wait and when it gives up, in seconds of one clock.
    """

    name: str
    memory: Memory
    since: float = 0.0
    deadline: float = float("inf")


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that takes memory, or will.

    state: "idle" ones may be evicted. "busy" ones are in use or being loaded. The memory of "leaving" ones will be free.
    "reserved" is the room of a load that waits until others have left.
    used, started: when it was last used and when its load began, in the clock's seconds.
    pinned: it stays busy for as long as the claim waits, because the same caller holds it.
    """

    name: str
    memory: Memory
    state: ResidentState = "idle"
    used: float = 0.0
    started: float = 0.0
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Load now."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload these idle models, keep their room for the claim, and ask again when they are gone."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when something has changed, and at the deadline."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Give up. reason: a sentence without its full stop. too_large: it could not be loaded even alone."""

    reason: str
    too_large: bool = False


Decision = Start | Evict | Wait | Refuse


def admit(
    claim: Claim, residents: Iterable[Resident], budget: Memory, now: float, ahead: Sequence[Claim] = ()
) -> Decision:
    """What is to happen with a load.

    residents: all models but this one. budget: bytes by device; a device that it doesn't name has no limit. ahead: claims
    that came earlier and still wait. Only devices on which the claim takes memory matter.

    Whatever follows the decisions never exceeds the budget. Nothing is evicted that is busy, or whose memory would not let
    the claim start. A claim that must wait holds no other back, until it is overdue.
    """
    everyone = tuple(residents)
    budget = {device: limit for device, limit in budget.items() if claim.memory.get(device)}
    for device, limit in budget.items():
        if claim.memory[device] > limit:
            amount = f"{readable(claim.memory[device])} of {_kind(device)}"
            return Refuse(
                f"The model '{claim.name}' needs about {amount}, and all models together may take {readable(limit)}",
                True,
            )
    staying = [resident for resident in everyone if resident.state != "leaving"]
    if not any(_hinders(claim, other, staying, budget) for other in ahead if now - other.since >= OVERDUE_SECONDS):
        short = _excess((claim, *staying), budget)
        if short:
            evicted = _victims(staying, short)
            if evicted is not None:
                return Evict(evicted)
        elif not _excess((claim, *(one for one in everyone if one.state != "reserved")), budget):
            return Start()
    if now >= claim.deadline or _excess((claim, *(one for one in everyone if one.pinned)), budget):
        return Refuse(_no_room(claim, everyone, budget))
    return Wait()


def overflow(residents: Iterable[Resident], budget: Memory) -> tuple[str, ...]:
    """The idle models to unload where all together take more than the budget, the least recently used first.

    These are those that bring it down far enough, or where none do, all that help.
    """
    staying = [resident for resident in residents if resident.state != "leaving"]
    short = _excess(staying, budget)
    evicted = _victims(staying, short)
    if evicted is None:
        idle = [one for one in staying if one.state == "idle" and any(one.memory.get(device) for device in short)]
        return tuple(one.name for one in sorted(idle, key=lambda one: one.used))
    return evicted


def _excess(claims: Iterable[Claim | Resident], budget: Memory) -> Memory:
    """By how much all these exceed the budget, for each device where they do."""
    everyone = tuple(claims)
    sums = {device: sum(one.memory.get(device, 0) for one in everyone) for device in budget}
    return {device: total - budget[device] for device, total in sums.items() if total > budget[device]}


def _hinders(claim: Claim, other: Claim, staying: Sequence[Resident], budget: Memory) -> bool:
    """Whether `other`, which came first, could not start beside the claim and those that have passed it already."""
    passed = [resident for resident in staying if resident.started > other.since]
    return bool(_excess((claim, other, *passed), budget))


def _victims(staying: Sequence[Resident], short: Memory) -> tuple[str, ...] | None:
    """The idle models whose memory makes up for what is short, no more of them than that takes; None if all do not."""
    left = dict(short)
    chosen: list[Resident] = []
    for resident in sorted(staying, key=lambda one: one.used):
        if resident.state == "idle" and any(left[device] > 0 and resident.memory.get(device) for device in left):
            chosen.append(resident)
            left = {device: amount - resident.memory.get(device, 0) for device, amount in left.items()}
    if any(amount > 0 for amount in left.values()):
        return None
    for resident in reversed(tuple(chosen)):
        without = {device: amount + resident.memory.get(device, 0) for device, amount in left.items()}
        if all(amount <= 0 for amount in without.values()):
            chosen.remove(resident)
            left = without
    return tuple(resident.name for resident in chosen)


def _no_room(claim: Claim, everyone: Sequence[Resident], budget: Memory) -> str:
    device = next(iter(_excess((claim, *everyone), budget) or budget))
    amounts = f"{readable(claim.memory[device])} of {readable(budget[device])}"
    if device != RAM:
        amounts += f" of {device}"
    names = sorted({one.name for one in everyone if one.state != "idle" and one.memory.get(device)})
    return f"There is no room for the model '{claim.name}' ({amounts}): in use are {', '.join(names) or 'others'}"


def _kind(device: str) -> str:
    return "memory" if device == RAM else f"the memory of {device}"
