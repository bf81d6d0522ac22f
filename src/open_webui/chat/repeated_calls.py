"""Notices a model that goes on calling tools that there are not."""

from collections.abc import Container, Sequence
from typing import Any

from llamaforge.tools.step import CallLike
from open_webui.chat.running import RunningAnswer


class RepeatedCalls:
    """Ends an answer whose model calls the same missing tools again, though it was told which there are.

    A further round would bring the same calls at the price of the whole conversation. Calls of tools that exist are not looked
    at: who asks whether something is done may well ask again.
    """

    def __init__(self) -> None:
        self._called: list[tuple[str, str]] | None = None
        self._said: list[str] = []

    def end(self, running: RunningAnswer, calls: Sequence[CallLike], tools: Container[str], said: list[Any]) -> bool:
        """Whether the answer ends with this round. said: the round's items as the wire has them.

        A round that repeats the one before it in its words, too, says nothing: it is taken out of the answer.
        """
        is_lost = bool(calls) and all(call.name not in tools for call in calls)
        called = [(call.name, call.arguments) for call in calls] if is_lost else None
        texts = [_text(item) for item in said if item.get("type") == "message"]
        is_again = called is not None and called == self._called
        if is_again and texts == self._said:
            running.take_back_round()
        self._called, self._said = called, texts
        return is_again


def _text(item: dict[str, Any]) -> str:
    return "".join(part.get("text") or "" for part in item.get("content") or ())
