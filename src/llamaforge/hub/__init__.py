"""Getting models and letting go of them: from a path, the Hugging Face hub, Ollama or an address."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from llamaforge.config import Config
from llamaforge.exceptions import BackendNotFoundError, DownloadError, ModelNotFoundError, ParameterError
from llamaforge.hub import huggingface, ollama
from llamaforge.hub.download import Download, Progress, fetch
from llamaforge.hub.found import Found, gguf, local
from llamaforge.loading import models_in, overlay, plan
from llamaforge.model import Model, checked_name, expanded

__all__ = ["Found", "Progress", "add", "obtain", "own_files", "remove", "source_of"]

_SHA256 = re.compile(r"sha256[=:-]([0-9A-Fa-f]{64})")


def add(
    config: Config,
    name: str,
    source: str,
    *,
    backend: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> Found:
    """Obtain a model, note it as `name` and save the configuration.

    source: see `obtain`. backend: that of a source which is taken as it stands, such as a provider's name of a model.
    parameters: lie over what the source brings. progress: told of bytes. Nothing is noted when something fails.
    Raises ParameterError (also when the name is taken and not to be replaced), DownloadError, ModelLoadError.
    """
    checked_name(name, "model")
    if not replace and name in config.list_models():
        path = (config.get_model(name) or {}).get("path")
        raise ParameterError(
            f"There is already a model '{name}', {path}. Give --replace to put this in its place, or choose another name."
        )
    found = obtain(source, config.models_dir, progress) if backend is None else Found(_as_it_stands(source), backend)
    noted = _checked_parameters(name, found, parameters or {})
    config.add_model(name, found.path, found.backend, noted, found.metadata)
    config.save()
    return found


def obtain(source: str, models_dir: Path, progress: Progress | None = None) -> Found:
    """A model of this machine, or one that is downloaded into `models_dir`.

    source: a path to a file or folder; "hf:owner/repo", "hf:owner/repo/file.gguf"; "ollama:name:tag"; or an https address
    of a GGUF file, to which "#sha256=..." may be added. Raises ParameterError, DownloadError, ModelLoadError.
    """
    kind, _, rest = source.partition(":")
    if kind == "hf":
        return huggingface.find(rest.removeprefix("//"), models_dir, progress)
    if kind == "ollama":
        return ollama.find(ollama.Name.parse(rest.removeprefix("//")), models_dir, progress)
    if kind in {"https", "http"}:
        return _from_address(source, models_dir, progress)
    return local(expanded(source).absolute())


def remove(config: Config, name: str, *, delete_file: bool = False) -> Path | None:
    """Forget a model and save the configuration; the file or folder that was deleted, or None.

    delete_file: also delete it, if it lies in the configuration's `models_dir` and no other model uses it. With it,
    `name` may also be a file or folder there that was never added.
    Raises ModelNotFoundError, and ParameterError, before anything is changed, for a file that may not be deleted.
    """
    entry = config.get_model(name)
    if entry is None and name not in models_in(config.models_dir):
        raise ModelNotFoundError(f"There is no model '{name}'.")
    if entry is None and not delete_file:
        raise ParameterError(f"'{name}' only lies in {config.models_dir}; delete its file to remove it.")
    targets = own_files(config, name) if delete_file else []
    config.remove_model(name)
    config.save()
    for target in targets:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
    return targets[0] if targets else None


def own_files(config: Config, name: str) -> list[Path]:
    """What of a model can be deleted: its files in `models_dir`. Raises ParameterError for files that are not ours."""
    entry = config.get_model(name)
    path = config.models_dir / name if entry is None else Path(str(entry.get("path", "")))
    home = config.models_dir.resolve()
    real = expanded(path).resolve()
    if not real.exists():
        return []
    if not real.is_relative_to(home) or real == home:
        raise ParameterError(
            f"{path} is not in {config.models_dir}, so it is not deleted. Remove the model without its file."
        )
    for other in config.list_models():
        used = expanded(str((config.get_model(other) or {}).get("path", ""))).resolve()
        if other != name and (used == real or used.is_relative_to(real)):
            raise ParameterError(f"{path} is also the model '{other}', so it is not deleted.")
    part = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", real.name)
    if part is None:
        return [real]
    return sorted(
        file
        for file in real.parent.iterdir()
        if re.fullmatch(rf"{re.escape(part[1])}-\d{{5}}-of-{part[2]}\.gguf", file.name)
    )


def source_of(words: str) -> tuple[str, str]:
    """A source and the name to note it by, from what people give to Ollama: "llama3.2:1b", "hf.co/owner/repo"."""
    for host in ("https://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/"):
        if words.startswith(host) and not words.endswith(".gguf"):
            words = f"hf:{words.removeprefix(host)}"
    kind, _, rest = words.partition(":")
    if kind in {"http", "https"}:
        return words, Path(urlsplit(words).path).stem
    if kind == "hf":
        return words, rest.rpartition("/")[2].removesuffix(".gguf")
    name = rest if kind == "ollama" else words
    return f"ollama:{name}", name.removesuffix(":latest")


def _checked_parameters(name: str, found: Found, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`given` over those of the source. Raises ParameterError for what the backend doesn't take."""
    try:
        how = plan(Model(name, found.path, {"backend": found.backend}), (found.parameters, given))
    except BackendNotFoundError:  # a program may register it later
        return {**found.parameters, **given}
    return overlay(found.parameters, given, how.canonical)


def _as_it_stands(source: str) -> Path | str:
    path = expanded(source)
    return path.absolute() if path.exists() else source


def _from_address(source: str, models_dir: Path, progress: Progress | None) -> Found:
    parts = urlsplit(source)
    name = unquote(parts.path).rpartition("/")[2]
    if not name.lower().endswith(".gguf") or name.startswith(".") or "\\" in name or "\0" in name:
        raise ParameterError(f"'{source}' does not end with the name of a GGUF file.")
    sha256 = None
    if parts.fragment:
        match = _SHA256.fullmatch(parts.fragment)
        if match is None:
            raise ParameterError(f"'{parts.fragment}' is no checksum: give sha256= and 64 hexadecimal digits.")
        sha256 = match[1]
    target = models_dir / name
    if target.exists():
        raise DownloadError(f"{target} is there already. Add it by its path, or remove it first.")
    address = parts._replace(fragment="").geturl()
    fetch(Download(address, sha256), target, progress, check=_check)
    return gguf(target, metadata={"source": address})


def _check(part: Path) -> None:
    gguf(part)
