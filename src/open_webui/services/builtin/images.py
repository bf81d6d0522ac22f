"""Pictures: made of a description, and changed. They are files of the person, shown below the answer."""

from typing import Any

import msgspec

from open_webui.errors import BadRequest
from open_webui.services.builtin.row import Use
from open_webui.services.images import inputs
from open_webui.services.images.making import Wanted
from open_webui.services.images.settings import check_size
from open_webui.services.images.telling import entries, made
from open_webui.tools.port import ToolResult

_LONGEST = 32_000


async def generate(use: Use) -> ToolResult:
    return await _made(use, ())


async def edit(use: Use) -> ToolResult:
    deps, principal = use.deps, use.asked.principal
    deps.pictures.check(principal, changing=True)
    given = use.arguments.get("image_urls")
    named = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    images = await inputs.taken(deps, deps.pictures, principal, named or _attached(use))
    return await _made(use, images)


async def _made(use: Use, images: tuple[str, ...]) -> ToolResult:
    asked = use.asked
    wanted = Wanted(
        user_id=asked.principal.id,
        prompt=use.text("prompt", limit=_LONGEST),
        negative_prompt=use.optional("negative_prompt", limit=_LONGEST) or "",
        size=check_size(use.optional("size", limit=20)),
        images=images,
        is_kept=asked.chat_id is not None,
        chat_id=asked.chat_id,
        message_id=asked.message_id,
    )
    shown = entries(await made(use.deps.pictures, asked.principal, wanted, use.progress.add_status))
    await use.progress.emit("files", {"files": shown})
    told: dict[str, Any] = {
        "status": "The picture is shown to the person below your answer. Don't put it into your text.",
        "images": [{"url": one["url"]} for one in shown],
    }
    return ToolResult(text=msgspec.json.encode(told).decode())


def _attached(use: Use) -> list[str]:
    """The pictures of the newest message that has some."""
    for message in reversed(use.asked.messages):
        content = message.get("content")
        found = [_url(part) for part in content] if isinstance(content, list) else []
        if any(found):
            return [url for url in found if url]
    raise BadRequest(inputs.NONE)


def _url(part: Any) -> str | None:
    picture = part.get("image_url") if isinstance(part, dict) and part.get("type") == "image_url" else None
    url = picture.get("url") if isinstance(picture, dict) else picture
    return url if isinstance(url, str) else None
