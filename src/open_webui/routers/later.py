"""What this server doesn't have yet. Lists of it are truthfully empty, so that pages which ask for them work, and whatever
else is asked of it answers with a sentence.

A row leaves when its resource comes.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Response

from open_webui import constants
from open_webui.access.policy import ADMIN, USER, Policy
from open_webui.routing import allow, encode, new_router
from open_webui.schemas.replies.shape import Like


class Empty(msgspec.Struct, frozen=True):
    """An address, who may ask, and what nothing looks like there."""

    path: str
    policy: Policy
    shape: Any


# The beginnings of addresses that the wire has and this server has not, and what stands in the sentence about each.
ABSENT: Final[tuple[tuple[str, str], ...]] = (
    ("/api/v1/analytics", "Analytics are"),
    ("/api/v1/apps", "Apps are"),
    ("/api/v1/audio", "Speech is"),
    ("/api/v1/auths/admin/config/ldap", "Sign-in by LDAP is"),
    ("/api/v1/auths/admin/config/oauth", "Sign-in by another site is"),
    ("/api/v1/auths/ldap", "Sign-in by LDAP is"),
    ("/api/v1/auths/mfa", "A second factor at sign-in is"),
    ("/api/v1/auths/oauth", "Sign-in by another site is"),
    ("/api/v1/automations", "Automations are"),
    ("/api/v1/calendars", "Calendars are"),
    ("/api/v1/channels", "Channels are"),
    ("/api/v1/evaluations", "Ratings and the arena are"),
    ("/api/v1/files", "Uploaded documents are"),
    ("/api/v1/functions", "Functions are"),
    ("/api/v1/images", "Making pictures is"),
    ("/api/v1/knowledge", "Knowledge is"),
    ("/api/v1/memories", "Memories are"),
    ("/api/v1/messages", "Anthropic's API is"),
    ("/api/v1/notes", "Notes are"),
    ("/api/v1/notifications", "Notifications are"),
    ("/api/v1/pipelines", "Pipelines are"),
    ("/api/v1/prompts", "Prompts are"),
    ("/api/v1/retrieval", "Documents and the web's pages are"),
    ("/api/v1/scim", "SCIM is"),
    ("/api/v1/skills", "Skills are"),
    ("/api/v1/terminals", "Terminals are"),
    ("/api/v1/tools", "Tools are"),
    ("/api/v1/utils/code", "Running code is"),
    ("/api/events", "Webhooks of events are"),
)
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
WEB: Final = _blank(
    texts="WEB_SEARCH_CONFIRMATION_CONTENT WEB_SEARCH_ENGINE WEB_LOADER_ENGINE WEB_LOADER_TIMEOUT",
    flags="ENABLE_WEB_SEARCH ENABLE_WEB_SEARCH_CONFIRMATION WEB_SEARCH_TRUST_ENV ENABLE_WEB_LOADER_SSL_VERIFICATION"
    " BYPASS_WEB_SEARCH_EMBEDDING_AND_RETRIEVAL BYPASS_WEB_SEARCH_WEB_LOADER",
    numbers="WEB_SEARCH_RESULT_COUNT WEB_SEARCH_CONCURRENT_REQUESTS WEB_FETCH_MAX_CONTENT_LENGTH"
    " WEB_LOADER_CONCURRENT_REQUESTS YOUTUBE_LOADER_TRANSLATION",
    lists="WEB_SEARCH_DOMAIN_FILTER_LIST YOUTUBE_LOADER_LANGUAGE",
    maps="LINKUP_SEARCH_PARAMS",
)
DOCUMENTS: Final = _blank(
    texts="RAG_TEMPLATE CONTENT_EXTRACTION_ENGINE PDF_LOADER_MODE RAG_RERANKING_MODEL RAG_RERANKING_ENGINE"
    " TEXT_SPLITTER RAG_TOKENIZER_MODEL",
    flags="BYPASS_EMBEDDING_AND_RETRIEVAL RAG_FULL_CONTEXT ENABLE_RAG_HYBRID_SEARCH"
    " ENABLE_RAG_HYBRID_SEARCH_ENRICHED_TEXTS PDF_EXTRACT_IMAGES ENABLE_MARKDOWN_HEADER_TEXT_SPLITTER"
    " ENABLE_GOOGLE_DRIVE_INTEGRATION ENABLE_ONEDRIVE_INTEGRATION",
    numbers="TOP_K TOP_K_RERANKER RELEVANCE_THRESHOLD HYBRID_BM25_WEIGHT RAG_RERANKING_BATCH_SIZE CHUNK_SIZE"
    " CHUNK_MIN_SIZE_TARGET CHUNK_OVERLAP FILE_MAX_SIZE FILE_MAX_COUNT FILE_IMAGE_COMPRESSION_WIDTH"
    " FILE_IMAGE_COMPRESSION_HEIGHT CONTENT_EXTRACTION_SUPPORTED_MEDIA_MIME_TYPES",
    lists="ALLOWED_FILE_EXTENSIONS MINERU_FILE_EXTENSIONS",
    maps="EXTERNAL_DOCUMENT_LOADER_HEADERS DOCLING_PARAMS MINERU_PARAMS",
) | {"status": True, "web": WEB}
EMBEDDING: Final = _blank(
    texts="RAG_EMBEDDING_ENGINE RAG_EMBEDDING_MODEL",
    flags="ENABLE_ASYNC_EMBEDDING",
    numbers="RAG_EMBEDDING_BATCH_SIZE RAG_EMBEDDING_CONCURRENT_REQUESTS",
) | {
    "status": True,
    "openai_config": {"url": "", "key": ""},
    "ollama_config": {"url": "", "key": ""},
    "azure_openai_config": {"url": "", "key": "", "version": ""},
}

TABLE: Final = (
    # What the home page of the wire's official page asks for.
    Empty("/api/v1/tools/", USER, []),
    Empty("/api/v1/functions/", USER, []),
    Empty("/api/v1/skills/", USER, []),
    Empty("/api/v1/channels/", USER, []),
    Empty("/api/v1/notes/pinned", USER, []),
    Empty("/api/v1/terminals/", USER, []),
    # What its dialogs and workspace ask for.
    Empty("/api/v1/tools/list", USER, []),
    Empty("/api/v1/functions/list", ADMIN, []),
    Empty("/api/v1/skills/list", USER, PAGE),
    Empty("/api/v1/notes/", USER, []),
    Empty("/api/v1/notes/search", USER, PAGE),
    Empty("/api/v1/channels/list", USER, []),
    Empty("/api/v1/knowledge/", USER, PAGE),
    Empty("/api/v1/knowledge/search", USER, PAGE),
    Empty("/api/v1/knowledge/search/files", USER, PAGE | {"directories": [], "breadcrumbs": []}),
    Empty("/api/v1/knowledge/external/connections", ADMIN, PAGE),
    Empty("/api/v1/prompts/", USER, []),
    Empty("/api/v1/prompts/list", USER, PAGE),
    Empty("/api/v1/prompts/tags", USER, []),
    Empty("/api/v1/memories/", USER, []),
    Empty("/api/v1/files/", USER, PAGE),
    Empty("/api/v1/audio/voices", USER, {"voices": []}),
    Empty("/api/v1/audio/models", USER, {"models": []}),
    Empty("/api/v1/audio/config", ADMIN, AUDIO),
    Empty("/api/v1/images/models", USER, []),
    Empty("/api/v1/images/config", ADMIN, IMAGES),
    Empty("/api/v1/retrieval/config", ADMIN, DOCUMENTS),
    Empty("/api/v1/retrieval/embedding", ADMIN, EMBEDDING),
    Empty("/api/v1/evaluations/config", ADMIN, _blank(flags="ENABLE_EVALUATION_ARENA_MODELS",
                                                      lists="EVALUATION_ARENA_MODELS")),
    Empty("/api/v1/evaluations/feedbacks/list", ADMIN, PAGE),
    Empty("/api/v1/evaluations/feedbacks/models", ADMIN, []),
    Empty("/api/v1/evaluations/feedbacks/user", USER, PAGE),
    Empty("/api/v1/evaluations/leaderboard", ADMIN, {"entries": []}),
    Empty("/api/v1/pipelines/list", ADMIN, {"data": []}),
    Empty("/api/events", ADMIN, {"schema": constants.WIRE_VERSION, "events": []}),
    Empty("/api/events/webhooks", ADMIN, []),
)  # fmt: skip

router = new_router(tag="later")


def _answer(body: bytes) -> Callable[[], Awaitable[Response]]:
    async def empty() -> "Annotated[Response, Like(body)]":
        """Nothing: what would be listed here is not part of this server yet."""
        return Response(body, media_type="application/json")

    return empty


for row in TABLE:
    router.add_api_route(row.path, allow(row.policy)(_answer(encode(row.shape))), methods=["GET"])
