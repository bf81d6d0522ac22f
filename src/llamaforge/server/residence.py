"""How long models stay loaded: each for its time after its last request, and none that was removed."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from typing import Any, Final

from llamaforge.exceptions import ConfigError, ParameterError
from llamaforge.pool import ModelStatus, Pool
from llamaforge.server.catalog import Catalog

TICK: Final = 1.0
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_FOR_EVER: Final = 1e9
log = logging.getLogger(__name__)


def keep_alive_seconds(value: Any) -> float | None:
    """How long a model stays after a request: seconds, or a text such as "10m" or "1h30m"; for ever if below 0.

    None where nothing is said. Raises ParameterError.
    """
    if value is None:
        return None
    seconds = _parsed(value.strip()) if isinstance(value, str) else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        if seconds < 0 or seconds > _FOR_EVER:
            return math.inf
        if not math.isnan(seconds):
            return float(seconds)
    raise ParameterError("'keep_alive' must be a number of seconds, or a text such as '10m'; -1 means for ever.")


def _parsed(text: str) -> float:
    """Seconds, or what is no number."""
    sign, plain = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if _NUMBER.fullmatch(plain):
        return sign * float(plain)
    if not _DURATION.fullmatch(plain):
        return math.nan
    return sign * sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))


class Residence:
    """Unloads models of a pool that have had their time, and those that are not in the catalogue any more."""

    def __init__(self, pool: Pool, catalog: Catalog, seconds: float | None) -> None:
        """seconds: for models of which nothing else was said; None leaves them to the pool."""
        self._pool = pool
        self._catalog = catalog
        self._seconds = seconds
        self._keep: dict[str, float] = {}
        # What models' entries say that is no time.
        self._wrong: dict[str, Any] = {}
        self._touched: dict[str, float] = {}
        self._unloading: set[asyncio.Task[bool]] = set()

    def touch(self, name: str, keep: float | None, own: Any = None) -> None:
        """Note that a model is asked for now. keep: seconds from now on. own: what the model's entry says, which counts if
        nothing was said yet. Where it is no time that is logged, and no fault of who asks.
        """
        self._touched[name] = time.time()
        if keep is not None:
            self._keep[name] = keep
        elif own is not None and name not in self._keep:
            try:
                self._keep[name] = keep_alive_seconds(own) or 0.0
            except ParameterError as error:
                if self._wrong.get(name) != own:
                    self._wrong[name] = own
                    log.warning("The metadata of the model '%s' are passed over: %s", name, error)

    def expires(self, status: ModelStatus) -> float | None:
        """When a model goes that nobody uses, in seconds since the epoch; None if it stays."""
        seconds = self._keep.get(status.name, self._seconds)
        is_idle = status.state == "ready" and not status.in_use and not status.queued
        if seconds is None or not math.isfinite(seconds) or not is_idle:
            return None
        return max(status.last_used or 0.0, self._touched.setdefault(status.name, time.time())) + seconds

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self.tick()
            except ConfigError as error:
                log.warning("The models stay as they were: %s", error)
            except Exception:  # the next time may go well, and without a next time no model would ever go
                log.exception("What models have had their time could not be found out.")

    async def tick(self) -> None:
        """Unload what has had its time. Raises ConfigError for a configuration that can't be read."""
        for name in [status.name for status in self._pool.status()]:
            # Looked at anew after each wait, and without one before it is unloaded.
            status = next((status for status in self._pool.status() if status.name == name), None)
            expires = None if status is None else self.expires(status)
            if expires is not None and expires <= time.time():
                log.info("Unloading the model '%s' after its idle time.", name)
                await self._pool.unload(name)
        if await self._catalog.refresh():
            names = set(await self._catalog.names())
            for noted in (self._keep, self._touched):
                for name in noted.keys() - names:
                    del noted[name]
            for status in self._pool.status():
                if status.name not in names and status.state in {"ready", "loading"}:
                    log.info("Unloading the model '%s' since it was removed.", status.name)
                    # Its running requests end first.
                    task = asyncio.create_task(self._pool.unload(status.name))
                    self._unloading.add(task)
                    task.add_done_callback(self._unloading.discard)
