"""An encoder like BERT as an ONNX model, made of its config and the header of its safetensors file.

The weights stay in their file: the model names their offsets in it, as external data. onnx itself is not needed.
"""

import json
import struct
from pathlib import Path
from typing import Any, Final

from open_webui.retrieval.onnx.errors import UnusableModel

_OPSET: Final = 20
_IR_VERSION: Final = 9
# ONNX's numbers of the types that safetensors names.
_TYPES: Final = {"F32": 1, "F16": 10, "BF16": 16}
_FLOAT: Final = 1
_INT64: Final = 7
_MAX_HEADER: Final = 16 * 2**20
_ACTIVATIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}
# What a family's weights may begin with, and whether its positions begin after that of padding.
_FAMILIES: Final = {
    "bert": ("bert.", False),
    "roberta": ("roberta.", True),
    "xlm-roberta": ("roberta.", True),
    "camembert": ("roberta.", True),
}


def encoder(folder: Path, config: dict[str, Any], weights: Path) -> bytes:
    """The ONNX model of an encoder of the families of BERT and RoBERTa.

    It takes input_ids, attention_mask and token_type_ids (int64, [texts, tokens]). Its output is last_hidden_state (float32,
    [texts, tokens, hidden]), or logits ([texts, labels]) where the config is that of a classifier.
    Raises UnusableModel for another architecture.
    """
    family = _FAMILIES.get(str(config.get("model_type")))
    activation = _ACTIVATIONS.get(str(config.get("hidden_act", "gelu")))
    if family is None or activation is None or config.get("position_embedding_type", "absolute") != "absolute":
        raise UnusableModel(
            f"{folder.name} has no ONNX file, and is of a kind that is not converted ({config.get('model_type')})."
        )
    try:
        graph = _Graph(weights, family[0])
        return _Encoder(graph, config, activation).build(after_padding=family[1])
    except KeyError as error:
        raise UnusableModel(f"{folder.name} lacks {error.args[0]}, which a model of its kind has.") from error


class _Encoder:
    def __init__(self, graph: "_Graph", config: dict[str, Any], activation: tuple[str, dict[str, Any]]) -> None:
        self._graph = graph
        self._config = config
        self._activation = activation
        self._hidden = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])

    def build(self, *, after_padding: bool) -> bytes:
        """The whole model. after_padding: positions are counted from the one after the padding's."""
        graph, config = self._graph, self._config
        first = int(config.get("pad_token_id", 1)) + 1 if after_padding else 0
        length = graph.op("Slice", graph.op("Shape", "input_ids"), graph.ints(1), graph.ints(2))
        end = graph.op("Add", length, graph.ints(first))
        positions = graph.weight("embeddings.position_embeddings.weight")
        x = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
        x = graph.op("Add", x, graph.op("Slice", positions, graph.ints(first), end, graph.ints(0)))
        types = graph.op("Gather", graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
        x = self._norm(graph.op("Add", x, types), "embeddings.LayerNorm")
        mask = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=_FLOAT), graph.ints(1, 2))
        bias = graph.op("Mul", graph.op("Sub", graph.number(1.0), mask), graph.number(-1e9))
        for layer in range(int(config["num_hidden_layers"])):
            x = self._layer(x, bias, f"encoder.layer.{layer}.")
        if any("ForSequenceClassification" in str(name) for name in config.get("architectures") or ()):
            return graph.model(self._classify(x), "logits", [None, None])
        return graph.model(x, "last_hidden_state", [None, None, self._hidden])

    def _layer(self, x: str, bias: str, at: str) -> str:
        graph, size = self._graph, self._hidden // self._heads

        def heads(name: str, order: list[int]) -> str:
            y = self._linear(x, f"{at}attention.self.{name}")
            return graph.op("Transpose", graph.op("Reshape", y, graph.ints(0, 0, self._heads, size)), perm=order)

        scores = graph.op("MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]))
        scores = graph.op("Add", graph.op("Mul", scores, graph.number(size**-0.5)), bias)
        seen = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), heads("value", [0, 2, 1, 3]))
        seen = graph.op("Reshape", graph.op("Transpose", seen, perm=[0, 2, 1, 3]), graph.ints(0, 0, self._hidden))
        x = graph.op("Add", x, self._linear(seen, f"{at}attention.output.dense"))
        x = self._norm(x, f"{at}attention.output.LayerNorm")
        kind, options = self._activation
        y = graph.op(kind, self._linear(x, f"{at}intermediate.dense"), **options)
        return self._norm(graph.op("Add", x, self._linear(y, f"{at}output.dense")), f"{at}output.LayerNorm")

    def _classify(self, x: str) -> str:
        """The logits of the first token."""
        graph = self._graph
        first = graph.op("Gather", x, graph.index(0), axis=1)
        if graph.has("classifier.out_proj.weight"):
            return self._linear(graph.op("Tanh", self._linear(first, "classifier.dense")), "classifier.out_proj")
        return self._linear(graph.op("Tanh", self._linear(first, "pooler.dense")), "classifier")

    def _linear(self, x: str, name: str) -> str:
        graph = self._graph
        turned = graph.op("Transpose", graph.weight(f"{name}.weight"), perm=[1, 0])
        return graph.op("Add", graph.op("MatMul", x, turned), graph.weight(f"{name}.bias"))

    def _norm(self, x: str, name: str) -> str:
        graph, epsilon = self._graph, float(self._config.get("layer_norm_eps", 1e-12))
        scale, bias = graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")
        return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


