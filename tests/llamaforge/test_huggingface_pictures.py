"""The huggingface backend reads pictures with models that see, and refuses them everywhere else."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.exceptions import (
    ContextLengthError,
    MissingExtraError,
    ModelLoadError,
    ParameterError,
    UnsupportedError,
)
from tests.support.tiny_transformers import write_model, write_seeing

pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.xdist_group("transformers"),
    # The library's own, of a tiny model that is written for a test.
    pytest.mark.filterwarnings("default::FutureWarning"),
]

ONE_THREAD = {"device": "cpu", "n_threads": 1}
SHORT = {"max_tokens": 12, "temperature": 0}


def picture(color: str = "red", size: tuple[int, int] = (50, 40), form: str = "PNG") -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def ask(*urls: str, text: str = "What is it?") -> list[dict[str, Any]]:
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]


def huge(side: int) -> str:
    """A PNG that claims to have so many rows and columns, in 100 bytes or so."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


@pytest.fixture(scope="module", params=["llava", "idefics3"])
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HuggingFaceBackend]:
    backend = HuggingFaceBackend()
    backend.load_model(write_seeing(tmp_path_factory.mktemp("seeing"), request.param), ONE_THREAD)
    yield backend
    backend.unload()


def test_an_answer_is_about_its_picture(seeing: HuggingFaceBackend) -> None:
    assert seeing.info().details["images"] is True
    red, blue = (seeing.chat_completion(ask(picture(color)), SHORT) for color in ("red", "blue"))
    text = red["choices"][0]["message"]["content"]
    assert text != blue["choices"][0]["message"]["content"]
    assert seeing.chat(ask(picture("red", form="JPEG")), SHORT)  # read as well
    assert "".join(seeing.chat_stream(ask(picture("red")), SHORT)) == text
    plain = seeing.chat_completion(ask(), SHORT)["usage"]["prompt_tokens"]
    assert red["usage"]["prompt_tokens"] == seeing.count_tokens(ask(picture("red"))) > plain


def test_it_is_what_the_library_itself_writes(seeing: HuggingFaceBackend) -> None:
    import torch

    from llamaforge.backends.huggingface.backend import _prompt_of

    engine = seeing._engine
    prompt = _prompt_of(engine, ask(picture("green"), picture("blue")), ())
    tokens = torch.tensor([prompt])
    written = engine.model.network.generate(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=12, do_sample=False, **prompt.beside
    )  # fmt: skip
    ours = list(engine.tokens(prompt, _greedy(), 12, lambda _: None))
    assert ours == written[0, len(prompt) :].tolist()


def _greedy() -> Any:
    from llamaforge.backends.huggingface.options import Settings

    return Settings()


def test_pictures_side_by_side_are_not_mixed_up(seeing: HuggingFaceBackend) -> None:
    colors = ["red", "green", "blue", "white"] * 2
    alone = [seeing.chat(ask(picture(color)), SHORT) for color in colors]
    text = seeing.chat(ask(), SHORT)
    with ThreadPoolExecutor(5) as pool:
        between = pool.submit(seeing.chat, ask(), SHORT)
        assert list(pool.map(lambda color: seeing.chat(ask(picture(color)), SHORT), colors)) == alone
        assert between.result() == text


def test_a_picture_and_a_form(seeing: HuggingFaceBackend) -> None:
    assert seeing.chat(ask(picture()), {"json_schema": {"type": "boolean"}}) in {"true", "false"}
    assert seeing.chat(ask(picture()), {"num_beams": 2, "max_tokens": 4})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:image/png;base64,AAAA", "can't be read"),
        ("data:image/png;base64,not base64!", "can't be read"),
        ("data:image/png,AAAA", "must be given as"),
        ("data:", "must be given as"),
        ("https://example.com/cat.png", "must be given as a data: URL"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(), "can't be read"),
    ],
)
def test_what_is_no_picture_is_refused(seeing: HuggingFaceBackend, url: str, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        seeing.chat(ask(url))


def test_pictures_are_bounded(seeing: HuggingFaceBackend) -> None:
    with pytest.raises(ParameterError, match="6000 x 6000 pixels; at most 32 million"):
        seeing.chat(ask(huge(6000)))
    for side in (10_000, 100_000):
        with pytest.raises(ParameterError, match="too large; at most 32 million"):
            seeing.chat(ask(huge(side)))
    whole = picture("red", (300, 300))
    with pytest.raises(ParameterError, match="can't be read"):
        seeing.chat(ask(whole[: len(whole) // 8 * 4]))
    with pytest.raises(ParameterError, match="at most 16 pictures"):
        seeing.chat(ask(*[picture(size=(8, 8))] * 17))
    with pytest.raises((ParameterError, ContextLengthError)):
        seeing.chat(ask(picture(), text="<image>" * 5000))


def test_sounds_are_refused(seeing: HuggingFaceBackend) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    with pytest.raises(UnsupportedError, match="takes no sounds"):
        seeing.chat([{"role": "user", "content": [part]}])


def test_a_model_that_reads_text_only_refuses(tmp_path: Path) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(write_model(tmp_path), ONE_THREAD)
    assert backend.info().details["images"] is False
    with pytest.raises(UnsupportedError, match="takes no images"):
        backend.chat(ask(picture()))


def test_a_processor_that_is_broken_is_told(tmp_path: Path) -> None:
    write_seeing(tmp_path)
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="can't be loaded"):
        HuggingFaceBackend().load_model(tmp_path, ONE_THREAD)


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from llamaforge.backends.huggingface.pictures import decoded

    url = picture()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"Install it with: .*transformers"):
        decoded(url)
