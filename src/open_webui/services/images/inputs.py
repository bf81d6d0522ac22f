"""Pictures that come with an order to change them: addresses of ours, data: URLs, addresses of the web; files in the end."""

from typing import Final

from open_webui.errors import BadRequest, NotFound, ProviderError
from open_webui.images.port import LARGEST
from open_webui.images.wire import from_text
from open_webui.internal import guarded_http
from open_webui.internal.guarded_http import Unreachable
from open_webui.models import files
from open_webui.principal import Principal
from open_webui.services import intake
from open_webui.services.deps import FileDeps
from open_webui.services.images.making import Pictures
from open_webui.utils.addresses import ID, MARK, id_in

MOST: Final = 16
SECONDS: Final = 60.0
NONE: Final = "There is no picture to change."
TOO_MANY: Final = f"At most {MOST} pictures can be changed at once."
BAD: Final = "A picture should be a data: URL, or the address of a file here or of a picture in the web."
GONE: Final = "There is no such picture, or it is not yours to read."


async def taken(deps: FileDeps, pictures: Pictures, principal: Principal, given: list[str]) -> tuple[str, ...]:
    """The ids of their files, in their order. Raises BadRequest, NotFound."""
    if not given:
        raise BadRequest(NONE)
    if len(given) > MOST:
        raise BadRequest(TOO_MANY)
    return tuple([await _one(deps, pictures, principal, one) for one in given])


async def _one(deps: FileDeps, pictures: Pictures, principal: Principal, text: str) -> str:
    # Pages of other origins see our addresses with ours before them.
    at = text.find(MARK) if text.startswith(("http://", "https://")) else 0
    file_id = id_in(text[at:]) if at >= 0 else None
    if file_id is None and ID.fullmatch(text):
        file_id = text
    if file_id is not None:
        async with deps.database.read() as connection:
            if await files.get(connection, principal, file_id) is None:
                raise NotFound(GONE)
        return file_id
    if text.startswith(("http://", "https://")):
        try:
            page = await guarded_http.fetch(text, limit=LARGEST, timeout=SECONDS)
        except Unreachable as error:
            raise BadRequest(f"The picture can't be fetched: {error}") from None
        return await kept(deps, pictures, principal, page.body)
    try:
        data = await from_text(text)
    except ProviderError:
        raise BadRequest(BAD) from None
    return await kept(deps, pictures, principal, data)


async def kept(deps: FileDeps, pictures: Pictures, principal: Principal, data: bytes) -> str:
    """A picture as a file that goes when nothing uses it. Raises BadRequest for what is none."""
    _, clean = await pictures.checker.check(data)
    file = await intake.put(deps, principal.id, clean)
    async with deps.database.write() as unit:
        await files.add(unit.connection, principal.id, [file])
    return file.id
