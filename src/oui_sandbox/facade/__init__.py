"""The names of Open WebUI that plugins import, in a process where the server is not.

A module is one of `sources` (small helpers, written here), or one of `remote` (whose functions ask the server, which
answers as the person who called), or both. Whatever else begins with `open_webui` can't be imported, and the error says so.
"""

import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final

from oui_sandbox.channel import Channel
from oui_sandbox.facade import remote

ROOT: Final = "open_webui"
_SOURCES: Final = Path(__file__).parent / "sources"


def _texts() -> dict[str, Path]:
    """The modules that are written here."""
    return {path.stem.replace("__", "."): path for path in sorted(_SOURCES.glob("[a-z]*.py"))}


def modules() -> frozenset[str]:
    """The whole names of the modules that plugins find."""
    return frozenset(f"{ROOT}.{name}" for name in _texts().keys() | remote.MODULES.keys() if name)


class Finder:
    """Answers for all modules below `open_webui`, before any folder is looked into."""

    def __init__(self) -> None:
        self._texts = _texts()
        self._code: dict[str, types.CodeType] = {}
        known = self._texts.keys() | remote.MODULES.keys()
        self._known = known | {name.rsplit(".", i)[0] for name in known for i in range(1, name.count(".") + 1)} | {""}

    def compile(self) -> None:
        """Reads the sources: a worker can't, or need not."""
        for name, path in self._texts.items():
            self._code[name] = compile(path.read_text(encoding="utf-8"), f"<{ROOT}.{name}>", "exec", dont_inherit=True)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ImportError for a module of Open WebUI's that is not here."""
        del path, target
        if name != ROOT and not name.startswith(f"{ROOT}."):
            return None
        if name[len(ROOT) + 1 :] not in self._known:
            raise ImportError(f"{name} is not there for plugins of this server.", name=name)
        return importlib.util.spec_from_loader(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Fills it."""
        own = module.__name__[len(ROOT) + 1 :]
        remote.fill(module, own)
        if (code := self._code.get(own)) is not None:
            exec(code, module.__dict__)  # noqa: S102 - a source of this package
        if "__getattr__" not in module.__dict__:
            module.__dict__["__getattr__"] = _absent(module.__name__)


def install() -> None:
    """From here on nothing of the server's own can be imported under its name."""
    finder = Finder()
    finder.compile()
    sys.meta_path.insert(0, finder)


def connect(channel: Channel) -> None:
    """Who is asked."""
    remote.connect(channel)


def _absent(module: str) -> Any:
    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{name} of {module} is not there for plugins of this server.", name=module)

    return missing
