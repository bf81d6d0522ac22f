"""Statements of all applications in a test process are compiled once, instead of once for each of their engines."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import LRUCache

from open_webui.internal import db


class _Compiled(dict[str, "_OfKind"]):
    def __missing__(self, drivername: str) -> "_OfKind":
        self[drivername] = _OfKind()
        return self[drivername]


class _OfKind(MutableMapping[Any, Any]):
    """SQLAlchemy's cache of compiled statements. Its keys begin with an engine's dialect; here those of a kind are one."""

    def __init__(self) -> None:
        self._kept: LRUCache[Any, Any] = LRUCache(5000)

    def __getitem__(self, key: Any) -> Any:
        return self._kept[key[1:]]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._kept[key[1:]] = compiled

    def __delitem__(self, key: Any) -> None:
        del self._kept[key[1:]]

    def __iter__(self) -> Any:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def share(patch: pytest.MonkeyPatch) -> None:
    """Engines that are made from now on compile for each other. All of a kind are made with the same options."""
    kinds = _Compiled()

    def create(url: Any, **options: Any) -> Any:
        given = options.pop("execution_options", {})
        return create_async_engine(url, execution_options={"compiled_cache": kinds[url.drivername], **given}, **options)

    patch.setattr(db, "create_async_engine", create)
