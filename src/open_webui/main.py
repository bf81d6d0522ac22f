"""The application: an index of middleware, routes, error handlers and lifespan."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from fastapi import FastAPI

from open_webui import __version__, constants, failures
from open_webui.env import GOOD_SECRET, Settings, load
from open_webui.internal import log
from open_webui.internal.folder_lock import lock_folder
from open_webui.internal.route_index import RouteIndex
from open_webui.internal.turns import Turns
from open_webui.middleware import Around, Origins
from open_webui.migrations.runner import migrate_apart
from open_webui.routers import ROUTERS, pages
from open_webui.routing import Json
from open_webui.services import trusted_headers
from open_webui.services.site import Site
from open_webui.services.snapshot import remove_left_copy
from open_webui.socket.presence import Presence
from open_webui.socket.server import PATH, Sockets
from open_webui.state import open_state
from open_webui.utils.unused_variables import without_effect

logger = log.get_logger(__name__)


def _warn(settings: Settings) -> None:
    """What the environment says that is better said otherwise, a line each."""
    if unused := without_effect(os.environ):
        logger.warning("these variables have no effect yet", names=", ".join(unused))
    if 0 < len(settings.webui_secret_key.get_secret_value()) < GOOD_SECRET:
        logger.warning(
            "WEBUI_SECRET_KEY is short: who guesses it can sign in as anybody. Leave it empty to have one made, or set a"
            " longer one; everybody signs in anew then",
            characters_at_least=GOOD_SECRET,
        )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application for these settings (those of the environment by default).

    Nothing is opened before the lifespan starts; it migrates the database, opens the state and closes it at the end.
    """
    settings = settings or load()
    presence = Presence()
    sockets = Sockets(settings, presence)
    turns = Turns()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.set_up(settings)
        _warn(settings)
        trusted_headers.warn(settings)
        with lock_folder(settings):
            await migrate_apart(settings)
            remove_left_copy(settings)
            async with open_state(settings, sockets.emitter) as state:
                app.state.oui = state
                app.state.site = Site(settings, state.config, state.database, presence, state.stored_config.renew)
                sockets.open(state)
                await state.bus.open()
                try:
                    with turns.watched():
                        yield
                finally:
                    await sockets.close()

    app = FastAPI(
        title=constants.PRODUCT,
        version=__version__,
        lifespan=lifespan,
        default_response_class=Json,
        openapi_url=None,  # see routers/api_docs.py
        # It would be asked for at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    # Flat, instead of include_router: one match over one list, and app.routes is the whole truth for the policy table.
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    if settings.is_dev:
        app.router.routes.extend(import_module("open_webui.routers.api_docs").router.routes)
    app.mount(PATH, sockets.app)
    app.state.scopes = frozenset(str(tag) for router in ROUTERS for tag in router.tags)
    app.state.sockets = sockets
    app.state.turns = turns
    app.state.pages = pages.Pages(settings)
    # Its last route takes any path, so it comes last.
    app.router.routes.extend(pages.router.routes)
    app.router.routes.insert(0, RouteIndex(app.router.routes))
    failures.register(app)
    app.add_middleware(Around, max_body=settings.max_body_mb * 2**20, note=turns.note)
    if settings.cors_origins:
        # The socket server answers for itself.
        app.add_middleware(Origins, allowed=settings.cors_origins, besides=PATH)
    return app