class _Graph:
    """An ONNX graph while it is written. Its weights are in a safetensors file."""

    def __init__(self, weights: Path, prefix: str) -> None:
        """prefix: what the names of some weights begin with."""
        self._file = weights.name
        self._tensors, self._data_at = _header(weights)
        self._prefix = prefix
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._count = 0

    def has(self, name: str) -> bool:
        return name in self._tensors or self._prefix + name in self._tensors

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation; the name of its result."""
        result = self._name()
        node = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, result.encode())
        node += _field(4, kind.encode()) + b"".join(_field(5, _attribute(*pair)) for pair in attributes.items())
        self._nodes.append(_field(1, node))
        return result

    def ints(self, *values: int) -> str:
        return self._constant(_INT64, [len(values)], struct.pack(f"<{len(values)}q", *values))

    def index(self, value: int) -> str:
        return self._constant(_INT64, [], struct.pack("<q", value))

    def number(self, value: float) -> str:
        return self._constant(_FLOAT, [], struct.pack("<f", value))

    def weight(self, name: str) -> str:
        """A weight of the file as float32. Raises KeyError, UnusableModel."""
        full = name if name in self._tensors else self._prefix + name
        if full not in self._tensors:
            raise KeyError(name)
        entry = self._tensors[full]
        kind, (start, end) = _TYPES.get(entry["dtype"]), entry["data_offsets"]
        if kind is None:
            raise UnusableModel(f"The weights of {self._file} are {entry['dtype']}; they can be F32, F16 or BF16.")
        result = self._name()
        places = {"location": self._file, "offset": str(self._data_at + start), "length": str(end - start)}
        tensor = _tensor(kind, entry["shape"], result)
        for key, value in places.items():
            tensor += _field(13, _field(1, key.encode()) + _field(2, value.encode()))
        self._constants.append(_field(5, tensor + _varint_field(14, 1)))
        return result if kind == _FLOAT else self.op("Cast", result, to=_FLOAT)

    def model(self, output: str, name: str, shape: list[int | None]) -> bytes:
        """The whole, with one output under this name."""
        self._nodes.append(_field(1, _field(1, output.encode()) + _field(2, name.encode()) + _field(4, b"Identity")))
        graph = b"".join(self._nodes) + _field(2, b"encoder") + b"".join(self._constants)
        for given in ("input_ids", "attention_mask", "token_type_ids"):
            graph += _field(11, _value_info(given, _INT64, [None, None]))
        graph += _field(12, _value_info(name, _FLOAT, shape))
        return _varint_field(1, _IR_VERSION) + _field(8, _field(1, b"") + _varint_field(2, _OPSET)) + _field(7, graph)

    def _constant(self, kind: int, shape: list[int], data: bytes) -> str:
        result = self._name()
        self._constants.append(_field(5, _tensor(kind, shape, result) + _field(9, data)))
        return result

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a safetensors file by name, and where their data begin. Raises UnusableModel."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise UnusableModel(f"{path.name} is no safetensors file.")
            tensors = json.loads(file.read(length))
        begin = 8 + length
        tensors.pop("__metadata__", None)
        if any(begin + entry["data_offsets"][1] > size for entry in tensors.values()):
            raise UnusableModel(f"{path.name} is cut off.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise UnusableModel(f"{path.name} can't be read: {error}") from error
    return tensors, begin


# ---- protobuf's wire: https://protobuf.dev/programming-guides/encoding/; the numbers of the fields are those of onnx.proto


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _tensor(kind: int, shape: list[int], name: str) -> bytes:
    return b"".join(_varint_field(1, size) for size in shape) + _varint_field(2, kind) + _field(8, name.encode())


def _attribute(name: str, value: Any) -> bytes:
    head = _field(1, name.encode())
    match value:
        case float():
            return head + _varint(2 << 3 | 5) + struct.pack("<f", value) + _varint_field(20, 1)
        case int():
            return head + _varint_field(3, value) + _varint_field(20, 2)
        case str():
            return head + _field(4, value.encode()) + _varint_field(20, 3)
        case _:
            return head + b"".join(_varint_field(8, item) for item in value) + _varint_field(20, 7)


def _value_info(name: str, kind: int, shape: list[int | None]) -> bytes:
    sizes = b"".join(
        _field(1, _varint_field(1, s) if s is not None else _field(2, b"n%d" % i)) for i, s in enumerate(shape)
    )
    return _field(1, name.encode()) + _field(2, _field(1, _varint_field(1, kind) + _field(2, sizes)))
