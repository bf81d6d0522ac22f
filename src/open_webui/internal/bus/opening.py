"""Which bus a process has."""

from open_webui.env import Settings
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import database_url


def open_bus(settings: Settings) -> Bus:
    """The bus of the configured database's processes. It listens once it is opened. Raises StartupError."""
    return MemoryBus(Hub.of(str(database_url(settings))))
