"""The engine of Automatic1111's Stable Diffusion web UI, and of what speaks like it."""

import asyncio
import base64
import contextlib
from typing import Any, Final

import msgspec

from open_webui.errors import ProviderError
from open_webui.images.port import Made, Named, Order, Tell
from open_webui.images.wire import Wire, from_text

# Between two looks how far it is.
_LOOK: Final = 1.0
# The status of an order that took longer than it may.
_TOO_LONG: Final = 504
_EMPTY: Final = "Automatic1111 answered without a picture."


class _Answer(msgspec.Struct):
    images: list[str] = []
    info: str | dict[str, Any] | None = None


class _Model(msgspec.Struct):
    title: str
    model_name: str = ""


class _Progress(msgspec.Struct):
    progress: float = 0.0


class Automatic1111:
    """params: fields that an administrator adds to each request."""

    def __init__(self, wire: Wire, *, params: dict[str, Any] | None = None) -> None:
        self._wire = wire
        self._params = dict(params or {})

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """See `Engine`. Cancelled, it has the web UI stop what it draws."""
        looking = asyncio.create_task(self._look(tell), name="progress of a picture")
        try:
            answer = await self._asked(order)
        except (asyncio.CancelledError, ProviderError) as error:
            if not isinstance(error, ProviderError) or error.status == _TOO_LONG:
                await asyncio.shield(self._stop())
            raise
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        seeds = _seeds(answer.info)
        made = []
        # What comes behind is a grid of them, or a map of a control net.
        for place, text in enumerate(answer.images[: order.count]):
            made.append(Made(await from_text(text), seeds[place] if place < len(seeds) else None))
        if not made:
            raise ProviderError(_EMPTY)
        return made

    async def _asked(self, order: Order) -> _Answer:
        path = "/sdapi/v1/img2img" if order.images else "/sdapi/v1/txt2img"
        return await self._wire.json("POST", path, _Answer, json=self._fields(order), count=order.count + 2)

    def _fields(self, order: Order) -> dict[str, Any]:
        fields: dict[str, Any] = {"prompt": order.prompt, "batch_size": order.count}
        if order.width and order.height:
            fields |= {"width": order.width, "height": order.height}
        if order.steps:
            fields["steps"] = order.steps
        if order.negative_prompt:
            fields["negative_prompt"] = order.negative_prompt
        if order.seed is not None:
            fields["seed"] = order.seed
        if order.guidance is not None:
            fields["cfg_scale"] = order.guidance
        if order.model:
            # For this picture: the option itself is the web UI's, for everybody.
            fields["override_settings"] = {"sd_model_checkpoint": order.model}
        if order.images:
            fields["init_images"] = [base64.b64encode(given.data).decode() for given in order.images]
        if order.mask is not None:
            fields["mask"] = base64.b64encode(order.mask.data).decode()
        return fields | self._params

    async def _look(self, tell: Tell) -> None:
        """Tells how far it is, until it is cancelled. An engine that can't say so is let be."""
        with contextlib.suppress(ProviderError):
            while True:
                await asyncio.sleep(_LOOK)
                found = await self._wire.json("GET", "/sdapi/v1/progress?skip_current_image=true", _Progress)
                tell(min(max(found.progress, 0.0), 1.0), None)

    async def _stop(self) -> None:
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(5):
                await self._wire.ask("POST", "/sdapi/v1/interrupt", json={})

    async def models(self) -> list[Named]:
        """See `Engine`."""
        found = await self._wire.json("GET", "/sdapi/v1/sd-models", list[_Model])
        return [Named(one.title, one.model_name or one.title) for one in found]

    async def check(self) -> None:
        """See `Engine`."""
        await self._wire.ask("GET", "/sdapi/v1/options")


def _seeds(info: str | dict[str, Any] | None) -> list[int]:
    """The seeds that an answer's description names, in the order of its pictures."""
    try:
        about = msgspec.json.decode(info) if isinstance(info, str) else info
    except (msgspec.DecodeError, RecursionError):
        return []
    if not isinstance(about, dict):
        return []
    named = about.get("all_seeds") or [about.get("seed")]
    return [seed for seed in named if isinstance(seed, int)] if isinstance(named, list) else []
