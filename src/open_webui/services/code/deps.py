"""What running code needs of the server's state."""

from typing import Protocol

from open_webui.config import Config
from open_webui.events import Caller
from open_webui.plugins.host import PluginHost
from open_webui.services.deps import FileDeps


class Deps(FileDeps, Protocol):
    """caller: asks the person's page. plugins: has the confined processes."""

    config: Config
    caller: Caller

    @property
    def plugins(self) -> PluginHost: ...
