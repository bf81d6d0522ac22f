"""An order as an engine takes it: the settings filled in, and the pictures read that it brings along."""

from typing import Final

from open_webui.errors import BadRequest, NotFound
from open_webui.images.port import Engine, Given, Order
from open_webui.images.wire import size_of
from open_webui.models import files
from open_webui.principal import Principal
from open_webui.services.images import engines
from open_webui.services.images.making import Deps, Wanted
from open_webui.services.images.settings import engine_name
from open_webui.storage.base import BlobMissing, read_all
from open_webui.utils.pictures import RASTER

GONE: Final = "The picture that was to be changed is not there any more, or is not yours to read."
NO_PICTURE: Final = "Only PNG, JPEG, GIF and WebP pictures can be changed."


async def order(deps: Deps, principal: Principal, wanted: Wanted) -> tuple[str, str, Order]:
    """The engine's name, the model's, and the order. Raises NotFound, BadRequest for pictures that can't be used."""
    config, changing = deps.config, bool(wanted.images)
    area = "images.edit" if changing else "image_generation"
    model: str = wanted.model or config[f"{area}.model"]
    size: str = wanted.size or config[f"{area}.size"]
    width, height = size_of(size)
    steps = wanted.steps if wanted.steps is not None else config["image_generation.steps"]
    given = [await _given(deps, principal, file_id) for file_id in wanted.images]
    made = Order(
        prompt=wanted.prompt, model=model, count=wanted.count, size=size, width=width, height=height,
        steps=steps or None, negative_prompt=wanted.negative_prompt, seed=wanted.seed, guidance=wanted.guidance,
        background=wanted.background, images=tuple(given),
        mask=None if wanted.mask is None else await _given(deps, principal, wanted.mask), more=wanted.more,
    )  # fmt: skip
    return engine_name(config, changing=changing), model, made


async def _given(deps: Deps, principal: Principal, file_id: str) -> Given:
    async with deps.database.read() as connection:
        found = await files.get(connection, principal, file_id)
    if found is None:
        raise NotFound(GONE)
    if found.mime not in RASTER:
        raise BadRequest(NO_PICTURE)
    try:
        return Given(await read_all(deps.blobs, found.blob), found.mime)
    except BlobMissing:
        raise NotFound(GONE) from None


def engine(deps: Deps, *, changing: bool) -> Engine:
    """The engine of the settings. Raises BadRequest, ProviderError."""
    return engines.engine(deps, changing=changing)
