"""Leaves out what packages load along and a server never uses: memory that every process would hold for its life."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_ASYNCIO = "sqlalchemy.ext.asyncio"


@contextmanager
def without(package: str) -> Iterator[None]:
    """Imports as if this package were not installed. Socket.IO's client, which a server doesn't need, takes `requests` along
    (6 MB) where something else has brought it.
    """
    hides = package not in sys.modules
    if hides:
        sys.modules[package] = None  # type: ignore[assignment]  # as the import system documents it
    try:
        yield
    finally:
        if hides:
            del sys.modules[package]


class _EngineOnly(ModuleType):
    """The package `sqlalchemy.ext.asyncio`, whose own code has not run yet: it runs when somebody asks for more than engines."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if find_spec(f"{_ASYNCIO}.{name}"):
            return importlib.import_module(f"{_ASYNCIO}.{name}")
        engine = importlib.import_module(f"{_ASYNCIO}.engine")
        if hasattr(engine, name):
            return getattr(engine, name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # as modules may
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def sqlalchemy_without_orm() -> None:
    """Has SQLAlchemy's engines for asyncio come without its object mapper, which their package loads along (6 MB).

    To be called before they are imported. Whoever asks the package for more later, sessions say, gets the whole of it.
    """
    if _ASYNCIO in sys.modules or (spec := find_spec(_ASYNCIO)) is None:
        return
    package = module_from_spec(spec)
    package.__class__ = _EngineOnly
    sys.modules[_ASYNCIO] = package
    sys.modules[_ASYNCIO.rpartition(".")[0]].asyncio = package  # type: ignore[attr-defined]  # as an import does
