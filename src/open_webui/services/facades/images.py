"""Pictures: made and changed for the person who called the plugin, and files of that person."""

from typing import Any

from open_webui.schemas.images import CreateImageForm, EditImageForm
from open_webui.services.facades.use import Use
from open_webui.services.images import service
from open_webui.services.images.making import wire


async def generate(use: Use) -> list[dict[str, Any]]:
    return wire(await service.generate(use.deps, use.principal, use.form("form_data", CreateImageForm)))


async def edit(use: Use) -> list[dict[str, Any]]:
    return wire(await service.edit(use.deps, use.principal, use.form("form_data", EditImageForm)))
