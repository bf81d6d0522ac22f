"""Sentence models of this machine: the real MiniLM in its child process, the families that are converted, and what is refused."""

import asyncio
import json
import os
import shutil
import signal
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.retrieval.embedding import NoEmbedder, open_embedder
from open_webui.retrieval.embedding.local import OnnxEmbedder
from open_webui.retrieval.onnx.errors import UnusableModel
from open_webui.retrieval.onnx.folders import NoModel, fingerprint, folder_of
from open_webui.retrieval.onnx.network import Model
from open_webui.retrieval.onnx.runner import Runner
from tests.support import real_embedder
from tests.support.hub_cache import cache_model

NAME = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
async def runner(own_settings: Settings) -> AsyncIterator[Runner]:
    made = Runner(own_settings)
    yield made
    await made.close()


def matrix(vectors: list[bytes]) -> Any:
    return np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), -1)


async def test_minilm_finds_what_means_the_same(runner: Runner) -> None:
    embedder = OnnxEmbedder(runner, NAME, real_embedder.folder())
    texts = [
        "How do I cook pasta?",
        "Boil the spaghetti in salted water.",
        "The stock market fell by two per cent.",
        "",
    ]
    found = matrix(await embedder.embed(texts))
    assert found.shape == (4, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert found[0] @ found[1] > 0.5
    assert found[0] @ found[2] < 0.2
    # Alone, with others, twice: the same vector.
    again = matrix(await embedder.embed([texts[1], texts[0], texts[1]], query=True))
    assert again[1] == pytest.approx(found[0], abs=1e-5)
    assert again[0] == pytest.approx(again[2], abs=0)


async def test_it_does_what_sentence_transformers_does(runner: Runner) -> None:
    """The vector of Transformers' own network, pooled and normalised by hand, texts cut where the model says."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = real_embedder.folder()
    texts = ["A short one.", "word " * 600, "Größenordnungen, 漢字 and emoji 🎉"]
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        given = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden, mask = network(**given).last_hidden_state, given["attention_mask"][..., None]
        expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    found = matrix(await runner.embed(folder, texts))
    assert found == pytest.approx(expected, abs=2e-5)


async def test_many_texts_keep_their_order(runner: Runner) -> None:
    texts = [f"Number {n} is " + "long " * (n * 7 % 50) for n in range(70)]
    embedder = OnnxEmbedder(runner, NAME, real_embedder.folder())
    together, alone = matrix(await embedder.embed(texts)), matrix(await embedder.embed(texts[63:64]))
    assert together[63] == pytest.approx(alone[0], abs=1e-5)


async def test_a_process_that_is_killed_is_started_again(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_webui.internal.child import process

    monkeypatch.setattr(process, "_FIRST_PAUSE", 0.0)
    folder = real_embedder.folder()
    await runner.embed(folder, ["a"])
    pid = runner._child.pid
    assert pid is not None
    asked = asyncio.create_task(runner.embed(folder, ["word " * 250] * 32))
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="The process of the embedding models has crashed"):
        await asked
    assert len(await runner.embed(folder, ["a"])) == 1


async def test_a_model_that_can_t_be_loaded_is_a_sentence(runner: Runner, tmp_path: Path) -> None:
    folder = copy(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "architectures": []}))
    with pytest.raises(Unavailable, match="has no ONNX file, and is of a kind that is not converted"):
        await runner.embed(folder, ["a"])
    # The process goes on.
    assert len(await runner.embed(real_embedder.folder(), ["a"])) == 1


# ---- what the settings choose


def opened(own_settings: Settings, http: aiohttp.ClientSession, runner: Runner, **environment: str) -> Any:
    return open_embedder(Config(environment), own_settings, http, None, runner)  # type: ignore[arg-type]


async def test_the_default_is_found_in_the_hubs_cache(
    own_settings: Settings, http: aiohttp.ClientSession, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(NoEmbedder, match="is not on this machine"):
        opened(own_settings, http, runner)
    cache_model(tmp_path / "hub", NAME, flat(tmp_path / "flat"))
    embedder = opened(own_settings, http, runner)
    found = matrix(await embedder.embed(["Boil water."]))
    # Through the links of the cache, the same vector.
    assert found == pytest.approx(matrix(await runner.embed(real_embedder.folder(), ["Boil water."])), abs=1e-6)
    # A name without an owner is that of the usual one.
    assert opened(own_settings, http, runner, RAG_EMBEDDING_MODEL="all-MiniLM-L6-v2") is not None


async def test_a_folder_of_the_server(own_settings: Settings, http: aiohttp.ClientSession, runner: Runner) -> None:
    copy(own_settings.data_dir / "models" / "own" / "mini")
    one = opened(own_settings, http, runner, RAG_EMBEDDING_MODEL="own/mini")
    assert one.signature.startswith("local:own/mini:")
    (own_settings.data_dir / "models" / "own" / "mini" / "config.json").write_text("{}")
    assert opened(own_settings, http, runner, RAG_EMBEDDING_MODEL="own/mini").signature != one.signature


def test_only_the_operator_names_places_outside(own_settings: Settings, tmp_path: Path) -> None:
    folder = copy(tmp_path / "elsewhere")
    assert folder_of(str(folder), own_settings, is_operators=True) == folder
    for name in (str(folder), "../../elsewhere"):
        with pytest.raises(NoModel, match="is not on this machine"):
            folder_of(name, own_settings, is_operators=False)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RAG_EMBEDDING_ENGINE": "chroma"}, "no engine for embeddings called 'chroma'"),
        ({"RAG_EMBEDDING_MODEL": ""}, "No embedding model is chosen"),
        ({"BYPASS_EMBEDDING_AND_RETRIEVAL": "true"}, "switched off"),
        ({"RAG_EMBEDDING_ENGINE": "azure_openai"}, "address of the engine azure_openai is not set"),
    ],
)
async def test_why_there_is_none(
    own_settings: Settings, http: aiohttp.ClientSession, runner: Runner, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(NoEmbedder, match=says):
        opened(own_settings, http, runner, **environment)


async def test_without_the_extra_its_name_is_told(
    own_settings: Settings, http: aiohttp.ClientSession, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(NoEmbedder, match="need the extra 'embed'"):
        opened(own_settings, http, runner)


# ---- families, and what is no model


def copy(folder: Path) -> Path:
    """MiniLM in a folder of its own, whose small files a test may change."""
    source = real_embedder.folder()
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").hardlink_to(source / "model.safetensors")
    return folder


def flat(folder: Path) -> Path:
    """Without folders in it."""
    copied = copy(folder)
    shutil.rmtree(copied / "1_Pooling")
    return copied


WORDS = ["<pad>", "<unk>", "<s>", "</s>", *"the cat sat on a mat dogs bark loudly at night".split()]


def made(folder: Path, network: Any, *, first: int = 0) -> Path:
    """A network of Transformers' saved with a tokenizer of a few words. first: before the ids of the tokenizer."""
    network.save_pretrained(folder)
    vocabulary = {word: number + first for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def config_of(kind: str, **changes: Any) -> Any:
    import transformers

    maker = {
        "bert": transformers.BertConfig,
        "roberta": transformers.RobertaConfig,
        "xlm-roberta": transformers.XLMRobertaConfig,
    }[kind]
    return maker(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=40, type_vocab_size=2, initializer_range=0.5, **changes,
    )  # fmt: skip


TEXTS = ["the cat sat", "dogs bark loudly at night on the mat", "mat"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_family_is_as_transformers_has_it(tmp_path: Path, kind: str, dtype: str) -> None:
    import torch
    from transformers import AutoModel

    torch.manual_seed(1)
    network = AutoModel.from_config(config_of(kind, hidden_act="gelu_new")).to(getattr(torch, dtype)).eval()
    folder = made(tmp_path / "model", network)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    found = matrix(Model(folder, 1).embed(TEXTS))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with torch.no_grad():
        for text, vector in zip(TEXTS, found, strict=True):
            hidden = network.float()(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0, 0]
            assert vector == pytest.approx((hidden / hidden.norm()).numpy(), abs=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_cross_encoder_is_as_transformers_has_it(tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(2)
    network = AutoModelForSequenceClassification.from_config(config_of(kind, num_labels=1)).eval()
    folder = made(tmp_path / "model", network)
    found = Model(folder, 1).score("the cat", TEXTS)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with torch.no_grad():
        for text, score in zip(TEXTS, found, strict=True):
            given = tokenizer.encode("the cat", text)
            logit = network(input_ids=torch.tensor([given.ids]), token_type_ids=torch.tensor([given.type_ids])).logits
            assert score == pytest.approx(torch.sigmoid(logit)[0, 0].item(), abs=1e-4)


def test_an_onnx_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """Beside it weights may lie that are of no use here."""
    from open_webui.retrieval.onnx.graph import encoder

    folder = copy(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "model.onnx").write_bytes(encoder(folder, config, folder / "model.safetensors"))
    expected = matrix(Model(real_embedder.folder(), 1).embed(TEXTS))
    (folder / "config.json").write_text(json.dumps({"model_type": "unknown"}))
    assert matrix(Model(folder, 1).embed(TEXTS)) == pytest.approx(expected, abs=1e-6)


def test_prompts_of_the_model(tmp_path: Path) -> None:
    folder = copy(tmp_path / "model")
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    plain, prompted = Model(real_embedder.folder(), 1), Model(folder, 1)
    assert prompted.embed(["cats"], query=True) == plain.embed(["query: cats"])
    assert prompted.embed(["cats"]) == plain.embed(["passage: cats"])


BAD = {
    "no tokenizer": ({"tokenizer.json": None}, "has no tokenizer.json"),
    "a broken tokenizer": ({"tokenizer.json": "{"}, "can't be used"),
    "a broken config": ({"config.json": "{"}, "config.json can't be read"),
    "no weights": ({"model.safetensors": None}, "has neither"),
    "cut off": ({"model.safetensors": "cut"}, "is cut off"),
    "no safetensors": (
        {"model.safetensors": struct.pack("<Q", 2**40).decode("latin1") + "x"},
        "is no safetensors file",
    ),
    "too short": ({"model.safetensors": "x"}, "can't be read"),
    "an ONNX file of something else": ({"model.onnx": "not a model"}, "can't be loaded"),
    "a layer more": (
        {"modules.json": json.dumps([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}])},
        "a layer that is not known here: Dense",
    ),
    "a pooling of its own": ({"1_Pooling/config.json": '{"pooling_mode_lasttoken": true}'}, "lasttoken"),
    "out of the folder": (
        {"modules.json": json.dumps([{"type": "sentence_transformers.models.Pooling", "path": "../../x"}])},
        "leads out of its folder",
    ),
    "another activation": ({"config.json": '{"model_type": "bert", "hidden_act": "mish"}'}, "not converted"),
    "a weight that is missing": ("layers", "lacks"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_model_says_why(tmp_path: Path, case: str) -> None:
    folder = copy(tmp_path / "model")
    changes, says = BAD[case]
    if changes == "layers":
        config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 7}
        changes = {"config.json": json.dumps(config)}
    assert isinstance(changes, dict)
    for name, content in changes.items():
        (folder / name).unlink(missing_ok=True)
        if content == "cut":
            (folder / name).write_bytes((real_embedder.folder() / name).read_bytes()[:1_000_000])
        elif content is not None:
            (folder / name).write_bytes(content.encode("latin1"))
    with pytest.raises(UnusableModel, match=says):
        Model(folder, 1)


def test_a_sentence_model_ranks_nothing() -> None:
    with pytest.raises(UnusableModel, match="it is no cross-encoder"):
        Model(real_embedder.folder(), 1).score("a", ["b"])


def test_a_fingerprint_stays_where_the_model_is_moved(tmp_path: Path) -> None:
    assert fingerprint(copy(tmp_path / "model")) == fingerprint(real_embedder.folder())
