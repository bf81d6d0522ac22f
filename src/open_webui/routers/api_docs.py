"""The interface described, for a program and for a person. Served by a developer's server only (ENV=dev)."""

import asyncio
import gzip
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from open_webui.access.policy import PUBLIC
from open_webui.errors import NotFound
from open_webui.routers.pages import OWN_CSP, REVALIDATE
from open_webui.routing import allow, encode, new_router

router = new_router()
FOLDER: Final = Path(__file__).resolve().parent.parent / "api_docs"
# What lies there; the viewer's files compressed, as they are sent.
FILES: Final = {
    "start.js": ("start.js", "text/javascript"),
    "swagger-ui-bundle.js": ("vendor/swagger-ui-bundle.js.gz", "text/javascript"),
    "swagger-ui.css": ("vendor/swagger-ui.css.gz", "text/css"),
}


def _document(app: FastAPI) -> bytes:
    document: Any = import_module("open_webui.openapi").document
    return gzip.compress(encode(document(app)), mtime=0)


@router.get("/openapi.json", include_in_schema=False)
@allow(PUBLIC)
async def description(request: Request) -> Response:
    """The document, made when it is first asked for."""
    state = request.app.state
    if not hasattr(state, "description"):
        state.description = asyncio.ensure_future(asyncio.to_thread(_document, request.app))
    # Whoever asked first may leave.
    return await _packed(request, await asyncio.shield(state.description), "application/json")


@router.get("/docs", include_in_schema=False)
@allow(PUBLIC)
async def viewer() -> Response:
    body = await asyncio.to_thread((FOLDER / "index.html").read_bytes)
    return Response(body, media_type="text/html", headers={"content-security-policy": OWN_CSP})


@router.get("/docs/{name}", include_in_schema=False)
@allow(PUBLIC)
async def file(request: Request, name: str) -> Response:
    if name not in FILES:
        raise NotFound
    place, media_type = FILES[name]
    body = await asyncio.to_thread((FOLDER / place).read_bytes)
    if place.endswith(".gz"):
        return await _packed(request, body, media_type)
    return Response(body, media_type=media_type, headers={"cache-control": REVALIDATE})


async def _packed(request: Request, body: bytes, media_type: str) -> Response:
    """What is kept compressed, unpacked for the rare client that can't do it itself."""
    headers = {"cache-control": REVALIDATE, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    else:
        body = await asyncio.to_thread(gzip.decompress, body)
    return Response(body, media_type=media_type, headers=headers)
