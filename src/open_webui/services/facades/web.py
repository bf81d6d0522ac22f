"""Files read anew, and searches of the web."""

from typing import Any

from open_webui.schemas.files import ProcessFileForm
from open_webui.schemas.web import SearchForm
from open_webui.services import processing, web
from open_webui.services.facades.use import Use


async def read_file(use: Use) -> dict[str, Any]:
    return await processing.file(use.deps, use.principal, use.form("form_data", ProcessFileForm))


async def search(use: Use) -> dict[str, Any]:
    return await web.search(use.deps, use.principal, use.form("form_data", SearchForm))
