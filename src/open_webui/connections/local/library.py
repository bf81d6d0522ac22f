"""What lies on the disk: GGUF files and Transformers folders, read once and again only when they changed."""

import importlib.util
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.constants import MAX_ID

LLAMA_CPP: Final = "llama.cpp"
TRANSFORMERS: Final = "huggingface"
# A backend's extra, and the modules that it needs.
EXTRAS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    LLAMA_CPP: ("llamacpp", ("xllamacpp",)),
    TRANSFORMERS: ("transformers", ("transformers", "torch")),
}
MAX_DEPTH: Final = 5
MAX_FILES: Final = 20_000
_MAX_JSON: Final = 4 * 2**20
# What downloads and copies in progress are called; hidden names are passed over too.
_PARTIAL: Final = (".part", ".partial", ".incomplete", ".download", ".crdownload", ".tmp")
_WEIGHTS: Final = (".safetensors", ".bin")
# Big files are split: only the first part is a name for all of them.
_SPLIT: Final = re.compile(r"-(\d{5})-of-(\d{5})$")
# Tokens of context for which the memory that a model needs is told.
TYPICAL_CONTEXT: Final = 4_096


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the disk.

    name: its path in the folder, without an ending. size: bytes of its files. changed: seconds since the epoch.
    context: tokens it was trained for. memory: bytes that it needs with a typical context, where that is known. embeds:
    it makes vectors instead of text. error: why it can't be used.
    """

    name: str
    path: str
    backend: str
    size: int = 0
    changed: int = 0
    architecture: str | None = None
    context: int | None = None
    quantization: str | None = None
    parameters: int | None = None
    memory: int | None = None
    embeds: bool = False
    error: str | None = None


def missing_extra(backend: str) -> str | None:
    """The extra to install before a backend can work; None when it can."""
    extra, modules = EXTRAS.get(backend, ("", ()))
    return extra if any(importlib.util.find_spec(module) is None for module in modules) else None


class Library:
    """The models of a folder. `scan` blocks: call it in a thread; calls at once wait for each other."""

    def __init__(self, folder: Path, slots: int = 1) -> None:
        """slots: how many answers a model will write at once, which counts for the memory that it needs."""
        self.folder = folder
        self._slots = slots
        self._known: dict[str, tuple[tuple[int, ...], FoundModel]] = {}
        self._lock = threading.Lock()

    def scan(self, added: Mapping[str, str | None] | None = None) -> list[FoundModel]:
        """All models of the folder, those that can't be used too, and those at other paths. Never raises.

        added: paths that are models whatever they are called, with their backend where it is known.
        """
        added = added or {}
        with self._lock:
            seen: dict[str, tuple[tuple[int, ...], FoundModel]] = {}
            for path, name in [*_walk(self.folder), *((path, Path(path).stem) for path in added)]:
                if path not in seen:
                    seen[path] = self._inspect(path, name, added.get(path) or backend_of(path))
            self._known = seen
            return [found for _, found in seen.values()]

    def _inspect(self, path: str, name: str, backend: str) -> tuple[tuple[int, ...], FoundModel]:
        known = self._known.get(path)
        try:
            files = _files(path, backend)
            signature = tuple(n for s in files for n in (s.st_ino, s.st_size, s.st_mtime_ns))
            if known is not None and known[0] == signature and known[1].backend == backend:
                return known
            found = _read(path, name, backend, self._slots)
            size, changed = sum(s.st_size for s in files), int(max(s.st_mtime for s in files))
        except OSError as error:
            problem = f"It can't be read: {error.strerror or error}."
            return (0,), FoundModel(name=name, path=path, backend=backend, error=problem)
        return signature, msgspec.structs.replace(found, size=size, changed=changed)


def backend_of(path: str) -> str:
    """Which backend is for what lies at a path."""
    return LLAMA_CPP if path.lower().endswith(".gguf") else TRANSFORMERS


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Path and name of everything that looks like a model. Links are followed, each folder is entered once."""
    open_folders, entered, count = [(str(folder), 0)], set[tuple[int, int]](), 0
    while open_folders:
        place, depth = open_folders.pop()
        try:
            about = Path(place).stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        if (about.st_dev, about.st_ino) in entered:
            continue
        entered.add((about.st_dev, about.st_ino))
        names = {entry.name for entry in entries}
        if depth and "config.json" in names and any(n.endswith(_WEIGHTS) for n in names):
            yield place, _name(folder, place)
        for entry in entries:
            count += 1
            if count > MAX_FILES:
                return
            if entry.name.startswith(".") or entry.name.lower().endswith(_PARTIAL):
                continue
            is_folder = _is_folder(entry)
            if entry.name.lower().endswith(".gguf") and not is_folder:
                part = _SPLIT.search(entry.name[:-5])
                if part is None or int(part[1]) == 1:
                    yield entry.path, _name(folder, entry.path)
            elif depth < MAX_DEPTH and is_folder:
                open_folders.append((entry.path, depth + 1))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _name(folder: Path, path: str) -> str:
    name = os.path.relpath(path, folder).replace(os.sep, "/")
    if name.lower().endswith(".gguf"):
        name = _SPLIT.sub("", name[:-5])
    # Names of files may be any bytes.
    return os.fsencode(name).decode(errors="replace")


