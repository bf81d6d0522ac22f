"""GGUF headers: what they tell, and that no broken or hostile file gets through or costs much."""

import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf as writers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamaforge.exceptions import ModelLoadError, ParameterError
from llamaforge.gguf import check_runnable, memory_needed, read_header
from tests.support.tiny_gguf import TEMPLATE, write_gguf, write_random

MIB = 1024 * 1024
UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10
SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(encoded)) + encoded


def value(key: str | bytes, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def tensor(name: str, shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_of(values: list[bytes], tensors: list[bytes], data: int = 0, **lies: int) -> bytes:
    """A GGUF file by hand; `lies` may be told of: version, tensor_count, value_count."""
    head = struct.pack(
        "<IQQ", lies.get("version", 3), lies.get("tensor_count", len(tensors)), lies.get("value_count", len(values))
    )
    header = b"GGUF" + head + b"".join(values) + b"".join(tensors)
    return header + bytes(-len(header) % 32 + data)


ARCHITECTURE = value("general.architecture", STRING, text("llama"))
NAN = struct.pack("<f", float("nan"))

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a GGUF file"),
    "another format": (b"PK\x03\x04" * 10, "not a GGUF file"),
    "only the magic": (b"GGUF", "middle of its header"),
    "version 1": (file_of([], [], version=1), "version 1"),
    "version 99": (file_of([], [], version=99), "version 99"),
    "big-endian": (file_of([], [], version=3 << 24), "big-endian"),
    "too many values": (file_of([], [], value_count=2**63), "claims 9223372036854775808 values"),
    "too many tensors": (file_of([], [], tensor_count=2**64 - 1), "claims 18446744073709551615 tensors"),
    "a long key": (file_of([struct.pack("<Q", 2**60)], [], data=99), "claims"),
    "a long text": (
        file_of([text("a") + struct.pack("<IQ", STRING, 2**40)], [], data=99),
        "claims 1099511627776 bytes",
    ),
    "a long array": (file_of([value("a", ARRAY, struct.pack("<IQ", UINT64, 2**61))], [], data=99), "claims"),
    "an array of many texts": (file_of([value("a", ARRAY, struct.pack("<IQ", STRING, 2**61))], [], data=99), "claims"),
    "arrays in arrays": (file_of([value("a", ARRAY, struct.pack("<IQ", ARRAY, 1))], [], data=99), "arrays within"),
    "an unknown type": (file_of([value("a", 13, b"")], [], data=99), "unknown type 13"),
    "an array of an unknown type": (
        file_of([value("a", ARRAY, struct.pack("<IQ", 77, 1))], [], data=99),
        "unknown type 77",
    ),
    "neither true nor false": (file_of([value("a", BOOL, b"\x07")], [], data=99), "neither true nor false"),
    "a key twice": (file_of([ARCHITECTURE, ARCHITECTURE], []), "'general.architecture' twice"),
    "a value without a name": (file_of([value("", BOOL, b"\x01")], [], data=99), "without a name"),
    "a key that is not UTF-8": (file_of([value(b"\xff\xfe", BOOL, b"\x01")], [], data=99), "not UTF-8"),
    "a text that is not UTF-8": (file_of([value("a", STRING, text(b"\xc3\x28"))], []), "not UTF-8"),
    "an item that is not UTF-8": (
        file_of([value("a", ARRAY, struct.pack("<IQ", STRING, 1) + text(b"\xff"))], []),
        "not UTF-8",
    ),
    "no alignment": (file_of([value("general.alignment", UINT32, bytes(4))], []), "alignment"),
    "an odd alignment": (file_of([value("general.alignment", UINT32, struct.pack("<I", 48))], []), "alignment"),
    "an alignment in words": (file_of([value("general.alignment", STRING, text("32"))], []), "alignment"),
    "a tensor beyond the end": (file_of([], [tensor("a", (1024,))], data=64), "ends too early"),
    "a tensor far beyond the end": (file_of([], [tensor("a", offset=2**63)], data=64), "at 9223372036854775808"),
    "tensors that overlap": (file_of([], [tensor("a"), tensor("b", offset=0)], data=256), "'b' at 0 and not at 32"),
    "a gap between tensors": (file_of([], [tensor("a"), tensor("b", offset=64)], data=256), "'b' at 64 and not at 32"),
    "a tensor twice": (file_of([], [tensor("a"), tensor("a", offset=32)], data=256), "'a' twice"),
    "a tensor of nothing": (file_of([], [tensor("a", (0,))], data=64), "impossible shape"),
    "a tensor beyond counting": (file_of([], [tensor("a", (2**32, 2**32))], data=64), "impossible shape"),
    "half a block": (file_of([], [tensor("a", (33,), kind=8)], data=64), "impossible shape"),
    "no dimensions": (file_of([], [tensor("a", ())], data=64), "0 dimensions"),
    "five dimensions": (file_of([], [tensor("a", (1,) * 5)], data=64), "5 dimensions"),
    "a tensor of an unknown type": (file_of([], [tensor("a", kind=999)], data=64), "unknown type 999"),
    "a long name": (file_of([], [tensor("a" * 64)], data=64), "1 to 63 bytes"),
    "a tensor without a name": (file_of([], [tensor("")], data=64), "1 to 63 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    contents, reason = REFUSED[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(contents)
    with pytest.raises(ModelLoadError) as caught:
        read_header(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="There is no file"):
        read_header(tmp_path / "missing.gguf")
    with pytest.raises(ModelLoadError, match="is not a file"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelLoadError, match="is not a file"):
        read_header(tmp_path / "pipe.gguf")
    with pytest.raises(ModelLoadError, match="can't be read"):
        read_header("nul\0byte.gguf")
    (tmp_path / "file").touch()
    with pytest.raises(ModelLoadError, match="can't be read"):
        read_header(tmp_path / "file" / "model.gguf")


def test_a_file_cut_off_anywhere_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    contents = tiny_gguf.read_bytes()
    data = len(contents) - read_header(tiny_gguf).tensor_bytes
    path = tmp_path / "cut.gguf"
    path.write_bytes(contents)
    for length in (*range(len(contents) - 1, data, -99_991), *range(data, -1, -7)):
        os.truncate(path, length)
        with pytest.raises(ModelLoadError):
            read_header(path)


@pytest.mark.parametrize("texts", [2**14, 2**21])
def test_a_hostile_count_costs_neither_time_nor_memory(tmp_path: Path, texts: int) -> None:
    """A sparse file of 64 GiB, in which there is room for whatever it claims: texts of no length, then nonsense."""
    path = tmp_path / "huge.gguf"
    path.write_bytes(file_of([value("a", ARRAY, struct.pack("<IQ", STRING, texts))], [], tensor_count=9))
    os.truncate(path, 64 * 1024 * MIB)
    began = time.process_time()
    with pytest.raises(ModelLoadError, match="1 to 63 bytes"):
        read_header(path)
    assert time.process_time() - began < 10
    if texts < MIB:  # being watched, it takes ten times as long
        tracemalloc.start()
        with pytest.raises(ModelLoadError):
            read_header(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * MIB


# ---- what a header tells


def test_the_header_of_a_model(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    with writers_reader(tiny_gguf) as reader:
        assert header.tensor_count == len(reader.tensors)
        assert header.tensor_bytes == sum(int(tensor.n_bytes) for tensor in reader.tensors)
        assert header.parameter_count == sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert header.summary() == {
        "architecture": "llama",
        "name": "tiny",
        "quantisation": "F32",
        "parameter_count": header.parameter_count,
        "context_length": 4096,
        "embedding_length": 320,
        "layers": 1,
        "heads": 5,
        "kv_heads": 5,
        "vocabulary_size": 268,
        "tokenizer": "gpt2",
        "has_chat_template": True,
        "tensor_count": 12,
        "tensor_bytes": header.tensor_bytes,
        "file_bytes": tiny_gguf.stat().st_size,
        "files": 1,
        "gguf_version": 3,
    }
    assert header.chat_template == TEMPLATE
    assert header.path == tiny_gguf
    check_runnable(header)


class writers_reader:  # noqa: N801 - a context for the other library's reader, whose map must go before the file does
    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> writers.GGUFReader:
        self.reader = writers.GGUFReader(self.path)
        return self.reader

    def __exit__(self, *_: object) -> None:
        del self.reader


def test_values_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "values.gguf"
    writer = writers.GGUFWriter(path, "llama")
    writer.add_uint8("a.uint8", 200)
    writer.add_int8("a.int8", -5)
    writer.add_uint16("a.uint16", 60000)
    writer.add_int16("a.int16", -300)
    writer.add_int32("a.int32", -70000)
    writer.add_uint64("a.uint64", 2**60)
    writer.add_int64("a.int64", -(2**60))
    writer.add_float64("a.float64", 0.1)
    writer.add_bool("a.bool", val=True)
    writer.add_string("a.string", "één")
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.texts", ["x", "y"])
    writer.add_array("a.long", list(range(5000)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = dict(read_header(path).metadata)
    long = metadata.pop("a.long")
    assert (long.length, metadata) == (
        5000,
        {
            "general.architecture": "llama", "a.uint8": 200, "a.int8": -5, "a.uint16": 60000, "a.int16": -300, "a.int32": -70000,
            "a.uint64": 2**60, "a.int64": -(2**60), "a.float64": 0.1, "a.bool": True, "a.string": "één", "a.numbers": [1, 2, 3],
            "a.texts": ["x", "y"],
        },
    )  # fmt: skip


def test_quantised_tensors(tmp_path: Path) -> None:
    path = tmp_path / "q.gguf"
    writer = writers.GGUFWriter(path, "llama")
    weights = np.ones((4, 64), np.float32)
    kind = writers.GGMLQuantizationType.Q8_0
    writer.add_tensor("a.weight", writers.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(path)
    [found] = header.tensors
    assert (found.shape, found.type.name, found.size, found.elements) == ((64, 4), "Q8_0", 4 * 2 * 34, 256)
    assert header.quantisation == "Q8_0"


def split_model(folder: Path) -> Path:
    """A model in two files, the tensors in the second."""
    for number in range(2):
        writer = writers.GGUFWriter(folder / f"m-0000{number + 1}-of-00002.gguf", "llama")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", 1)
        if number:
            writer.add_tensor("a.weight", np.ones((4, 8), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return folder / "m-00001-of-00002.gguf"


def test_a_split_model(tmp_path: Path) -> None:
    first = split_model(tmp_path)
    second = tmp_path / "m-00002-of-00002.gguf"
    header = read_header(first)
    assert header.files == (first, second)
    assert (header.tensor_count, header.tensor_bytes) == (1, 128)
    assert header.file_bytes == first.stat().st_size + second.stat().st_size
    with pytest.raises(ModelLoadError, match="part 2 of a split model; give the first"):
        read_header(second)
    renamed = second.rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(ModelLoadError, match=r"There is no file .*m-00002-of-00002\.gguf"):
        read_header(first)
    with pytest.raises(ModelLoadError, match="not named like"):
        read_header(renamed)
    second.write_bytes(first.read_bytes())
    with pytest.raises(ModelLoadError, match="is not part 2 of 2"):
        read_header(first)


# ---- memory


def test_memory_needed(tmp_path: Path) -> None:
    header = read_header(write_random(tmp_path / "wide.gguf", dim=256, layers=4, heads=4))
    least = memory_needed(header, 1024)
    cache = 1024 * 4 * 256 * 2 * 2  # tokens x layers x width x keys and values x bytes
    assert least > header.tensor_bytes + cache
    assert memory_needed(header, 1024, 4) - least == 3 * cache
    assert memory_needed(header, 1024, 1, "f32", "f32") - least == cache
    assert memory_needed(header, 1024, 1, "q8_0", "q8_0") - least == cache * 34 // 64 - cache
    with pytest.raises(ParameterError, match="cache type 'q9'"):
        memory_needed(header, 1024, 1, "q9")


def test_memory_needed_is_not_less_than_what_is_taken(tmp_path: Path) -> None:
    """In a process of its own, before and after a load and an answer."""
    path = write_random(tmp_path / "wide.gguf", dim=512, layers=4)
    code = (
        "import psutil\n"
        "import xllamacpp\n"
        "from llamaforge.backends.llama_cpp import LlamaCppBackend\n"
        "process, backend = psutil.Process(), LlamaCppBackend()\n"
        "before = process.memory_info().rss\n"
        f"backend.load_model({str(path)!r}, {{'n_threads': 1, 'n_ctx': 2048, 'use_mmap': False}})\n"
        "backend.generate('a' * 600, {'max_tokens': 4})\n"
        "print(process.memory_info().rss - before, backend.info().details['memory_needed'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, timeout=30, check=True
    )
    taken, needed = map(int, done.stdout.split())
    assert taken <= needed <= taken + 160 * MIB


# ---- files that would harm the engine


@pytest.mark.parametrize(
    ("key", "kind", "payload", "reason"),
    [
        ("llama.block_count", UINT32, struct.pack("<I", 0), "block_count = 0"),
        ("llama.block_count", UINT32, struct.pack("<I", 4096), "block_count = 4096"),
        ("llama.context_length", UINT32, struct.pack("<I", 2**31), "context_length"),
        ("llama.embedding_length", STRING, text("wide"), "embedding_length = None"),
        ("llama.expert_used_count", UINT32, struct.pack("<I", 5), "5 of 0 experts"),
        ("llama.expert_count", UINT32, struct.pack("<I", 5), "0 of 5 experts"),
        ("llama.nextn_predict_layers", UINT32, struct.pack("<I", 1), "predict ahead"),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, NAN, "epsilon = nan"),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", -1), "epsilon = -1"),
        ("llama.rope.scaling.type", STRING, text("sideways"), "'sideways'"),
        ("tokenizer.ggml.model", STRING, text("no_vocab"), "no vocabulary"),
        ("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 0), "no vocabulary"),
        ("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") * 2, "a token twice"),
        ("general.architecture", STRING, text("clip"), "mmproj"),
        ("general.architecture", STRING, text(""), "architecture"),
    ],
)
def test_what_ends_the_engine_is_refused(
    tiny_gguf: Path, tmp_path: Path, key: str, kind: int, payload: bytes, reason: str
) -> None:
    path = tmp_path / "bad.gguf"
    values, rest = taken_apart(tiny_gguf)
    values[key] = (kind, payload)
    path.write_bytes(put_together(values, rest))
    with pytest.raises(ModelLoadError) as caught:
        check_runnable(read_header(path))
    assert reason in str(caught.value)


def taken_apart(path: Path) -> tuple[dict[str, tuple[int, bytes]], bytes]:
    """The values of a file, still encoded, and what follows them, from the count of tensors on."""
    contents = path.read_bytes()
    with writers_reader(path) as reader:
        fields = [field for field in reader.fields.values() if not field.name.startswith("GGUF.")]
        encoded = [(field.name, int(field.types[0]), b"".join(bytes(part) for part in field.parts)) for field in fields]
        tensors = min(tensor.field.offset for tensor in reader.tensors)
    values = {name: (kind, whole[8 + len(name.encode()) + 4 :]) for name, kind, whole in encoded}
    return values, contents[8:16] + contents[tensors:]


def put_together(values: dict[str, tuple[int, bytes]], rest: bytes) -> bytes:
    """The tensors' data begins anew at a multiple of 32, which the tiny model's begin tells apart from its infos."""
    head = b"GGUF" + struct.pack("<I", 3) + rest[:8] + struct.pack("<Q", len(values))
    head += b"".join(value(name, kind, payload) for name, (kind, payload) in values.items())
    infos, data = infos_and_data(rest)
    head += infos
    return head + bytes(-len(head) % 32) + data


def infos_and_data(rest: bytes) -> tuple[bytes, bytes]:
    (count,) = struct.unpack_from("<Q", rest)
    at = 8
    end = 0
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", rest, at)
        at += 8 + length
        (dimensions,) = struct.unpack_from("<I", rest, at)
        shape = struct.unpack_from(f"<{dimensions}Q", rest, at + 4)
        at += 4 + 8 * dimensions + 4
        (offset,) = struct.unpack_from("<Q", rest, at)
        end = offset + 4 * int(np.prod(shape))
        at += 8
    return rest[8:at], rest[len(rest) - (-(-end // 32) * 32) :]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, int]:
    """A file to be changed, its contents, and where its data begins."""
    path = write_gguf(tmp_path_factory.mktemp("changed") / "model.gguf", says="A b.")
    contents = path.read_bytes()
    return path, contents, len(contents) - read_header(path).tensor_bytes


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4
    ),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_a_changed_header_is_read_or_refused(
    changed: tuple[Path, bytes, int], places: list[tuple[float, bytes]], cut: float | None
) -> None:
    path, contents, header = changed
    mutated = bytearray(contents)
    for place, new in places:
        at = int(place * header)
        mutated[at : at + len(new)] = new
    path.write_bytes(bytes(mutated[: None if cut is None else int(cut * len(mutated))]))
    try:
        found = read_header(path)
        check_runnable(found)
    except ModelLoadError as error:
        sentence = str(error)
    else:
        sentence = str(path)
        assert found.tensor_bytes <= len(mutated)
        memory_needed(found, 4096, 4)
    assert sentence.startswith(str(path))


CHILD = """
import sys
import xllamacpp
for line in sys.stdin:
    made = xllamacpp.CommonParams()
    made.model.path, made.n_ctx, made.n_parallel, made.verbosity, made.fit_params = line.strip(), 256, 1, -1, False
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = 1
    try:
        server = xllamacpp.Server(made)
        server.handle_completions({"prompt": "ab", "max_tokens": 3})
        del server
    except (RuntimeError, ValueError):
        pass
    print("lived", flush=True)
"""


def mutations(contents: bytes, header: int, seed: int) -> Iterator[bytes]:
    """Single bytes and small numbers changed outside of the vocabulary, which only gives other words."""
    rng = random.Random(seed)
    begin, end = contents.index(b"tokenizer.ggml.tokens"), contents.index(b"tokenizer.ggml.merges")
    places = [*range(24, begin), *range(end, header)]
    while True:
        mutated = bytearray(contents)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice(places)
            mutated[at] = rng.choice((0, 1, 2, 127, 128, 255, mutated[at] ^ (1 << rng.randrange(8))))
        yield bytes(mutated)


@pytest.mark.slow
def test_what_passes_does_not_end_the_engine(changed: tuple[Path, bytes, int], tmp_path: Path) -> None:
    """100 changed headers that the reader lets through, loaded in a process of its own."""
    pytest.importorskip("xllamacpp")
    _, contents, header = changed
    path = tmp_path / "changed.gguf"
    environment = {"GGML_NO_BACKTRACE": "1", "PATH": os.environ["PATH"]}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    tried = 0
    try:
        for mutated in mutations(contents, header, seed=1):
            path.write_bytes(mutated)
            try:
                check_runnable(read_header(path))
            except ModelLoadError:
                continue
            child.stdin.write(f"{path}\n")
            child.stdin.flush()
            differing = [at for at in range(header) if mutated[at] != contents[at]]
            assert child.stdout.readline() == "lived\n", f"bytes {differing}: {[mutated[at] for at in differing]}"
            tried += 1
            if tried == 100:
                break
    finally:
        child.kill()
        child.communicate()


def test_reading_needs_no_engine(tiny_gguf: Path) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {SOURCE!r})\n"
        "from llamaforge.gguf import read_header\n"
        f"print(read_header({str(tiny_gguf)!r}).name, 'numpy' in sys.modules, 'xllamacpp' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "tiny False False\n"


def test_a_vocabulary_too_long_to_keep(gguf_that_says: Callable[..., Path]) -> None:
    words = " ".join(f"word{number}" for number in range(1100))
    header = read_header(gguf_that_says(words))
    tokens: Any = header.metadata["tokenizer.ggml.tokens"]
    assert (header.vocabulary_size, tokens.length, tokens.repeated) == (1362, 1362, False)
