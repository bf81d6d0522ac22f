"""Which models may be in memory together: amounts by device, and the one policy that both pools act by."""

from llamaforge.memory.devices import (
    RAM,
    SHARE,
    Memory,
    by_device,
    cuda_device,
    default_budget,
    machine_memory,
    parse_budget,
    parse_size,
    readable,
)
from llamaforge.memory.policy import (
    Claim,
    Decision,
    Evict,
    Refuse,
    Resident,
    ResidentState,
    Start,
    Wait,
    admit,
    overflow,
)
from llamaforge.memory.queue import RoomQueue, Ticket

__all__ = [
    "RAM",
    "SHARE",
    "Claim",
    "Decision",
    "Evict",
    "Memory",
    "Refuse",
    "Resident",
    "ResidentState",
    "RoomQueue",
    "Start",
    "Ticket",
    "Wait",
    "admit",
    "by_device",
    "cuda_device",
    "default_budget",
    "machine_memory",
    "overflow",
    "parse_budget",
    "parse_size",
    "readable",
]
