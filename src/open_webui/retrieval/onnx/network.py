"""A sentence model or a cross-encoder of a folder, loaded: texts in, vectors or scores out. Runs in a child process."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from open_webui.retrieval.onnx.errors import UnusableModel
from open_webui.retrieval.onnx.graph import encoder

# Tokens of one run, padding included: what it works on stays in the caches of a core.
RUN_TOKENS: Final = 512
# A model that was trained for more reads no more of a text: memory rises with the square of its tokens.
MAX_TOKENS: Final = 2_048
_FILES: Final = ("onnx/model.onnx", "model.onnx")
_WEIGHTS: Final = "model.safetensors"
# What texts are preceded by, as the names of prompts in sentence models say it.
_QUERY_PROMPTS: Final = ("query",)
_TEXT_PROMPTS: Final = ("document", "passage")


class Model:
    """One loaded model. Not to be used by two threads at once."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises UnusableModel."""
        self._config = _json(folder / "config.json")
        self._tokenizer = _tokenizer(folder)
        self._pooling = _pooling(folder)
        prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
        self._query_prompt = next((str(prompts[name]) for name in _QUERY_PROMPTS if prompts.get(name)), "")
        self._text_prompt = next((str(prompts[name]) for name in _TEXT_PROMPTS if prompts.get(name)), "")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_longest(folder, self._config))
        self._session = _session(folder, self._config, threads)
        self._inputs = {given.name for given in self._session.get_inputs()}
        if unknown := self._inputs - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
            raise UnusableModel(
                f"The model of {folder.name} asks for {', '.join(sorted(unknown))}, which is not known here."
            )
        self._output = _output(self._session)
        self._pad = int(self._config.get("pad_token_id") or 0)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """A vector for each text: float32, little-endian, of length 1; all zeros for a text without any token."""
        prompt = self._query_prompt if query else self._text_prompt
        encoded = self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        found: list[bytes] = [b""] * len(texts)
        for places, ids, mask, types in self._runs(encoded):
            vectors = self._pooled(self._run(ids, mask, types), mask)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = (vectors / np.maximum(norms, 1e-12)).astype("<f4")
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector.tobytes()
        return found

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers a query, from 0 to 1: the sigmoid of the cross-encoder's logit. Raises UnusableModel."""
        encoded = self._tokenizer.encode_batch_fast([(query, text) for text in texts])
        found = [0.0] * len(texts)
        for places, ids, mask, types in self._runs(encoded):
            logits = self._run(ids, mask, types)
            if logits.ndim != 2 or logits.shape[1] not in {1, 2}:
                raise UnusableModel("The model scores no texts: it is no cross-encoder with one label.")
            # Of two labels, the second says that the text answers.
            logit = (logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)).astype(np.float64)
            for place, score in zip(places, 1 / (1 + np.exp(-np.clip(logit, -500, 500))), strict=True):
                found[place] = float(score)
        return found

    def _runs(self, encoded: Sequence[Any]) -> Iterator[tuple[list[int], Any, Any, Any]]:
        """The places of texts of about one length, longest first, and their ids, mask and types, padded."""
        order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place].ids))
        at = 0
        while at < len(order):
            length = max(1, len(encoded[order[at]].ids))
            places = order[at : at + max(1, RUN_TOKENS // length)]
            at += len(places)
            ids = np.full((len(places), length), self._pad, np.int64)
            mask, types = np.zeros_like(ids), np.zeros_like(ids)
            for row, place in enumerate(places):
                one = encoded[place]
                count = len(one.ids)
                ids[row, :count], mask[row, :count], types[row, :count] = one.ids, 1, one.type_ids
            yield places, ids, mask, types

    def _run(self, ids: Any, mask: Any, types: Any) -> Any:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if "position_ids" in self._inputs:
            given["position_ids"] = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int64), ids.shape)
        fed = {name: value for name, value in given.items() if name in self._inputs}
        return self._session.run([self._output], fed)[0]

    def _pooled(self, hidden: Any, mask: Any) -> Any:
        if hidden.ndim == 2:
            return hidden.astype(np.float32)
        if self._pooling == "cls":
            return hidden[:, 0].astype(np.float32)
        weights = mask.astype(np.float32)
        summed = np.matmul(weights[:, None, :], hidden.astype(np.float32, copy=False))[:, 0]
        return summed / np.maximum(weights.sum(axis=1, keepdims=True), 1)


def _json(path: Path) -> dict[str, Any]:
    """What a JSON file says, nothing where it isn't there. Raises UnusableModel."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnusableModel(f"{path.name} can't be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _tokenizer(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UnusableModel(f"{folder.name} has no tokenizer.json.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise UnusableModel(f"The tokenizer.json of {folder.name} can't be used: {error}") from error


def _pooling(folder: Path) -> str:
    """How vectors are made of a text's tokens: "mean" or "cls", as the folder's modules say. Raises UnusableModel for others."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in modules]
    except FileNotFoundError:
        kinds = [("Pooling", "1_Pooling")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableModel(f"modules.json of {folder.name} can't be read: {error}") from error
    if others := {kind for kind, _ in kinds} - {"Transformer", "Pooling", "Normalize"}:
        raise UnusableModel(f"{folder.name} has a layer that is not known here: {', '.join(sorted(others))}.")
    place = next((path for kind, path in kinds if kind == "Pooling"), "1_Pooling")
    if ".." in place or place.startswith("/"):
        raise UnusableModel(f"modules.json of {folder.name} leads out of its folder.")
    config = _json(folder / place / "config.json")
    named = config.get("pooling_mode")
    modes = {name.removeprefix("pooling_mode_") for name, value in config.items() if value is True and "mode" in name}
    modes = {str(named)} if named else modes or {"mean_tokens"}
    if modes <= {"mean", "mean_tokens"}:
        return "mean"
    if modes <= {"cls", "cls_token"}:
        return "cls"
    raise UnusableModel(f"{folder.name} makes its vectors in a way that is not known here: {', '.join(sorted(modes))}.")


def _longest(folder: Path, config: dict[str, Any]) -> int:
    """How many tokens of a text the model reads."""
    said = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    trained = config.get("max_position_embeddings")
    known = [int(value) for value in (said, _json(folder / "tokenizer_config.json").get("model_max_length")) if value]
    if trained:
        # Those of RoBERTa's kind count positions from the one after the padding's.
        after = int(config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
        known.append(int(trained) - after)
    return max(8, min((*known, MAX_TOKENS)))


def _session(folder: Path, config: dict[str, Any], threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait leave their cores to the server.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    given: str | bytes
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None and len(others := sorted(folder.glob("*.onnx"))) == 1:
        path = others[0]
    if path is not None:
        given = str(path)
    elif (weights := folder / _WEIGHTS).is_file():
        # Links of the hub's cache lead to a folder of blobs: onnxruntime follows none out of the folder that it is given.
        real = weights.resolve()
        given = encoder(folder, config, real)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(real.parent))
    else:
        raise UnusableModel(f"{folder.name} has neither onnx/model.onnx nor {_WEIGHTS}.")
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnusableModel(f"The model of {folder.name} can't be loaded: {str(error)[:300]}") from error


def _output(session: Any) -> str:
    """The name of the output to take: vectors of sentences, else what is to be pooled, else the first."""
    names = [given.name for given in session.get_outputs()]
    wanted = ("sentence_embedding", "last_hidden_state", "token_embeddings", "logits")
    return next((name for name in wanted if name in names), str(names[0]))
