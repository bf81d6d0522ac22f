"""The engine of this machine: a model that diffusers runs, in a process of its own. The first picture starts it, and it ends
after a while without any.
"""

import asyncio
import functools
import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from llamaforge.exceptions import how_to_install
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import ProviderError, Unavailable
from open_webui.images.diffusion import folders
from open_webui.images.diffusion.calls import Call, Step
from open_webui.images.diffusion.folders import BadModel, Found
from open_webui.images.port import Made, Named, Order, Tell
from open_webui.internal.child.process import Child, Lost, Refused
from open_webui.internal.shielding import to_the_end

MODULE: Final = "open_webui.images.diffusion"
_THREADS: Final = 8
# Pixels of a side.
LONGEST: Final = 2_048
# Seconds that a step may still take when nobody waits any more, before the process is ended with the model that it holds.
_STOP_SECONDS: Final = 5.0
# More than an order may take; the order's own limit comes first.
_CALL_SECONDS: Final = 7_200.0
# Which graphics cards a process may use.
_CARDS: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_MODULES: Final = ("accelerate", "diffusers", "PIL", "torch", "transformers")
NO_EXTRA: Final = "Making pictures on this machine needs the extra 'diffusers'. Install it with: {}"
NO_MODEL: Final = (
    "No model for pictures is chosen. An administrator can name one in the settings of images: a folder with a"
    " model_index.json in DATA_DIR/models, or a model in the hub's cache."
)
NOT_HERE: Final = (
    "The picture model '{}' is not on this machine. Fetch it with `hf download`, or put its folder, with a model_index.json,"
    " into DATA_DIR/models."
)
TOO_LARGE: Final = f"The engine of this machine makes pictures of at most {LONGEST} pixels a side."
NO_MASK: Final = "The engine of this machine changes whole pictures: it takes no mask."
ONE_PICTURE: Final = "The engine of this machine changes one picture at a time."
LOST: Final = "The process that makes pictures has crashed. A smaller size or another model may need less memory."
TOO_LONG: Final = "The picture was not made within {:g} seconds."


@functools.cache
def has_extra() -> bool:
    """Whether what the process needs is installed."""
    return all(importlib.util.find_spec(module) is not None for module in _MODULES)


class Worker:
    """The process as the server sees it: one order after the other."""

    def __init__(self, idle_seconds: float, *, module: str = MODULE) -> None:
        """idle_seconds: after which it ends. module: what it runs."""
        self._module = module
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return None if self._child is None else self._child.pid

    async def draw(self, call: Call, seconds: float, tell: Tell) -> list[Made]:
        """The pictures of an order. seconds: from when its turn comes. Raises ProviderError. Cancelling stops the work."""
        if self._turn.locked():
            tell(None, "Another picture is made first.")
        async with self._turn:
            tell(None, "The model is working.")
            if self._child is None:
                self._child = self._start()
            try:
                async with asyncio.timeout(seconds):
                    return await _drawn(self._child, call, tell)
            except Refused as refused:
                raise ProviderError(str(refused)) from None
            except Lost:
                await to_the_end(self.close())
                raise ProviderError(LOST) from None
            except Unavailable:
                await to_the_end(self.close())
                raise
            except TimeoutError:
                await to_the_end(self._stop())
                raise ProviderError(TOO_LONG.format(seconds), status=504) from None
            except asyncio.CancelledError:
                await to_the_end(self._stop())
                raise

    async def _stop(self) -> None:
        """Ends the order that runs within a step, and where that takes too long the process."""
        child = self._child
        if child is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await _step(child, Call(stops=True))
        except (TimeoutError, Refused, Unavailable):
            await self.close()

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()

    def _start(self) -> Child:
        cards = {name: os.environ[name] for name in _CARDS if name in os.environ}
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
        return Child(
            self._module, "The process that makes pictures", idle_seconds=self._idle_seconds,
            environment={"OMP_NUM_THREADS": str(_THREADS), "TOKENIZERS_PARALLELISM": "false"} | quiet | cards,
        )  # fmt: skip


async def _drawn(child: Child, call: Call, tell: Tell) -> list[Made]:
    made: list[Made] = []
    step = await _step(child, call)
    while not step.is_over:
        if step.picture is not None:
            made.append(Made(step.picture, step.seed))
        tell(step.done, None)
        step = await _step(child, Call(goes_on=True))
    if len(made) < call.count:
        # Another process than the one that began was asked.
        raise ProviderError(LOST)
    return made


async def _step(child: Child, call: Call) -> Step:
    return msgspec.msgpack.decode(await child.call(msgspec.msgpack.encode(call), timeout=_CALL_SECONDS), type=Step)


class Local:
    """See `port.Engine`. open_worker: asked for the process when there is something to make."""

    def __init__(self, config: Config, settings: Settings, open_worker: Callable[[], Worker], seconds: float) -> None:
        """seconds: for an order."""
        self._config = config
        self._settings = settings
        self._open_worker = open_worker
        self._seconds = seconds

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """See `Engine`. Several are made one after the other, each by the next seed."""
        call = _call(order)
        found = await asyncio.to_thread(self._found, order.model, changing=bool(order.images))
        call = msgspec.structs.replace(
            call, folder=str(found.folder), variant=found.variant, weights=found.weights
        )  # fmt: skip
        return await self._open_worker().draw(call, self._seconds, tell)

    async def models(self) -> list[Named]:
        """See `Engine`."""
        return [Named(name, name) for name in await asyncio.to_thread(folders.names, self._home)]

    async def check(self) -> None:
        """See `Engine`: whether the extra is installed and the settings' model can be used."""
        await asyncio.to_thread(self._found, "", changing=False)

    @property
    def _home(self) -> Path:
        return self._settings.data_dir.resolve() / "models"

    def _found(self, name: str, *, changing: bool) -> Found:
        """The model of an order: the one that it names, else that of the settings. Raises ProviderError."""
        if not has_extra():
            raise ProviderError(NO_EXTRA.format(how_to_install("diffusers")))
        keys = ("images.edit.model", "image_generation.model")[0 if changing else 1 :]
        set_up = {key: self._config[key] for key in keys if self._config[key]}
        name = name or next(iter(set_up.values()), "")
        if not name:
            raise ProviderError(NO_MODEL)
        # Only what the operator has set may be any folder, never what somebody orders.
        trusted = any(
            value == name and (self._config.locked_by(key) is not None or self._settings.local_models_trust_admins)
            for key, value in set_up.items()
        )
        folder = folders.place_of(name, self._home, trusted=trusted)
        if folder is None:
            raise ProviderError(NOT_HERE.format(name[:100]))
        try:
            return folders.checked(folder)
        except BadModel as error:
            raise ProviderError(str(error)) from None
        except OSError:
            raise ProviderError("The folder of the picture model can't be read.") from None


def _call(order: Order) -> Call:
    """Raises ProviderError for what can't be made here."""
    if max(order.width or 0, order.height or 0) > LONGEST:
        raise ProviderError(TOO_LARGE, status=400)
    if order.mask is not None:
        raise ProviderError(NO_MASK, status=400)
    if len(order.images) > 1:
        raise ProviderError(ONE_PICTURE, status=400)
    seed = random.SystemRandom().randrange(2**32) if order.seed is None else order.seed
    return Call(
        prompt=order.prompt, negative_prompt=order.negative_prompt, count=order.count, width=order.width,
        height=order.height, steps=order.steps, guidance=order.guidance, seed=seed,
        image=order.images[0].data if order.images else None,
    )  # fmt: skip
