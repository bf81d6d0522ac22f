"""Runs in the child process: speaks with a VITS model of Transformers (MMS-TTS), which reads letters.

`python -m open_webui.audio.vits`. Only safetensors are read, and no code that a model brings is run. The process has limits of
memory, and dies at worst.
"""

import sys
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from safetensors import SafetensorError

from open_webui.audio.voice.calls import Said, Say
from open_webui.internal.child.serve import serve

if sys.platform != "win32":
    import resource

# Bytes of memory beside the models; for each byte of a model's files; bytes of a file, of which none is written.
_MEMORY: Final = 4 * 2**30
_OF_MODEL: Final = 4
_FILE: Final = 2**20
_THREADS: Final = 2
_KEPT: Final = 2
# Samples that a letter may become: half a second of 48,000.
_MOST_SAMPLES: Final = 24_000
# What the library raises of damaged files.
_FAULTS: Final = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError, SafetensorError)
_models: "dict[str, Model]" = {}


class BadModel(Exception):
    """Why a model can't speak, as a sentence."""


class Model:
    """A model that is loaded."""

    def __init__(self, folder: Path) -> None:
        """Raises BadModel."""
        import torch  # noqa: PLC0415 - once a model is there
        from transformers import VitsModel, VitsTokenizer  # noqa: PLC0415 - as above
        from transformers.utils import logging  # noqa: PLC0415 - as above

        torch.set_num_threads(_THREADS)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._without_gradients = torch.inference_mode
        try:
            self._tokenizer = VitsTokenizer.from_pretrained(folder, local_files_only=True)
            self._network, report = VitsModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except _FAULTS as error:
            raise BadModel(f"The model can't be loaded: {_first_line(error)}") from None
        if report["missing_keys"]:
            raise BadModel("The model can't be loaded: a part of its weights is missing.")
        if self._tokenizer.phonemize or self._tokenizer.is_uroman:
            raise BadModel(
                "The model reads sounds or Latin letters that a text has to be turned into first, which nothing here does."
            )
        self._network.eval()
        self._usual = float(self._network.config.speaking_rate)
        self.rate = int(self._network.config.sampling_rate)
        if not 8_000 <= self.rate <= 48_000:
            raise BadModel("The model's files say an odd number of samples a second.")

    def say(self, text: str, speaker: int, speed: float) -> bytes:
        """Samples of a sentence; none where the model knows none of its letters. Raises BadModel."""
        if not self._tokenizer.prepare_for_tokenization(text)[0].strip():
            return b""
        try:
            given = self._tokenizer(text, return_tensors="pt")
            with self._without_gradients():
                found = self._network(**given, speaker_id=speaker, speaking_rate=self._usual * speed).waveform
        except _FAULTS as error:
            raise BadModel(f"The model can't speak this: {_first_line(error)}") from None
        whole = np.nan_to_num(found.reshape(-1)[: given["input_ids"].shape[1] * _MOST_SAMPLES].float().numpy())
        return bytes((np.clip(whole, -1, 1) * 32767).astype("<i2").tobytes())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def answer(request: bytes) -> bytes:
    """See `Say`; its model is a folder."""
    asked = msgspec.msgpack.decode(request, type=Say)
    model = _loaded(asked.model)
    return msgspec.msgpack.encode(Said(model.say(asked.text, asked.speaker, asked.speed), model.rate))


def _loaded(folder: str) -> Model:
    """A model; those that were used last stay."""
    model = _models.pop(folder, None)
    if model is None:
        while len(_models) >= _KEPT:
            _models.pop(next(iter(_models)))
        try:
            _limit(sum(path.stat().st_size for path in Path(folder).glob("*.safetensors")))
        except OSError:
            raise BadModel("The model is not there any more.") from None
        model = Model(Path(folder))
    _models[folder] = model
    return model


def _limit(model: int = 0) -> None:
    """What the system lets the process have. model: bytes of the one that it loads."""
    if sys.platform != "linux":
        return
    memory = _MEMORY + _KEPT * _OF_MODEL * model
    for which, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, _FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _limit()
    serve(answer, (BadModel,))
