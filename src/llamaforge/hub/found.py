"""A model that was found or fetched, ready to be noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamaforge.exceptions import ModelLoadError
from llamaforge.gguf import check_runnable, read_header


@dataclass(frozen=True, slots=True)
class Found:
    """Where a model lies, which backend runs it, and what a person should be told."""

    path: Path | str
    backend: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


def gguf(path: Path, **more: Any) -> Found:
    """A GGUF file, the first one where it is split. Raises ModelLoadError when it can't be run."""
    header = read_header(path)
    check_runnable(header)
    metadata: dict[str, Any] = {"architecture": header.architecture, "quantisation": header.quantisation}
    metadata |= {"context_length": header.context_length, "size": header.tensor_bytes}
    told = {name: value for name, value in metadata.items() if value is not None} | more.pop("metadata", {})
    return Found(path, "llama.cpp", metadata=told, **more)


def local(path: Path) -> Found:
    """A file or a folder of this machine. Raises ModelLoadError when it is no model."""
    if path.is_file():
        return gguf(path)
    if not path.is_dir():
        raise ModelLoadError(f"There is no file or folder {path}.")
    if (path / "config.json").is_file():
        return Found(path, "huggingface")
    files = [file for file in sorted(path.glob("*.gguf")) if not file.name.startswith("mmproj")]
    first = [file for file in files if "-of-" not in file.name or "-00001-of-" in file.name]
    if len(first) == 1:
        return gguf(first[0])
    if first:
        names = ", ".join(file.name for file in first)
        raise ModelLoadError(f"{path} holds several models; name one of them: {names}.")
    raise ModelLoadError(f"{path} holds no model: neither a config.json nor a GGUF file.")