def parts_of(path: str) -> list[str]:
    """The files of a GGUF model, given its first."""
    part = _SPLIT.search(path[:-5])
    if part is None:
        return [path]
    return [f"{path[: part.start()]}-{n:05}-of-{part[2]}{path[-5:]}" for n in range(1, int(part[2]) + 1)]


def _files(path: str, backend: str) -> list[os.stat_result]:
    """What the files of a model are like. Raises OSError."""
    about = Path(path).stat()
    if stat.S_ISDIR(about.st_mode) and backend == TRANSFORMERS:
        return [e.stat() for e in os.scandir(path) if e.name.endswith((*_WEIGHTS, ".json"))] or [about]
    if not stat.S_ISREG(about.st_mode) or backend != LLAMA_CPP:
        raise OSError("it is not what its backend takes")
    return [Path(part).stat() for part in parts_of(path)]


def _read(path: str, name: str, backend: str, slots: int) -> FoundModel:
    problem = None
    if not name.isprintable() or "\ufffd" in name or len(name) > MAX_ID:
        name = "".join(c if c.isprintable() else "\ufffd" for c in name)[:MAX_ID]
        problem = f"Its name has characters that can't be used, or more than {MAX_ID}. Rename it."
    found = _read_gguf(path, name, slots) if backend == LLAMA_CPP else _read_folder(path, name)
    return msgspec.structs.replace(found, error=problem) if problem else found


def _read_gguf(path: str, name: str, slots: int) -> FoundModel:
    # Loaded when there is such a file: a server without one never needs it.
    from llamaforge import ModelLoadError, gguf  # noqa: PLC0415

    try:
        header = gguf.read_header(path)
        gguf.check_runnable(header)
    except ModelLoadError as error:
        return FoundModel(name=name, path=path, backend=LLAMA_CPP, error=str(error).replace(path, Path(path).name))
    family = header.architecture
    return FoundModel(
        name=name,
        path=path,
        backend=LLAMA_CPP,
        architecture=family,
        context=header.context_length,
        quantization=header.quantisation,
        parameters=header.parameter_count,
        memory=gguf.memory_needed(header, min(header.context_length or TYPICAL_CONTEXT, TYPICAL_CONTEXT), slots),
        # The families of encoders; other models can make vectors too, but are rather for writing.
        embeds=bool(family and "bert" in family),
    )


def _read_folder(path: str, name: str) -> FoundModel:
    base = FoundModel(name=name, path=path, backend=TRANSFORMERS)
    place = Path(path) / "config.json"
    try:
        with place.open("rb") as file:
            config = msgspec.json.decode(file.read(_MAX_JSON))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        return msgspec.structs.replace(base, error="Its config.json can't be read.")
    kinds = config.get("architectures")
    kinds = [k for k in kinds if isinstance(k, str)] if isinstance(kinds, list) else []
    context, family = config.get("max_position_embeddings"), config.get("model_type")
    writes = any(kind.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for kind in kinds)
    problem = None
    if not writes:
        problem = (
            "It is no language model: its config.json names " + (", ".join(kinds)[:200] or "no architecture") + "."
        )
    return msgspec.structs.replace(
        base,
        architecture=family if isinstance(family, str) else None,
        context=context if isinstance(context, int) else None,
        quantization=_dtype(config),
        error=problem,
    )


def _dtype(config: dict[str, Any]) -> str | None:
    kind = config.get("dtype") or config.get("torch_dtype")
    return kind if isinstance(kind, str) else None
