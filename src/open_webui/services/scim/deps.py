"""What a directory's changes need beside what all services do."""

from collections.abc import Mapping
from typing import Any, Protocol

from open_webui.errors import ScimError
from open_webui.models.base import clean_json
from open_webui.services.deps import Deps
from open_webui.services.message_events import Running


class Stopping(Running, Protocol):
    """The answers that are being written, where they may be stopped."""

    async def stop_user(self, user_id: str) -> None:
        """Stops all that a person asked for, in every process."""
        ...

    async def stop_gone(self) -> None:
        """Stops the answers of chats that are no more, in every process."""
        ...


class ScimDeps(Deps, Protocol):
    @property
    def running(self) -> Stopping: ...


def storable(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without what no database holds. Raises ScimError."""
    try:
        out: dict[str, Any] = clean_json(dict(body))
    except ValueError:
        raise ScimError("The request is nested too deeply.", "invalidSyntax") from None
    return out


def unlike(values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that differ from what was before."""
    return {k: v for k, v in values.items() if before[k] != v}
