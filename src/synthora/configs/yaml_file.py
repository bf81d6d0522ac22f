"""YAML files with two tags: `!include other.yaml` and `!file text.txt`, relative to the file that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthora.exceptions import ConfigError, MissingExtraError


def load(path: Path) -> Any:
    """The values in a file, safely: no tags but the two, no Python objects. Both tags may name any file of the machine.

    Raises FileNotFoundError; ConfigError when it is a folder, no YAML or includes itself.
    """
    return _load(path, ())


def _load(path: Path, including: tuple[Path, ...]) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 -- of an extra
    except ImportError as error:
        raise MissingExtraError("synthora", "PyYAML") from error
    path = path.resolve()
    if path in including:
        raise ConfigError(f"{path} includes itself.")

    def include(loader: Any, node: Any) -> Any:
        return _load(path.parent / loader.construct_scalar(node), (*including, path))

    def text(loader: Any, node: Any) -> str:
        return _read(path.parent / loader.construct_scalar(node)).strip()

    # A class for each file: its tags know where they stand.
    loader_class: Any = type("Loader", (yaml.SafeLoader,), {})
    loader_class.add_constructor("!include", include)
    loader_class.add_constructor("!file", text)
    try:
        return yaml.load(_read(path), loader_class)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML that can be used: {error}") from error


def _read(path: Path) -> str:
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    if not path.is_file():
        raise ConfigError(f"'{path}' is no file.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is no text in UTF-8.") from error
