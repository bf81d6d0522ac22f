"""Where models that diffusers runs lie, found by name without a network, and what one must be before it is loaded."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from llamaforge import hub_cache

INDEX: Final = "model_index.json"
# Models that are listed, and bytes of a description.
_MOST: Final = 500
_LARGEST: Final = 4 * 2**20
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
# Weights in these forms are Python objects: to read them may run what somebody wrote into them.
_PICKLED: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
# The descriptions of a part that may name code of its own.
_TOLD: Final = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
_HALF: Final = ".fp16"


class BadModel(Exception):
    """Why a model can't be used, as a sentence."""


class Found(msgspec.Struct, frozen=True):
    """A model's folder. variant: of the weights that it has, "" for those without one. weights: their bytes."""

    folder: Path
    variant: str
    weights: int


def place_of(name: str, home: Path, *, trusted: bool) -> Path | None:
    """The folder of a model: in `home`, or in the hub's cache. trusted: it may lead out of `home`."""
    for place in (_inside(home, name, trusted=trusted), hub_cache.find(name)):
        if place is not None and _has_index(place):
            return place
    return None


def _inside(home: Path, name: str, *, trusted: bool) -> Path | None:
    try:
        folder = home / name
        return folder if trusted or folder.resolve().is_relative_to(home.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _has_index(folder: Path) -> bool:
    try:
        return (folder / INDEX).is_file()
    except (OSError, ValueError):
        return False


def names(home: Path) -> list[str]:
    """The models that lie in `home`, as they are ("name", "owner/name"), and in the hub's cache."""
    found = {place.parent.relative_to(home).as_posix() for depth in ("*", "*/*") for place in _globbed(home, depth)}
    for repository in _folders(hub_cache.folder()):
        kind, _, name = repository.name.partition("--")
        name = name.replace("--", "/")
        snapshot = hub_cache.find(name) if kind == "models" else None
        if snapshot is not None and _has_index(snapshot):
            found.add(name)
    return sorted(found)[:_MOST]


def _globbed(home: Path, depth: str) -> list[Path]:
    try:
        return [place for place in home.glob(f"{depth}/{INDEX}") if place.is_file()]
    except (OSError, ValueError):
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (OSError, ValueError):
        return []


def checked(folder: Path) -> Found:
    """A model that may be loaded: of safetensors, and without code of its own. Raises BadModel."""
    parts = dict(_parts(_read(folder / INDEX)))
    weights, has_halves = 0, False
    for code in (*folder.glob("*.py"), *(one for name in parts for one in (folder / name).glob("*.py"))):
        raise BadModel(f"The model comes with code of its own ({code.name[:100]}), which is never run here.")
    for name in parts:
        _check_code(folder / name)
        files = [path for path in _folders(folder / name) if path.is_file()]
        safe = [path for path in files if path.suffix == ".safetensors"]
        if not safe and any(path.suffix in _PICKLED for path in files):
            raise BadModel(
                f"The weights of the model's part '{name}' are pickled files, which may run code when they are read."
                " Only safetensors are taken."
            )
        if safe:
            weights += sum(path.stat().st_size for path in safe)
            has_halves |= all(_HALF in path.name for path in safe)
    if not weights:
        raise BadModel("The model has no weights: there is no file of safetensors in the folders of its parts.")
    return Found(folder, _HALF[1:] if has_halves else "", weights)


def libraries(folder: Path) -> list[tuple[str, str]]:
    """Which library the class of each part is of, and its name. Raises BadModel."""
    return list(dict(_parts(_read(folder / INDEX))).values())


def _parts(index: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The parts of a pipeline: name, library, class. Raises BadModel for what may name other code than the libraries'."""
    if not _is_word(index.get("_class_name")):
        raise BadModel("The model names a pipeline of its own, which is code that is never run here.")
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value in ([None, None], []):
            continue
        if not (_is_word(name) and len(value) == 2 and all(_is_word(one) for one in value)):
            raise BadModel(f"The model's part '{name[:100]}' is of a library that is not used here.")
        yield name, (value[0], value[1])


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _check_code(part: Path) -> None:
    for name in _TOLD:
        if (part / name).is_file() and "auto_map" in _read(part / name):
            raise BadModel(f"The model's part '{part.name}' names code of its own, which is never run here.")


def _read(path: Path) -> dict[str, Any]:
    """Raises BadModel."""
    try:
        if path.stat().st_size <= _LARGEST:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError, RecursionError, msgspec.DecodeError):
        pass
    raise BadModel(f"The model's file '{path.name}' can't be read.")
