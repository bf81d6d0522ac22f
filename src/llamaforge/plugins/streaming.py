"""A stream of text through a plugin that may fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from llamaforge.plugins.base import BasePlugin

_log = logging.getLogger(__name__)


def guarded(plugin: BasePlugin, pieces: Iterator[str]) -> Iterator[str]:
    """`pieces` through `plugin`. If it fails, that is logged and the text passes unchanged from where it was.

    Errors of `pieces` itself reach the caller. Closing closes both.
    """
    source = _Source(pieces)
    process_stream = getattr(plugin, "process_stream", None)
    changed = process_stream(source) if process_stream else (plugin.process(piece) for piece in source)
    try:
        yield from _until_failure(plugin, source, changed)
        yield from source.left()
    finally:
        for iterator in (changed, pieces):
            close = getattr(iterator, "close", None)
            if close is not None:
                close()


def _until_failure(plugin: BasePlugin, source: _Source, changed: Iterator[str]) -> Iterator[str]:
    while True:
        try:
            piece = next(changed)
        except StopIteration:
            source.pending.clear()
            return
        except Exception:
            if source.failed:
                raise
            _log.exception("The plugin '%s' failed and was skipped.", plugin.name)
            return
        source.pending.clear()
        if piece:
            yield piece


class _Source:
    """The pieces, with those remembered that the plugin took since it last gave something."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self.pending: list[str] = []
        self.failed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise
        except BaseException:
            self.failed = True
            raise
        self.pending.append(piece)
        return piece

    def left(self) -> Iterator[str]:
        """What no plugin has answered for: the remembered pieces and all that are yet to come."""
        yield from self.pending
        yield from self._pieces
