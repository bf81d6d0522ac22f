"""Leaves out what packages load along and a server never uses: memory that every process would hold for its life."""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

import pydantic
from pydantic.warnings import UnsupportedFieldAttributeWarning

# Packages whose own code brings much that a server doesn't need, and the modules of theirs that hold what it does.
_PARTS: Final = {
    # Without its object mapper (6 MB).
    "sqlalchemy.ext.asyncio": ("engine",),
    # Without its command line and supervisors (1.5 MB).
    "uvicorn": ("config", "server"),
    # Without clients, and managers over brokers (1 MB).
    "engineio": ("async_server", "server", "async_drivers.asgi"),
    "socketio": ("async_server", "async_manager", "asgi"),
}


@contextmanager
def lean() -> Iterator[None]:
    """What is imported meanwhile comes as a server needs it, and whoever asks for more of it later gets that."""
    _spare()
    with _deferred_models():
        yield


@contextmanager
def without(package: str) -> Iterator[None]:
    """Imports as if this package were not installed, unless it is there already."""
    hides = package not in sys.modules
    if hides:
        sys.modules[package] = None  # type: ignore[assignment]  # as the import system documents it
    try:
        yield
    finally:
        if hides:
            del sys.modules[package]


class _Sparing(ModuleType):
    """A package whose own code has not run yet: it runs when somebody asks for more than its parts have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        package = self.__name__
        if find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        for part in _PARTS[package]:
            module = importlib.import_module(f"{package}.{part}")
            if hasattr(module, name):
                return getattr(module, name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # as modules may
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _spare() -> None:
    """Has packages come with the parts that a server needs. Whoever asks one for more later gets the whole of it.

    To be called before they are imported; those that are there already are left as they are.
    """
    for name in _PARTS:
        if name in sys.modules or (spec := find_spec(name)) is None:
            continue
        package = module_from_spec(spec)
        package.__class__ = _Sparing
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)  # as an import does


@contextmanager
def _deferred_models() -> Iterator[None]:
    """Has models that packages define meanwhile make their validators when these are used first.

    Those that describe an API are never used by most processes (1 MB).
    """
    # FastAPI silences it where it makes a field, whose validator comes later now.
    warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)
    base: Any = pydantic.BaseModel
    config, rebuild = base.model_config, vars(base)["model_rebuild"]

    def later(cls: Any, /, **how: Any) -> Any:
        # FastAPI builds some as soon as they are defined. That is a call without arguments; the one at the first use has some.
        return rebuild.__func__(cls, **how) if how else None

    base.model_config, base.model_rebuild = pydantic.ConfigDict(defer_build=True), classmethod(later)
    try:
        yield
    finally:
        base.model_config, base.model_rebuild = config, rebuild
