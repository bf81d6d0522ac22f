"""Health, version and what the page must know before anything else."""

from typing import Annotated, Any, NoReturn
from urllib.parse import quote
from xml.sax.saxutils import escape

from fastapi import Depends, Request, Response

from open_webui import constants
from open_webui.access.policy import ADMIN, OPTIONAL, PUBLIC, USER
from open_webui.deps import AppState, Caller, OptionalCaller
from open_webui.errors import NotFound, Unavailable
from open_webui.internal import log
from open_webui.internal.bus.port import Bus
from open_webui.internal.turns import Turns
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.changelog import releases
from open_webui.services.site import Site

router = new_router(tag="server")
RETRY = {"retry-after": "1"}


async def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


AppSite = Annotated[Site, Depends(_site)]


@router.get("/health")
@allow(PUBLIC)
async def health() -> "Annotated[dict[str, bool], Shape(replies.server.Done)]":
    """The process answers."""
    return {"status": True}


@router.get("/ready")
@router.get("/health/db")
@allow(PUBLIC)
async def ready(state: AppState) -> "Annotated[dict[str, bool], Shape(replies.server.Ready)]":
    """The process can do its work: its database answers. Without news of other processes, or without a service for vectors,
    it can do most of it.
    """
    if not await state.database.answers():
        raise Unavailable("The database does not answer.", headers=RETRY)
    told = {"status": True} if state.bus.is_up else {"status": True, "bus": False}
    return told if await state.finds_vectors() else told | {"vectors": False}


@router.get("/metrics")
@allow(ADMIN)
async def metrics(request: Request, state: AppState) -> "Annotated[Response, Media('text/plain')]":
    """Figures for Prometheus, which signs in with an administrator's API key."""
    turns: Turns = request.app.state.turns
    figures = turns.metrics(log.worker_number) + _bus_metrics(state.bus, log.worker_number)
    return Response(figures, media_type="text/plain; version=0.0.4")


def _bus_metrics(bus: Bus, worker: int) -> str:
    label = f'{{worker="{worker}"}}' if worker else ""
    return (
        "# HELP oui_peers Other processes of this database that are heard.\n# TYPE oui_peers gauge\n"
        f"oui_peers{label} {len(bus.peers)}\n"
        "# HELP oui_bus_up Whether what carries news between processes can be reached.\n# TYPE oui_bus_up gauge\n"
        f"oui_bus_up{label} {int(bus.is_up)}\n"
    )


@router.get("/api/config")
@allow(OPTIONAL)
async def config(site: AppSite, caller: OptionalCaller) -> "Annotated[Response, Shape(replies.server.Config)]":
    """What the caller may know: more with a session than without, more once let in."""
    return Response(await site.describe(caller), media_type="application/json")


@router.get("/api/version")
@allow(PUBLIC)
async def version(state: AppState) -> "Annotated[dict[str, str], Shape(replies.server.Version)]":
    """The release of the API that is spoken, and the operator's own name for this deployment."""
    return {"version": constants.WIRE_VERSION, "deployment_id": state.settings.deployment_id}


@router.get("/api/version/updates")
@allow(USER)
async def updates() -> "Annotated[dict[str, str], Shape(replies.server.Updates)]":
    """Nobody is asked for newer releases, so none is known."""
    return {"current": constants.WIRE_VERSION, "latest": constants.WIRE_VERSION}


@router.get("/api/changelog")
@allow(PUBLIC)
async def changelog() -> dict[str, Any]:
    """What is new, by version."""
    return releases()


@router.get("/api/usage")
@allow(USER)
async def usage(site: AppSite, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.server.Usage)]":
    """How many people are connected, and for administrators which models are being used."""
    return site.usage(caller)


@router.get("/cache/{path:path}")
@allow(USER)
async def cached_file() -> NoReturn:
    """Where generated pictures and speech will lie; nothing makes any yet."""
    raise NotFound


@router.get("/manifest.json")
@allow(PUBLIC)
async def manifest(site: AppSite) -> "Annotated[dict[str, Any], Shape(replies.server.Manifest)]":
    """What a phone needs to put the page on its home screen."""
    icon = {"src": "/static/icon-512.png", "type": "image/png", "sizes": "512x512"}
    return {
        "name": site.name,
        "short_name": site.name,
        "description": "Chat with your own models.",
        "start_url": "/",
        "display": "standalone",
        "background_color": "#171918",
        "icons": [icon | {"purpose": "any"}, icon | {"purpose": "maskable"}],
        "share_target": {"action": "/", "method": "GET", "params": {"text": "shared"}},
    }


@router.get("/opensearch.xml")
@allow(PUBLIC)
async def opensearch(
    request: Request, state: AppState, site: AppSite
) -> "Annotated[Response, Media('application/xml')]":
    """Lets a browser offer this server in its address bar."""
    base = quote((state.config["webui.url"] or str(request.base_url)).rstrip("/"), safe=":/[]@%")
    name = escape(site.name)
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<OpenSearchDescription xmlns="http://a9.com/-/spec/opensearch/1.1/">\n'
        f"  <ShortName>{name}</ShortName>\n"
        f"  <Description>Ask {name}</Description>\n"
        "  <InputEncoding>UTF-8</InputEncoding>\n"
        f'  <Image width="96" height="96" type="image/png">{escape(base)}/static/favicon.png</Image>\n'
        f'  <Url type="text/html" method="get" template="{escape(base)}/?q={{searchTerms}}"/>\n'
        "</OpenSearchDescription>\n",
        media_type="application/xml",
    )


@router.get("/robots.txt")
@allow(PUBLIC)
async def robots() -> "Annotated[Response, Media('text/plain')]":
    """Asks search engines to stay away."""
    return Response("User-agent: *\nDisallow: /\n", media_type="text/plain")
