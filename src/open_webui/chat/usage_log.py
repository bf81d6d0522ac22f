"""The usage log: one row for each call of a provider, kept here until the journal's next commit takes it along."""

import time
from typing import Any, Final

import msgspec

from open_webui.connections.base import Target
from open_webui.models.base import now
from open_webui.principal import Principal

# Rows that wait for a database that refuses; older ones are let go.
MAX_WAITING: Final = 100_000


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A provider call to be accounted for. kind: "chat", "api" or "task". started: time.monotonic()."""

    user_id: str
    model_id: str
    connection: str
    kind: str
    started: float
    chat_id: str | None = None
    message_id: str | None = None


def call_of(
    principal: Principal, target: Target, kind: str, chat_id: str | None = None, message_id: str | None = None
) -> Call:
    """A call that begins now."""
    return Call(
        user_id=principal.id,
        model_id=target.model_id,
        connection=target.entry.connection,
        kind=kind,
        started=time.monotonic(),
        chat_id=chat_id,
        message_id=message_id,
    )


class UsageLog:
    """Counts calls. Nothing is written by it: whoever commits next calls `take`."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []

    def count(self, call: Call, status: int, usage: dict[str, Any] | None) -> None:
        """Notes the end of one provider call. status: HTTP's, 499 when stopped."""
        usage = usage or {}
        self._waiting.append(
            {
                "user_id": call.user_id,
                "model_id": call.model_id,
                "connection": call.connection,
                "kind": call.kind,
                "chat_id": call.chat_id,
                "message_id": call.message_id,
                "status": status,
                "prompt_tokens": _count(usage, "prompt_tokens", "input_tokens"),
                "completion_tokens": _count(usage, "completion_tokens", "output_tokens"),
                "duration_ms": int((time.monotonic() - call.started) * 1000),
                "created_at": now(),
            }
        )

    def take(self) -> list[dict[str, Any]]:
        """The rows that wait, oldest first, which are the caller's to store from now on."""
        taken, self._waiting = self._waiting[-MAX_WAITING:], []
        return taken


def _count(usage: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
    return None
