"""The engine of OpenAI and whatever speaks like it: /images/generations and /images/edits."""

from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from open_webui.errors import ProviderError
from open_webui.images.port import Given, Made, Named, Order, Tell
from open_webui.images.wire import Wire, from_text
from open_webui.utils.pictures import extension

MODELS: Final = (
    Named("dall-e-2", "DALL·E 2"),
    Named("dall-e-3", "DALL·E 3"),
    Named("gpt-image-1", "GPT-IMAGE 1"),
    Named("gpt-image-1.5", "GPT-IMAGE 1.5"),
)
_DEFAULT: Final = "dall-e-2"
_EMPTY: Final = "The engine answered without a picture."


class _Picture(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Picture] = []


class OpenAI:
    """params: fields that an administrator adds to each request. version: of Azure's API."""

    def __init__(self, wire: Wire, *, version: str = "", params: dict[str, Any] | None = None) -> None:
        self._wire = wire
        self._query = f"?api-version={quote(version, safe='')}" if version else ""
        self._params = dict(params or {})

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """See `Engine`."""
        tell(None, "The engine is working.")
        fields = self._fields(order)
        if order.images:
            form = _form(fields, order)
            answer = await self._wire.json("POST", f"/images/edits{self._query}", _Answer, form=form, count=order.count)
        else:
            answer = await self._wire.json(
                "POST", f"/images/generations{self._query}", _Answer, json=fields, count=order.count
            )
        made = []
        while answer.data:
            # Each is let go as soon as it is decoded.
            one = answer.data.pop(0)
            if one.b64_json or one.url:
                data = await from_text(one.b64_json) if one.b64_json else await self._wire.picture(str(one.url))
                made.append(Made(data, None, (one.revised_prompt or "")[:10_000]))
        if not made:
            raise ProviderError(_EMPTY)
        return made

    def _fields(self, order: Order) -> dict[str, Any]:
        model = order.model or _DEFAULT
        fields: dict[str, Any] = {"model": model, "prompt": order.prompt, "n": order.count}
        if order.size:
            fields["size"] = order.size
        if order.background:
            fields["background"] = order.background
        # The newer ones always answer so, and refuse to be told.
        if model.startswith("dall-e") and not order.images:
            fields["response_format"] = "b64_json"
        return fields | self._params | dict(order.more)

    async def models(self) -> list[Named]:
        """See `Engine`."""
        return list(MODELS)

    async def check(self) -> None:
        """See `Engine`."""
        await self._wire.ask("GET", f"/models{self._query}")


def _form(fields: dict[str, Any], order: Order) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
    name = "image" if len(order.images) == 1 else "image[]"
    for number, given in enumerate(order.images, 1):
        _add(form, name, given, f"image{number}")
    if order.mask is not None:
        _add(form, "mask", order.mask, "mask")
    return form


def _add(form: aiohttp.FormData, name: str, given: Given, filename: str) -> None:
    form.add_field(name, given.data, filename=f"{filename}{extension(given.mime)}", content_type=given.mime)
