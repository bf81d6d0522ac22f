"""What a GGUF model says of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from llamaforge.exceptions import ModelLoadError
from llamaforge.gguf import formats
from llamaforge.gguf.parse import LongArray, Malformed, Parsed, Tensor, parse

_PART: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MAX_PARTS: Final = 999


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a model, of all its files together where it is split.

    files: its files in order. metadata: the values of the first file; long arrays stand as `LongArray`.
    file_bytes: the size of the files together.
    """

    files: tuple[Path, ...]
    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    file_bytes: int

    @property
    def path(self) -> Path:
        """The file that is given to an engine."""
        return self.files[0]

    @property
    def architecture(self) -> str | None:
        """Such as "llama" or "qwen3"; "clip" for the vision part of another model."""
        return self._text("general.architecture")

    @property
    def name(self) -> str | None:
        return self._text("general.name")

    @property
    def context_length(self) -> int | None:
        """The longest context the model was trained for, in tokens."""
        return self.own_number("context_length")

    @property
    def embedding_length(self) -> int | None:
        return self.own_number("embedding_length")

    @property
    def layers(self) -> int | None:
        return self.own_number("block_count")

    @property
    def heads(self) -> int | None:
        """Attention heads of a layer; the most of any, where layers differ."""
        return self.own_number("attention.head_count")

    @property
    def kv_heads(self) -> int | None:
        """Heads of keys and values of a layer; the most of any, where layers differ."""
        return self.own_number("attention.head_count_kv") or self.heads

    @property
    def quantisation(self) -> str | None:
        """Such as "Q4_K_M": what the file says, or else the type of most of its weights."""
        said = self.metadata.get("general.file_type")
        if isinstance(said, int) and said in formats.FILE_TYPES:
            return formats.FILE_TYPES[said]
        weights: Counter[str] = Counter()
        for tensor in self.tensors:
            weights[tensor.type.name] += tensor.elements
        return weights.most_common(1)[0][0] if weights else None

    @property
    def tokenizer(self) -> str | None:
        """The kind of the tokenizer: "gpt2" (byte-level BPE), "llama" (SentencePiece), "bert", …"""
        return self._text("tokenizer.ggml.model")

    @property
    def vocabulary_size(self) -> int | None:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, LongArray):
            return tokens.length
        return len(tokens) if isinstance(tokens, list) else self.own_number("vocab_size")

    @property
    def chat_template(self) -> str | None:
        """Jinja source that turns messages into a prompt."""
        return self._text("tokenizer.chat_template")

    @property
    def tensor_count(self) -> int:
        return len(self.tensors)

    @property
    def tensor_bytes(self) -> int:
        """The bytes of the weights."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def parameter_count(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    def own_number(self, name: str) -> int | None:
        """The number `<architecture>.<name>`; the largest of a list that has one for each layer."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=None)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def summary(self) -> dict[str, Any]:
        """The header as plain values for people and JSON."""
        return {
            "architecture": self.architecture,
            "name": self.name,
            "quantisation": self.quantisation,
            "parameter_count": self.parameter_count,
            "context_length": self.context_length,
            "embedding_length": self.embedding_length,
            "layers": self.layers,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "vocabulary_size": self.vocabulary_size,
            "tokenizer": self.tokenizer,
            "has_chat_template": self.chat_template is not None,
            "tensor_count": self.tensor_count,
            "tensor_bytes": self.tensor_bytes,
            "file_bytes": self.file_bytes,
            "files": len(self.files),
            "gguf_version": self.version,
        }

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


def read_header(path: str | PathLike[str]) -> Header:
    """The header of the model at `path`, the first file where it is split.

    Raises ModelLoadError with a sentence about what is wrong: no such file, not a GGUF file, cut off, hostile, a part missing.
    """
    first = Path(path)
    parsed = _parsed(first)
    count = parsed.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return Header((first,), parsed.version, parsed.metadata, parsed.tensors, parsed.size)
    files = _parts(first, count)
    parts = [parsed, *(_parsed(file) for file in files[1:])]
    for number, part in enumerate(parts):
        if part.metadata.get("split.no") != number or part.metadata.get("split.count") != count:
            raise ModelLoadError(f"{files[number]} is not part {number + 1} of {count} of this model.")
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise ModelLoadError(f"{first}: its parts have the same tensor twice.")
    said = parsed.metadata.get("split.tensors.count", len(tensors))
    if said != len(tensors):
        raise ModelLoadError(
            f"{first}: its parts have {len(tensors)} tensors together, but {said} are said to be there."
        )
    return Header(files, parsed.version, parsed.metadata, tensors, sum(part.size for part in parts))


def _parts(first: Path, count: int) -> tuple[Path, ...]:
    """The files of a split model, by the naming that the engine expects."""
    match = _PART.fullmatch(first.name)
    if match is None or int(match["count"]) != count or count > _MAX_PARTS:
        raise ModelLoadError(f"{first} is part of a split model, but is not named like -00001-of-{count:05}.gguf.")
    if int(match["number"]) != 1:
        raise ModelLoadError(f"{first} is part {int(match['number'])} of a split model; give the first.")
    return tuple(first.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))


def _parsed(path: Path) -> Parsed:
    try:
        return parse(path)
    except Malformed as error:
        raise ModelLoadError(f"{path} {error}.") from None
    except FileNotFoundError:
        raise ModelLoadError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ModelLoadError(f"{path} can't be read: {reason}.") from error
