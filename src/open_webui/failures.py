"""How errors become replies: one handler a kind, registered by create_app."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from open_webui.constants import PRODUCT
from open_webui.errors import (
    Forbidden,
    OuiError,
    ProviderError,
    ScimError,
    Unauthenticated,
    UnknownModel,
    VersionConflict,
)
from open_webui.internal.db_errors import is_away, is_unstorable, sentence
from open_webui.internal.log import get_logger, shown_path
from open_webui.routers import mcp, pages
from open_webui.routers.scim import ScimJson
from open_webui.routing import Json
from open_webui.services.scim.bulk import error_body
from open_webui.services.scim.documents import PREFIX

log = get_logger(__name__)
AUTHS = "/api/v1/auths/"
NOTHING = "There is nothing at this address of the server."
METRICS = "/metrics"
UNSTORABLE = "The request has a character or a number in it that can't be stored."
FOR_ADMINISTRATORS = (
    "Figures for administrators only: sign in as one in this browser, or send an administrator's API key."
)
# Inputs are quoted in validation errors; a huge one is not sent back.
MAX_INPUT = 500
# Ends of the paths that OpenAI's clients call, and how those begin that Ollama's call.
_OPENAI = ("/chat/completions", "/embeddings")
_OLLAMA = "/ollama/api/"


async def on_error(request: Request, error: OuiError) -> Response:
    if error.status >= 500 and not isinstance(error, ProviderError):
        log.warning("refused", status=error.status, detail=error.detail)
    if request.url.path == mcp.PATH and error.status == 401:
        return _at_mcp(request, error)
    if _is_directory(request):
        return _to_directory(error.detail, error.status, error.scim_type if isinstance(error, ScimError) else "")
    return Json(_refusal(request, error), status_code=error.status, headers=error.headers)


def _at_mcp(request: Request, error: OuiError) -> Response:
    """MCP's clients take 401 for a sign-in that is missing or over, and look there for how it is done (RFC 6750)."""
    if not isinstance(error, Unauthenticated):
        return Json({"detail": error.detail}, status_code=403)
    over = ', error="invalid_token"' if "authorization" in request.headers else ""
    challenge = f'Bearer realm="{PRODUCT}"{over}'
    return Json({"detail": error.detail}, status_code=401, headers={"WWW-Authenticate": challenge})


def _is_directory(request: Request) -> bool:
    return request.url.path.startswith(f"{PREFIX}/")


def _to_directory(detail: str, status: int, scim_type: str = "") -> Response:
    """A refusal as SCIM has it (RFC 7644, 3.12)."""
    headers = {"WWW-Authenticate": f'Bearer realm="{PRODUCT}"'} if status == 401 else None
    return ScimJson(error_body(detail, status, scim_type), status_code=status, headers=headers)


def _refusal(request: Request, error: OuiError) -> dict[str, Any]:
    """The wire's `detail`; where OpenAI's or Ollama's clients call, also what they look for a message in."""
    body: dict[str, Any] = {"detail": error.detail}
    if request.url.path == METRICS and isinstance(error, Unauthenticated | Forbidden):
        return {"detail": FOR_ADMINISTRATORS}
    if isinstance(error, VersionConflict):
        return {"detail": {"code": error.code, "message": error.detail}}
    if isinstance(error, UnknownModel):
        about = {"type": "invalid_request_error", "param": "model", "code": "model_not_found"}
        body["error"] = {"message": error.detail} | about
    elif request.url.path.endswith(_OPENAI):
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        body["error"] = {"message": error.detail, "type": kind, "code": error.status}
    elif request.url.path.startswith(_OLLAMA):
        body["error"] = error.detail
    return body


async def on_provider_error(request: Request, error: ProviderError) -> Response:
    """A provider's refusal keeps its status and body, so that a client of that provider understands it."""
    if isinstance(error.body, dict):
        return Json(error.body, status_code=error.status, headers=error.headers)
    return Json(_refusal(request, error), status_code=error.status, headers=error.headers)


async def on_http(request: Request, error: HTTPException) -> Response:
    """What the router refuses. A method that an address doesn't take, and an address that nothing has, are said in words."""
    status, detail, headers = error.status_code, error.detail, dict(error.headers or {})
    if status == 405:
        # The page's own route takes any path, but for reading only: nothing else is there.
        if request.scope.get("endpoint") is pages.page:
            status, detail, headers = 404, NOTHING, {}
        else:
            detail = f"This address does not take {request.method}."
    if _is_directory(request):
        return _to_directory(str(detail), status, "tooMany" if status == 413 else "")
    return Json({"detail": detail}, status_code=status, headers=headers)


async def on_invalid(request: Request, error: RequestValidationError) -> Response:
    if request.url.path.startswith(AUTHS):
        return Json({"detail": "Invalid authentication request."}, status_code=422)
    return Json({"detail": [_plain(e) for e in error.errors()]}, status_code=422)


def _plain(problem: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in problem.items() if k in {"type", "loc", "msg", "input"}}
    if "ctx" in problem:
        out["ctx"] = {k: v if isinstance(v, str | int | float | bool) else str(v) for k, v in problem["ctx"].items()}
    given = out.get("input")
    if not isinstance(given, str | int | float | bool | None) and len(repr(given)[: MAX_INPUT + 1]) > MAX_INPUT:
        out["input"] = None
    elif isinstance(given, str) and len(given) > MAX_INPUT:
        out["input"] = given[:MAX_INPUT]
    return out


async def on_unexpected(request: Request, error: Exception) -> Response:
    if is_unstorable(error):
        log.warning("a value can't be stored", path=shown_path(request.url.path), error=str(error)[:MAX_INPUT])
        if _is_directory(request):
            return _to_directory(UNSTORABLE, 400, "invalidValue")
        return Json({"detail": UNSTORABLE}, status_code=400)
    if is_away(error):
        log.error("the database refused", path=shown_path(request.url.path), exc_info=error)
        return Json({"detail": sentence(error)}, status_code=503, headers={"Retry-After": "5"})
    log.error("unexpected error", path=shown_path(request.url.path), exc_info=error)
    return Json({"detail": OuiError.detail}, status_code=500)


def register(app: FastAPI) -> None:
    """Registers all handlers; Starlette picks the nearest class."""
    handlers: tuple[tuple[type[Exception], Any], ...] = (
        (ProviderError, on_provider_error),
        (OuiError, on_error),
        (HTTPException, on_http),
        (RequestValidationError, on_invalid),
        (Exception, on_unexpected),
    )
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)
