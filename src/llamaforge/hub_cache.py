"""Models in the cache of the Hugging Face hub, found by their names: without the hub's client and without a network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "*.model")


def is_name(name: str) -> bool:
    """Whether the hub may have a repository of this name: "owner/name", or a bare "name" such as gpt2."""
    return _NAME.fullmatch(name) is not None and "--" not in name and ".." not in name


def folder() -> Path:
    """Where the hub's client keeps its downloads: HF_HUB_CACHE, else "hub" in HF_HOME, else in the user's cache."""
    environment = os.environ.get
    home = environment("HF_HOME") or f"{environment('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    cache = environment("HF_HUB_CACHE") or environment("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(cache)).expanduser()


def find(name: str, cache: str | PathLike[str] | None = None, revision: str | None = None) -> Path | None:
    """The folder with the files of a repository in the cache, or None. Not all of its files need be there.

    cache: the cache's folder, where it is another than `folder()`. revision: a branch, tag or commit; "main" where None.
    """
    if not is_name(name):
        return None
    try:
        repository = (folder() if cache is None else Path(cache)) / f"models--{name.replace('/', '--')}"
        reference = repository / "refs" / (revision or "main")
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        found = None if not commit or ".." in commit else repository / "snapshots" / commit
        return found if found is not None and found.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, a folder that is not ours to read, no home
        return None


def is_whole(snapshot: Path, weights: Sequence[str] = ("*.safetensors",), *, code: bool = False) -> bool:
    """Whether a folder of the cache has what a Transformers model needs: an interrupted download leaves a part of it.

    weights: patterns of files that count as such. code: whether Python that the model's config names has to be there.
    """
    try:
        config = json.loads((snapshot / "config.json").read_text(encoding="utf-8"))
        if not any(any(snapshot.glob(pattern)) for pattern in _TOKENIZERS):
            return False
        if code and "auto_map" in config and not any(snapshot.glob("*.py")):
            return False
        indexes = [index for pattern in weights for index in snapshot.glob(f"{pattern}.index.json")]
        if not indexes:
            return any(any(snapshot.glob(pattern)) for pattern in weights)
        parts = {part for index in indexes for part in json.loads(index.read_text("utf-8"))["weight_map"].values()}
        return all((snapshot / part).exists() for part in parts)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # files that are not what their names say
        return False
