"""What this server doesn't have: it is refused."""

from typing import NoReturn

from open_webui.errors import BadRequest
from open_webui.services.facades.use import Use

NO_PICTURES = "Making pictures is not available on this server yet."


async def refuse_pictures(_use: Use) -> NoReturn:
    raise BadRequest(NO_PICTURES)
