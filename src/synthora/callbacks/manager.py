"""Managers: a backend's handlers, and how they are told of events, both kinds in both kinds of runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from inspect import isawaitable
from typing import Any, Self

from synthora.callbacks import loops
from synthora.callbacks.handlers import AsyncCallBackHandler, BaseCallBackHandler
from synthora.types import CallBackEvent, Node

# How long an asynchronous handler may keep a synchronous run waiting for one event.
HANDLER_SECONDS = 30.0

_log = logging.getLogger(__name__)


def notify(handlers: Sequence[BaseCallBackHandler], event: CallBackEvent, /, *args: Any, **kwargs: Any) -> None:
    """Tell handlers of an event, one after the other; asynchronous ones are waited for. Their errors are logged."""
    for handler in handlers:
        method = getattr(handler, event.value, None)
        if method is None:
            continue
        try:
            result = method(*args, **kwargs)
            if result is not None and isawaitable(result):
                loops.run(result, HANDLER_SECONDS)
        except Exception:  # noqa: BLE001 -- handlers are other people's code
            _log.exception("The handler %s failed at %s; the run goes on.", type(handler).__name__, event.value)


async def anotify(handlers: Sequence[BaseCallBackHandler], event: CallBackEvent, /, *args: Any, **kwargs: Any) -> None:
    """The same from a coroutine: asynchronous handlers are awaited, synchronous ones called directly."""
    for handler in handlers:
        method = getattr(handler, event.value, None)
        if method is None:
            continue
        try:
            result = method(*args, **kwargs)
            if result is not None and isawaitable(result):
                await result
        except Exception:  # noqa: BLE001 -- handlers are other people's code
            _log.exception("The handler %s failed at %s; the run goes on.", type(handler).__name__, event.value)


class BaseCallBackManager:
    """Handlers in the order in which they were added."""

    def __init__(self, handlers: Iterable[BaseCallBackHandler] | None = None, source: Node | None = None) -> None:
        """source: the node whose events are told. Raises TypeError for what is no handler."""
        self.handlers: list[BaseCallBackHandler] = []
        self.source = source
        for handler in handlers or ():
            self.add(handler)

    def add(self, handler: BaseCallBackHandler) -> None:
        """Add a handler at the end. Raises TypeError for what is none."""
        if not isinstance(handler, BaseCallBackHandler):
            raise TypeError(f"{handler!r} is no handler: derive it from BaseCallBackHandler or AsyncCallBackHandler.")
        self.handlers.append(handler)

    def remove(self, handler: BaseCallBackHandler) -> bool:
        """Remove a handler; whether it was there."""
        if handler not in self.handlers:
            return False
        self.handlers.remove(handler)
        return True

    def __iadd__(self, handler: BaseCallBackHandler) -> Self:
        """`manager += handler`."""
        self.add(handler)
        return self

    def __isub__(self, handler: BaseCallBackHandler) -> Self:
        """`manager -= handler`; nothing happens when it was not there."""
        self.remove(handler)
        return self

    def call(self, event: CallBackEvent, *args: Any, **kwargs: Any) -> Any:
        """Tell every handler of an event and wait for those that are asynchronous."""
        notify(self.handlers, event, *args, **kwargs)

    def to_sync(self) -> BaseCallBackManager:
        """A manager of the same handlers whose `call` waits."""
        return BaseCallBackManager(self.handlers, self.source)

    def to_async(self) -> AsyncCallBackManager:
        """A manager of the same handlers whose `call` is a coroutine."""
        return AsyncCallBackManager(self.handlers, self.source)


class AsyncCallBackManager(BaseCallBackManager):
    """The same for coroutines: `await manager.call(...)`."""

    async def call(self, event: CallBackEvent, *args: Any, **kwargs: Any) -> None:
        """Tell every handler of an event; synchronous ones are called directly and should not block."""
        await anotify(self.handlers, event, *args, **kwargs)


def get_callback_manager(
    handlers: Iterable[BaseCallBackHandler] | None = None, source: Node | None = None
) -> BaseCallBackManager:
    """A manager for these handlers: an asynchronous one if any of them is."""
    handlers = list(handlers or ())
    if any(isinstance(handler, AsyncCallBackHandler) for handler in handlers):
        return AsyncCallBackManager(handlers, source)
    return BaseCallBackManager(handlers, source)
