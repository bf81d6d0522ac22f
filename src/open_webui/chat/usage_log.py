"""The usage log: one row for each call of a provider, kept here until the journal's next commit takes it along."""

import time
from typing import Any, Final

from open_webui.connections.calls import Call
from open_webui.models import usages
from open_webui.models.base import now

# Rows that wait for a database that refuses; older ones are let go.
MAX_WAITING: Final = 100_000


class UsageLog:
    """Counts calls. Nothing is written by it: whoever commits next calls `take`."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []

    def count(self, call: Call, status: int, usage: dict[str, Any] | None) -> None:
        """Notes the end of one provider call. status: HTTP's, 499 when stopped."""
        self._waiting.append(
            {
                "user_id": call.user_id,
                "model_id": call.model_id,
                "connection": call.connection,
                "kind": call.kind,
                "chat_id": call.chat_id,
                "message_id": call.message_id,
                "status": status,
                **usages.tokens(usage),
                "duration_ms": int((time.monotonic() - call.started) * 1000),
                "created_at": now(),
            }
        )

    def take(self) -> list[dict[str, Any]]:
        """The rows that wait, oldest first, which are the caller's to store from now on."""
        taken, self._waiting = self._waiting[-MAX_WAITING:], []
        return taken
