"""The page and its files: a foreign build when one is configured, our own otherwise. Last in the order of matching."""

import re
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, Request, Response
from starlette.datastructures import Headers
from starlette.responses import FileResponse

from open_webui.access.policy import PUBLIC
from open_webui.env import Settings
from open_webui.errors import NotFound, StartupError
from open_webui.routing import allow, new_router
from open_webui.services.static_files import StaticFile, StaticFolder
from open_webui.utils import manual

router = new_router()
OWN: Final = Path(__file__).resolve().parent.parent / "static"
# Nothing inline, nothing from elsewhere: a picture of another server is a link.
OWN_CSP: Final = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self';"
    " script-src 'self'; frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
# The frame in which pages show what tools made, and run what a person let them: no origin of its own, and nothing to reach.
FRAME: Final = OWN / "page" / "frame.html"
FRAME_CSP: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
    " media-src data: blob:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; sandbox allow-scripts"
)
# The worker that calls people's own tool servers: it alone may reach elsewhere, and only where an admin lets people have some.
CALLER: Final = OWN / "page" / "js" / "caller.js"
CALLER_CSP: Final = "default-src 'none'"
CALLING_CSP: Final = "default-src 'none'; connect-src http: https:"
# Somebody else's build may have inline scripts and talk to others; these hold for any.
FOREIGN_CSP: Final = "frame-ancestors 'self'; base-uri 'self'; object-src 'none'"
# Names that belong to interfaces: an unknown path below one is an error, never the page.
RESERVED: Final = frozenset({"api", "openai", "ollama", "ws", "static", "cache", "_app"})
_FILE_LIKE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,11}$")
# Build tools put a hash of the content into these names.
IMMUTABLE: Final = "_app/immutable/"
# A build's Python runs in a frame without an origin, which reads these files as a stranger.
PYTHON: Final = "pyodide/"
FOR_EVER: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"


Place = tuple[StaticFolder, str]


class Pages:
    """Where the page comes from. A configured build goes first, so that it keeps its own looks."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartupError when the configured build has no index.html."""
        own, build = StaticFolder(OWN), settings.frontend_build_dir
        if build is None:
            self.csp = OWN_CSP
            self._index: Place = (own, "page/")
            self._static: tuple[Place, ...] = ((own, ""),)
            self._build: tuple[Place, ...] = ()
        else:
            if not (build / "index.html").is_file():
                raise StartupError(f"FRONTEND_BUILD_DIR names {build}, but there is no index.html in it.")
            foreign = StaticFolder(build)
            self.csp = FOREIGN_CSP
            self._index = (foreign, "")
            self._static = ((foreign, "static/"), (own, ""))
            self._build = ((foreign, ""),)
        documentation = manual.folder()
        self._manual: tuple[Place, ...] = () if documentation is None else ((StaticFolder(documentation), ""),)

    async def static(self, name: str) -> tuple[StaticFolder, StaticFile] | None:
        """A file below /static/, of which the documentation has a part."""
        if name.startswith(manual.FILES):
            part = name.removeprefix(manual.FILES)
            return await _first(self._manual, part) if manual.is_part(part) else None
        return await _first(self._static, name)

    async def root(self, name: str) -> tuple[StaticFolder, StaticFile] | None:
        """A file at any other path: of the build, or a picture that pages expect at the top (/user.png)."""
        return await _first(self._build if "/" in name else (*self._build, self._static[-1]), name)

    async def index(self) -> tuple[StaticFolder, StaticFile]:
        found = await _first((self._index,), "index.html")
        if found is None:
            raise NotFound("The page is not there. Is the installation complete?")
        return found


async def _first(places: tuple[Place, ...], name: str) -> tuple[StaticFolder, StaticFile] | None:
    for folder, prefix in places:
        found = await folder.find(prefix + name)
        if found is not None:
            return folder, found
    return None


async def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


AppPages = Annotated[Pages, Depends(_pages)]


@router.api_route("/static/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
@allow(PUBLIC)
async def static(request: Request, path: str, pages: AppPages) -> Response:
    place = await pages.static(path)
    if place is None:
        raise NotFound
    return await _send(request, pages, *place)


@router.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
@allow(PUBLIC)
async def page(request: Request, path: str, pages: AppPages) -> Response:
    """A file of the page, or the page itself, which finds out from its address what to show."""
    place = await pages.root(path) if path else None
    if place is not None:
        reply = await _send(request, pages, *place, immutable=path.startswith(IMMUTABLE))
        if path.startswith(PYTHON):
            reply.headers["access-control-allow-origin"] = "*"
        return reply
    if path.split("/", 1)[0] in RESERVED or (_FILE_LIKE.search(path) and path != "index.html"):
        raise NotFound
    return await _send(request, pages, *await pages.index())


async def _send(
    request: Request, pages: Pages, folder: StaticFolder, found: StaticFile, *, immutable: bool = False
) -> Response:
    """The file, compressed where that helps, or 304 when the browser has it."""
    squeeze = found.compressible and request.method == "GET" and _takes_gzip(request.headers)
    tag = f"{found.status.st_mtime_ns:x}-{found.status.st_size:x}{'-gz' if squeeze else ''}"
    headers = {"etag": f'"{tag}"', "cache-control": FOR_EVER if immutable else REVALIDATE}
    if found.compressible:
        headers["vary"] = "accept-encoding"
    if found.path.suffix == ".html":
        headers["content-security-policy"] = FRAME_CSP if found.path == FRAME else pages.csp
    elif found.path == CALLER:
        allowed = request.app.state.oui.config["direct.integrations.enable"]
        headers["content-security-policy"] = CALLING_CSP if allowed else CALLER_CSP
    if _has(request.headers, headers["etag"]):
        return Response(status_code=304, headers=headers)
    whole = FileResponse(found.path, headers=headers, stat_result=found.status)
    if not squeeze:
        return whole
    headers |= {"content-encoding": "gzip", "content-type": whole.headers["content-type"]}
    return Response(await folder.compressed(found), headers=headers)


def _takes_gzip(headers: Headers) -> bool:
    """A part of a file (range) is a part of the file as it is."""
    return "gzip" in headers.get("accept-encoding", "") and "range" not in headers


def _has(headers: Headers, etag: str) -> bool:
    known = (part.strip().removeprefix("W/") for part in headers.get("if-none-match", "").split(","))
    return etag in known
