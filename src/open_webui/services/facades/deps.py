"""What the answers to plugins' questions need of the server's state."""

from typing import Any, Protocol

from open_webui.principal import Principal
from open_webui.services.builtin.deps import Deps as ToolDeps
from open_webui.services.plugins import Deps as PluginDeps


class Deps(ToolDeps, PluginDeps, Protocol):
    """What they need of the state. emitter: tells and asks the person's page."""

    emitter: Any

    async def ask_model(self, principal: Principal, body: dict[str, Any]) -> Any:
        """A chat completion for somebody: a dictionary, or where a stream is asked for, an iterator of its lines.

        Raises OuiError.
        """
        ...
