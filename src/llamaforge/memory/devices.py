"""Amounts of memory by device: how much there is, how a person writes it, and how a person reads it."""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from llamaforge.exceptions import ConfigError

RAM = "ram"
"""The machine's own memory. Other devices are called as in torch: "cuda:0", "cuda:1"..."""

SHARE = 0.8
"""How much of a device's (for RAM: of the machine's or the container's) memory models may take where no budget is set."""

Memory = Mapping[str, int]
"""Bytes by device."""

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux tells what a process may have, and which control group this one is in."""

_SIZE = re.compile(r"\s*(\d{1,20}(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DEVICE = re.compile(r"ram|cuda:\d+")


def by_device(memory: int | Memory | None) -> Memory:
    """Bytes by device from a plain number, which is of RAM, or from None, which is nothing."""
    return memory if isinstance(memory, Mapping) else {RAM: memory} if memory is not None else {}


def cuda_device(name: str) -> str:
    """The device that torch means by a name such as "cuda", "cuda:1" or "auto"; RAM for any that is no GPU here."""
    device = "cuda:0" if name in {"cuda", "auto"} else name
    return device if device in gpu_memory() else RAM


def parse_budget(value: object) -> Memory:
    """A budget from an amount (of RAM) or a mapping of devices to amounts, each as `parse_size` takes it.

    Raises ConfigError.
    """
    if not isinstance(value, Mapping):
        return {RAM: parse_size(value)}
    for device in value:
        if not isinstance(device, str) or not _DEVICE.fullmatch(device):
            raise ConfigError(f"{device!r} is no device: use 'ram', 'cuda:0', 'cuda:1' and so on.")
    return {device: parse_size(amount) for device, amount in value.items()}


def default_budget(given: Memory = {}) -> Memory:  # noqa: B006 -- never changed
    """`given`, with a share of what there is for each device that it doesn't name."""
    ram = machine_memory()
    there = {**({} if ram is None else {RAM: ram}), **gpu_memory()}
    return {device: int(size * SHARE) for device, size in there.items()} | dict(given)


def parse_size(value: object) -> int:
    """Bytes from a number, or from a text such as "12GB" (10^9 each) or "12GiB" (2^30). Raises ConfigError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = 0
    if match is not None:
        number, unit, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])
    if not size:
        raise ConfigError(f"{value!r} is no amount of memory: give bytes, or a text such as '12GB' or '12GiB'.")
    return size


def readable(size: int) -> str:
    """Bytes as a person reads them, in powers of ten."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} B"


def machine_memory() -> int | None:
    """Bytes of memory of the machine, or of the container where that is less; None where it can't be known."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for limit in _limits(CGROUPS, OWN_CGROUP):
        try:
            found = min(found, int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return found


def _limits(root: Path, own: Path) -> list[Path]:
    """The files that may limit this process: of its own control group and of those around it, up to the container's."""
    files = [root / "memory" / "memory.limit_in_bytes", root / "memory.max"]
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return files
    # Version 2's line; in a container the path may lie outside of what is seen.
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        return files
    return files + [root.joinpath(*parts[:n], "memory.max") for n in range(1, len(parts) + 1)]


@functools.cache
def gpu_memory() -> Memory:
    """Bytes of each NVIDIA GPU that this process may see, as its driver tells; nothing where there is no driver."""
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
        sizes = _sizes(driver) if driver.nvmlInit_v2() == 0 else []
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            # The numbers end with the first that is no GPU, such as -1 for none.
            numbers = takewhile(
                lambda number: 0 <= number < len(sizes), map(int, filter(str.strip, visible.split(",")))
            )
            sizes = [sizes[number] for number in numbers]
    except (OSError, AttributeError, ValueError):  # no driver, an old one, or GPUs named otherwise
        return {}
    return {f"cuda:{number}": size for number, size in enumerate(sizes)}


def _sizes(driver: ctypes.CDLL) -> list[int]:
    amount, sizes = (ctypes.c_ulonglong * 3)(), []  # total, free, used
    count, handle = ctypes.c_uint(), ctypes.c_void_p()
    driver.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for number in range(count.value):
        if driver.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0:
            driver.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(amount))
            sizes.append(amount[0])
    driver.nvmlShutdown()
    return sizes
