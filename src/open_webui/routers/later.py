"""What this server doesn't have yet. Lists of it are truthfully empty, so that pages which ask for them work, and whatever
else is asked of it answers with a sentence.

A row leaves when its resource comes.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Response

from open_webui.access.policy import ADMIN, USER, Policy
from open_webui.routing import allow, encode, new_router
from open_webui.schemas.replies.shape import Like


class Empty(msgspec.Struct, frozen=True):
    """An address, who may ask, and what nothing looks like there."""

    path: str
    policy: Policy
    shape: Any


# The beginnings of addresses that the wire has and this server has not, and what stands in the sentence about each.
ABSENT: Final[tuple[tuple[str, str], ...]] = (("/api/v1/images", "Making pictures is"),)
NOTHING: Final = "There is nothing at this address of the server."


def absent(path: str) -> str | None:
    """The sentence about an address of something that this server doesn't have; None for any other."""
    for beginning, what in ABSENT:
        if path == beginning or path.startswith(f"{beginning}/"):
            return f"{what} not part of this server yet."
    return None


PAGE: Final = {"items": [], "total": 0}


def _blank(*, texts: str = "", flags: str = "", numbers: str = "", lists: str = "", maps: str = "") -> dict[str, Any]:
    """Settings with nothing in them: the names of texts, flags, numbers, lists and maps."""
    kinds: tuple[tuple[str, Any], ...] = ((texts, ""), (flags, False), (numbers, None), (lists, []), (maps, {}))
    return {name: value for names, value in kinds for name in names.split()}


# The settings dialog of an admin opens on these; no engine is set and everything is off.
IMAGES: Final = _blank(
    texts="IMAGE_GENERATION_ENGINE IMAGE_GENERATION_MODEL IMAGE_SIZE IMAGES_OPENAI_API_BASE_URL IMAGES_OPENAI_API_KEY"
    " IMAGES_OPENAI_API_VERSION AUTOMATIC1111_BASE_URL AUTOMATIC1111_API_AUTH COMFYUI_BASE_URL COMFYUI_API_KEY"
    " COMFYUI_WORKFLOW IMAGES_GEMINI_API_BASE_URL IMAGES_GEMINI_API_KEY IMAGES_GEMINI_ENDPOINT_METHOD"
    " IMAGE_EDIT_ENGINE IMAGE_EDIT_MODEL IMAGE_EDIT_SIZE IMAGES_EDIT_OPENAI_API_BASE_URL IMAGES_EDIT_OPENAI_API_KEY"
    " IMAGES_EDIT_OPENAI_API_VERSION IMAGES_EDIT_GEMINI_API_BASE_URL IMAGES_EDIT_GEMINI_API_KEY"
    " IMAGES_EDIT_COMFYUI_BASE_URL IMAGES_EDIT_COMFYUI_API_KEY IMAGES_EDIT_COMFYUI_WORKFLOW",
    flags="ENABLE_IMAGE_GENERATION ENABLE_IMAGE_PROMPT_GENERATION ENABLE_IMAGE_EDIT",
    numbers="IMAGE_STEPS",
    lists="COMFYUI_WORKFLOW_NODES IMAGES_EDIT_COMFYUI_WORKFLOW_NODES",
    maps="IMAGES_OPENAI_API_PARAMS AUTOMATIC1111_PARAMS",
)
TABLE: Final = (
    # What its dialogs and workspace ask for.
    Empty("/api/v1/images/models", USER, []),
    Empty("/api/v1/images/config", ADMIN, IMAGES),
)  # fmt: skip

router = new_router(tag="later")


def _answer(body: bytes) -> Callable[[], Awaitable[Response]]:
    async def empty() -> "Annotated[Response, Like(body)]":
        """Nothing: what would be listed here is not part of this server yet."""
        return Response(body, media_type="application/json")

    return empty


for row in TABLE:
    router.add_api_route(row.path, allow(row.policy)(_answer(encode(row.shape))), methods=["GET"])
