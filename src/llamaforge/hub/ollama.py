"""Models of Ollama: those that a local one has pulled, used where they lie, and its registry."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamaforge.exceptions import DownloadError, LlamaForgeError, ParameterError
from llamaforge.hub.download import Download, Progress, fetch, read_json, sha256_of
from llamaforge.hub.found import Found, gguf
from llamaforge.parameters import SAMPLING, resolve, spellings

REGISTRY = "https://registry.ollama.ai"
_MODEL = "application/vnd.ollama.image.model"
_PARAMETERS = "application/vnd.ollama.image.params"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?:(?P<space>{_WORD})/)?(?P<name>{_WORD})(?::(?P<tag>{_WORD}))?")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST_PARAMETERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Name:
    """A model in Ollama's naming, the parts that were left out filled in."""

    space: str
    name: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """From "name", "name:tag" or "owner/name:tag". Raises ParameterError."""
        match = _NAME.fullmatch(text)
        if match is None:
            raise ParameterError(f"'{text}' is no name of a model of Ollama, such as llama3.2:1b.")
        return cls(match["space"] or "library", match["name"], match["tag"] or "latest")

    def __str__(self) -> str:
        """As people write it."""
        return f"{'' if self.space == 'library' else self.space + '/'}{self.name}:{self.tag}"


def find(name: Name, models_dir: Path, progress: Progress | None, registry: str = REGISTRY) -> Found:
    """The model that a local Ollama has, else that of the registry, downloaded into `models_dir`."""
    return find_pulled(name) or pull(name, models_dir, progress, registry)


def find_pulled(name: Name, home: Path | None = None) -> Found | None:
    """The model in the folder of a local Ollama, or None. home: OLLAMA_MODELS or ~/.ollama/models by default.

    Raises ModelLoadError when the file is broken.
    """
    home = home or Path(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models").expanduser()
    manifest = home / "manifests" / "registry.ollama.ai" / name.space / name.name / name.tag
    try:
        layers = _layers(json.loads(manifest.read_text(encoding="utf-8")), str(manifest))
    except (OSError, ValueError):
        return None
    blobs = {kind: home / "blobs" / f"sha256-{digest}" for kind, digest in layers.items()}
    if not blobs[_MODEL].is_file():
        return None
    parameters: Mapping[str, Any] = {}
    if _PARAMETERS in blobs and blobs[_PARAMETERS].is_file():
        parameters = _defaults(_read(blobs[_PARAMETERS]))
    remark = f"Ollama has pulled {name}; its file is used where it lies."
    return gguf(blobs[_MODEL], parameters=parameters, metadata={"source": f"ollama:{name}"}, remark=remark)


def pull(name: Name, models_dir: Path, progress: Progress | None, registry: str = REGISTRY) -> Found:
    """The model of the registry, in `models_dir`/ollama. Raises DownloadError, ModelLoadError."""
    base = f"{registry}/v2/{name.space}/{name.name}"
    try:
        manifest = read_json(f"{base}/manifests/{name.tag}", {"Accept": _MANIFEST})
    except DownloadError as error:
        raise DownloadError(f"No local Ollama has {name}, and it can't be fetched. {error}") from error
    layers = _layers(manifest, registry)
    owner = "" if name.space == "library" else f"{name.space}-"
    target = models_dir / "ollama" / f"{owner}{name.name}-{name.tag}.gguf"
    wanted = Download(f"{base}/blobs/sha256:{layers[_MODEL]}", sha256=layers[_MODEL])
    if not target.is_file() or sha256_of(target) != wanted.sha256:
        fetch(wanted, target, progress, check=_check)
    parameters: Mapping[str, Any] = {}
    if _PARAMETERS in layers:
        parameters = _defaults(read_json(f"{base}/blobs/sha256:{layers[_PARAMETERS]}"))
    return gguf(target, parameters=parameters, metadata={"source": f"ollama:{name}"})


def _check(part: Path) -> None:
    gguf(part)


def _layers(manifest: object, where: str) -> dict[str, str]:
    """The digest of each kind of layer. Raises DownloadError for a manifest that is none or has no model."""
    layers: object = manifest.get("layers") if isinstance(manifest, Mapping) else None
    found: dict[str, str] = {}
    if isinstance(layers, Sequence):
        for layer in layers:
            digest = _DIGEST.fullmatch(str(layer.get("digest"))) if isinstance(layer, Mapping) else None
            if digest is not None:
                found.setdefault(str(layer.get("mediaType")), digest[1])
    if _MODEL not in found:
        raise DownloadError(f"{where} has a manifest that names no model.")
    return found


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < _LARGEST_PARAMETERS else None
    except (OSError, ValueError):
        return None


def _defaults(stored: object) -> dict[str, Any]:
    """Ollama's parameters that a generation here knows, under our names."""
    known = spellings(SAMPLING)
    given = {key: value for key, value in stored.items() if key in known} if isinstance(stored, Mapping) else {}
    try:
        return resolve(given, SAMPLING)
    except LlamaForgeError:
        return {}
