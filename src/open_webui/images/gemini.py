"""The engine of Google: `predict` (Imagen) and `generateContent` (Gemini), by the settings."""

import base64
from typing import Any, Final
from urllib.parse import quote

import msgspec

from open_webui.errors import ProviderError
from open_webui.images.port import Made, Named, Order, Tell
from open_webui.images.wire import Wire

MODELS: Final = (
    Named("imagen-4.0-generate-001", "Imagen 4"),
    Named("imagen-4.0-fast-generate-001", "Imagen 4 Fast"),
    Named("gemini-2.5-flash-image", "Gemini 2.5 Flash Image"),
)
_IMAGEN: Final = MODELS[0].id
_GEMINI: Final = MODELS[-1].id
_EMPTY: Final = "Gemini answered without a picture{}."


class _Predicted(msgspec.Struct, rename="camel"):
    bytes_base64_encoded: bytes = b""


class _Predictions(msgspec.Struct):
    predictions: list[_Predicted] = []


class _Data(msgspec.Struct):
    data: bytes = b""


class _Part(msgspec.Struct, rename="camel"):
    inline_data: _Data | None = None
    text: str | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct):
    content: _Content | None = None


class _Contents(msgspec.Struct):
    candidates: list[_Candidate] = []


class Gemini:
    """method: "predict", "generateContent", or "" for what fits the model's name."""

    def __init__(self, wire: Wire, *, method: str = "") -> None:
        self._wire = wire
        self._method = method

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """See `Engine`."""
        tell(None, "The engine is working.")
        generates = bool(order.images) or (
            self._method == "generateContent" if self._method else order.model.startswith("gemini")
        )
        return await self._generate(order) if generates else await self._predict(order)

    async def _predict(self, order: Order) -> list[Made]:
        body = {
            "instances": [{"prompt": order.prompt}],
            "parameters": {"sampleCount": order.count, "outputOptions": {"mimeType": "image/png"}},
        }
        path = f"/models/{quote(order.model or _IMAGEN, safe='')}:predict"
        answer = await self._wire.json("POST", path, _Predictions, json=body, count=order.count)
        made = [Made(one.bytes_base64_encoded) for one in answer.predictions if one.bytes_base64_encoded]
        if not made:
            raise ProviderError(_EMPTY.format(""))
        return made

    async def _generate(self, order: Order) -> list[Made]:
        parts: list[dict[str, Any]] = [{"text": order.prompt}]
        for given in order.images:
            data = base64.b64encode(given.data).decode()
            parts.append({"inlineData": {"mimeType": given.mime, "data": data}})
        body = {"contents": [{"role": "user", "parts": parts}]}
        path = f"/models/{quote(order.model or _GEMINI, safe='')}:generateContent"
        made: list[Made] = []
        # One request gives one answer.
        for _ in range(order.count):
            answer = await self._wire.json("POST", path, _Contents, json=body)
            found = [part for one in answer.candidates if one.content is not None for part in one.content.parts]
            pictures = [Made(part.inline_data.data) for part in found if part.inline_data and part.inline_data.data]
            if not pictures:
                said = " ".join(part.text for part in found if part.text).strip()[:300].rstrip(".")
                raise ProviderError(_EMPTY.format(f": {said}" if said else ""))
            made += pictures
        return made

    async def models(self) -> list[Named]:
        """See `Engine`."""
        return list(MODELS)

    async def check(self) -> None:
        """See `Engine`."""
        await self._wire.ask("GET", "/models")
