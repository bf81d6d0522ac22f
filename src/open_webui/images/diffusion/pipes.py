"""A model loaded by diffusers: what it is asked, and on which device it runs. Only the child process imports this."""

import gc
import inspect
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import diffusers
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image
from PIL import Image
from safetensors import SafetensorError

from open_webui.images.diffusion.calls import Call
from open_webui.images.diffusion.folders import BadModel, libraries
from open_webui.images.looking import MOST_PIXELS

if sys.platform != "win32":
    import resource

_LIBRARIES: Final = frozenset({"diffusers", "transformers"})
_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
# Sides are multiples of this; the longest that a picture to be changed may have.
_UNIT: Final = 16
_LONGEST: Final = 1_024
# Bytes of memory: for one picture, and for each byte of weights (they may be of 16 bits, and are 32 on a CPU).
_MEMORY: Final = 8 * 2**30
_OF_WEIGHTS: Final = 3
_MOST_THREADS: Final = 8
# What libraries raise over files that are not what their names say, or don't fit each other.
_BROKEN: Final = (
    ArithmeticError, AttributeError, ImportError, LookupError, NotImplementedError, OSError, RuntimeError, SafetensorError,
    TypeError, ValueError,
)  # fmt: skip
_TOLD: Final = 300
NO_MEMORY: Final = "There is too little memory for this picture: a smaller size or another model needs less."


class BadOrder(Exception):
    """Why a picture can't be made, as a sentence."""


class Pipe:
    """A model that is loaded."""

    def __init__(self, call: Call) -> None:
        """Raises BadModel, BadOrder where there is too little memory."""
        self.folder = call.folder
        _check_classes(Path(call.folder))
        self._device = _device()
        if self._device == "cpu":
            _limit(_MEMORY + _OF_WEIGHTS * call.weights)
        torch.set_num_threads(_threads())
        try:
            pipe = AutoPipelineForText2Image.from_pretrained(
                call.folder, torch_dtype=_precision(self._device, Path(call.folder)), variant=call.variant or None,
                use_safetensors=True, local_files_only=True, trust_remote_code=False,
            )  # fmt: skip
            pipe.set_progress_bar_config(disable=True)
            self._making = pipe.to(self._device)
        except MemoryError:
            raise BadOrder(NO_MEMORY) from None
        except _BROKEN as error:
            if _is_memory(error):
                raise BadOrder(NO_MEMORY) from None
            raise BadModel(f"The model can't be loaded: {self._said(error)}") from None
        self._changing: Any = None

    def make(self, call: Call, seed: int, told: Callable[[int, int], None]) -> bytes:
        """One picture, as PNG. told: hears the steps that are done, and how many there are; what it raises ends the work.

        Raises BadOrder.
        """
        try:
            pipe, given = self._making, {}
            if call.image is not None:
                pipe, given = self._changer(), {"image": _opened(call)}
            asked = self._asked(pipe, call, seed, told) | given
            picture = pipe(**asked).images[0]
        except MemoryError:
            raise BadOrder(NO_MEMORY) from None
        except _BROKEN as error:
            raise BadOrder(
                NO_MEMORY if _is_memory(error) else f"The model could not make the picture: {self._said(error)}"
            ) from None
        out = io.BytesIO()
        picture.save(out, format="PNG")
        return out.getvalue()

    def _asked(self, pipe: Any, call: Call, seed: int, told: Callable[[int, int], None]) -> dict[str, Any]:
        """What a pipeline is called with, of what it takes."""

        def after(running: Any, step: int, _time: Any, kept: dict[str, Any]) -> dict[str, Any]:
            told(step + 1, getattr(running, "num_timesteps", None) or call.steps or 1)
            return kept

        asked: dict[str, Any] = {
            "prompt": call.prompt, "negative_prompt": call.negative_prompt or None, "width": _side(call.width),
            "height": _side(call.height), "num_inference_steps": call.steps, "guidance_scale": call.guidance,
            "generator": torch.Generator("cpu").manual_seed(seed), "callback_on_step_end": after,
        }  # fmt: skip
        taken = inspect.signature(type(pipe).__call__).parameters
        return {name: value for name, value in asked.items() if value is not None and name in taken}

    def _changer(self) -> Any:
        if self._changing is None:
            try:
                self._changing = AutoPipelineForImage2Image.from_pipe(self._making)
            except _BROKEN:
                raise BadOrder("This model makes pictures, and can't change any.") from None
            self._changing.set_progress_bar_config(disable=True)
        return self._changing

    def _said(self, error: Exception) -> str:
        """What a library says, in one line and without the place of the model."""
        text = " ".join(str(error).replace(self.folder, "its folder").split())[:_TOLD].rstrip(". ")
        return f"{text or type(error).__name__}."

    def close(self) -> None:
        """Lets its memory go."""
        self._making = self._changing = None
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()


def _check_classes(folder: Path) -> None:
    """Raises BadModel for parts that are of neither library."""
    for library, name in libraries(folder):
        if library in _LIBRARIES:
            continue
        # Parts of a pipeline's own module, which is diffusers' as well.
        module = getattr(diffusers.pipelines, library, None)
        found = getattr(module, name, None) if isinstance(module, ModuleType) else None
        if not isinstance(found, type) or found.__module__.partition(".")[0] not in _LIBRARIES:
            raise BadModel(f"The model has a part of the library '{library}', which is not used here.")


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _precision(device: str, folder: Path) -> Any:
    """Of 32 bits on a CPU; of 16 elsewhere, in the form that the model was trained for."""
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if (folder / "transformer").is_dir() and device == "cuda" else torch.float16


def _opened(call: Call) -> Image.Image:
    """The picture to be changed, of the size that was asked for, or of its own. Raises BadOrder, OSError, ValueError."""
    with Image.open(io.BytesIO(call.image or b""), formats=_FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise BadOrder("The picture has more pixels than are taken.")
        scale = min(1.0, _LONGEST / max(picture.size))
        own = (call.width or round(picture.width * scale), call.height or round(picture.height * scale))
        width, height = (_side(one) or _UNIT for one in own)
        return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _side(pixels: int | None) -> int | None:
    return None if pixels is None else max(_UNIT, pixels // _UNIT * _UNIT)


def _is_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "Cannot allocate" in text


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_THREADS, cores))


def _limit(memory: int) -> None:
    """What the system lets the process have."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
