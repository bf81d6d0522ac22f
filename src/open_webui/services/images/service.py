"""What the routes about pictures do."""

from collections.abc import Mapping
from typing import Any, Protocol

from open_webui.config import Config
from open_webui.errors import BadRequest
from open_webui.images.port import Named
from open_webui.models import uploads
from open_webui.models.uploads import Upload
from open_webui.principal import Principal
from open_webui.schemas.images import CreateImageForm, EditImageForm, VerifyForm
from open_webui.services.deps import FileDeps
from open_webui.services.images import engines, inputs, openai_wire
from open_webui.services.images.making import Kept, Pictures, Wanted
from open_webui.services.images.settings import check_size, engine_name
from open_webui.utils.addresses import address

NO_NUMBER = "'n' should be a whole number from 1 to 10."
NO_SEED = "'seed' should be a whole number from 0 to 4294967295."
NO_GUIDANCE = "'guidance_scale' should be a number from 0 to 100."
_MOST_GUIDANCE = 100


class Deps(FileDeps, Protocol):
    """What it needs of the state."""

    config: Config
    pictures: Pictures
    http: Any


async def models(deps: Deps) -> list[Named]:
    """The models of the engine that makes pictures; none where its address is missing. Raises ProviderError."""
    name = engine_name(deps.config, changing=False)
    if name in {"automatic1111", "comfyui"} and not deps.config[f"image_generation.{name}.base_url"]:
        return []
    return await engines.engine(deps, changing=False, looking=True).models()


async def verify(deps: Deps, form: VerifyForm) -> None:
    """Asks an engine whether it is there. Raises BadRequest, ProviderError."""
    if form.engine == engines.LOCAL:
        await engines.local(deps, 0.0).check()
        return
    await engines.engine_at(deps.http, form.engine, form.url, form.key or "").check()


async def generate(deps: Deps, principal: Principal, form: CreateImageForm) -> list[Kept]:
    """The pictures of a form. Raises OuiError."""
    extra = form.model_extra or {}
    wanted = Wanted(
        user_id=principal.id, prompt=form.prompt, model=form.model or "", size=check_size(form.size), count=form.n or 1,
        steps=form.steps, negative_prompt=form.negative_prompt or "", seed=_seed(extra), guidance=_guidance(extra),
        more=openai_wire.passed(extra),
    )  # fmt: skip
    return await deps.pictures.make(principal, wanted)


async def edit(deps: Deps, principal: Principal, form: EditImageForm) -> list[Kept]:
    """The pictures that others become. Raises OuiError."""
    deps.pictures.check(principal, changing=True)
    size = check_size(form.size)
    given = [form.image] if isinstance(form.image, str) else form.image
    images = await inputs.taken(deps, deps.pictures, principal, given)
    wanted = Wanted(
        user_id=principal.id, prompt=form.prompt, model=form.model or "", size=size, count=form.n or 1,
        negative_prompt=form.negative_prompt or "", background=form.background or "", images=images,
    )  # fmt: skip
    return await deps.pictures.make(principal, wanted)


async def edits(deps: Deps, principal: Principal, asked: openai_wire.Asked) -> list[Kept]:
    """The same for a client of OpenAI's API. Raises OuiError."""
    fields = asked.fields
    count = fields.get("n") or "1"
    if count not in {str(k) for k in range(1, 11)}:
        raise BadRequest(NO_NUMBER)
    if not fields.get("prompt", "").strip():
        raise BadRequest("'prompt' should be a text.")
    wanted = Wanted(
        user_id=principal.id, prompt=fields["prompt"][:32_000], model=fields.get("model", "")[:500], count=int(count),
        size=check_size(fields.get("size")), images=tuple(asked.images), mask=asked.mask, more=openai_wire.passed(fields),
    )  # fmt: skip
    return await deps.pictures.make(principal, wanted)


def _seed(fields: Mapping[str, Any]) -> int | None:
    """A field besides the contract's. Raises BadRequest."""
    value = fields.get("seed")
    if value is not None and (type(value) is not int or not 0 <= value < 2**32):
        raise BadRequest(NO_SEED)
    return value


def _guidance(fields: Mapping[str, Any]) -> float | None:
    """How closely the description is followed, another such field. Raises BadRequest."""
    value = fields.get("guidance_scale")
    if value is None:
        return None
    if type(value) not in {int, float} or not 0 <= value <= _MOST_GUIDANCE:
        raise BadRequest(NO_GUIDANCE)
    return float(value)


async def gallery(deps: Deps, principal: Principal, page: int) -> list[dict[str, Any]]:
    """A page of the pictures that were made for somebody, the last first."""
    async with deps.database.read() as connection:
        found = await uploads.made(connection, principal.id, page)
    return [_shown(row) for row in found]


def _shown(row: Upload) -> dict[str, Any]:
    data: dict[str, Any] = row.meta.get("data") or {}
    texts = {name: str(data.get(name) or "") for name in ("prompt", "model", "engine")}
    numbers = {name: data.get(name) or 0 for name in ("width", "height")}
    return {
        "id": row.id, "url": address(row.id), "thumbnail": f"{address(row.id)}?thumbnail=true", "name": row.filename,
        **texts, "seed": data.get("seed"), **numbers, "size": row.size, "created_at": row.created_at,
    }  # fmt: skip
