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
ABSENT: Final[tuple[tuple[str, str], ...]] = (("/api/v1/audio", "Speech is"),)
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
AUDIO: Final = {
    "realtime": _blank(
        texts="PROVIDER AUTH_TYPE OPENAI_API_BASE_URL OPENAI_API_KEY MODEL VOICE TRANSCRIPTION_MODEL", flags="ENABLED",
        numbers="INPUT_PARAMS REALTIME_CALL_PROMPT_TEMPLATE",
    ),
    "tts": _blank(
        texts="OPENAI_API_BASE_URL OPENAI_API_KEY API_KEY ENGINE MODEL VOICE SPLIT_ON AZURE_SPEECH_REGION"
        " AZURE_SPEECH_BASE_URL AZURE_SPEECH_OUTPUT_FORMAT MISTRAL_API_KEY MISTRAL_API_BASE_URL",
        numbers="REALTIME_TTS_PROMPT_TEMPLATE", maps="OPENAI_PARAMS",
    ),
    "stt": _blank(
        texts="OPENAI_API_BASE_URL OPENAI_API_KEY OPENAI_API_REQUEST_FORMAT MODEL WHISPER_MODEL DEEPGRAM_API_KEY"
        " AZURE_API_KEY AZURE_REGION AZURE_LOCALES AZURE_BASE_URL AZURE_MAX_SPEAKERS MISTRAL_API_KEY"
        " MISTRAL_API_BASE_URL",
        flags="MISTRAL_USE_CHAT_COMPLETIONS", lists="SUPPORTED_CONTENT_TYPES ALLOWED_EXTENSIONS",
    ) | {"ENGINE": "web"},
}  # fmt: skip
TABLE: Final = (
    # What its dialogs and workspace ask for.
    Empty("/api/v1/audio/voices", USER, {"voices": []}),
    Empty("/api/v1/audio/models", USER, {"models": []}),
    Empty("/api/v1/audio/config", ADMIN, AUDIO),
)  # fmt: skip

router = new_router(tag="later")


def _answer(body: bytes) -> Callable[[], Awaitable[Response]]:
    async def empty() -> "Annotated[Response, Like(body)]":
        """Nothing: what would be listed here is not part of this server yet."""
        return Response(body, media_type="application/json")

    return empty


for row in TABLE:
    router.add_api_route(row.path, allow(row.policy)(_answer(encode(row.shape))), methods=["GET"])
