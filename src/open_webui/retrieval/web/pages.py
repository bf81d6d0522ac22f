"""Pages of the web and transcripts of YouTube's videos as text, through the guarded client only."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.internal.guarded_http import Page, Unreachable, fetch
from open_webui.retrieval.parsing import parse
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.readers import Readers
from open_webui.retrieval.web.domains import Domains

TIMEOUT: Final = 20.0
MAX_BYTES: Final = 20_000_000
_ENGINES: Final = frozenset({"", "safe_web"})
_VIDEO_HOSTS: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"})
WATCH: Final = "https://www.youtube.com/watch"
_VIDEO: Final = re.compile(r"[\w-]{11}", re.ASCII)
_TRACKS: Final = re.compile(r'"captionTracks":(\[)')
_TITLE: Final = re.compile(r"<title>([^<]{0,500})</title>")


class Read(msgspec.Struct, frozen=True):
    """What lay at an address. url: where it was in the end. name: its title, or else its address."""

    url: str
    name: str
    text: str


class Pages:
    """Reads pages as the settings say."""

    def __init__(
        self, config: Config, settings: Settings, http: aiohttp.ClientSession, readers: Readers | None = None
    ) -> None:
        """readers: of files that are no text, such as a PDF at an address."""
        self._config = config
        self._settings = settings
        self._http = http
        self._readers = readers
        self._domains = Domains(config["web.search.domain.filter_list"])

    async def read(self, url: str) -> Read:
        """The text at an address; of a video, what is said in it.

        Raises Unreachable, ParseError, and BadRequest where the settings name a loader that this server hasn't.
        """
        engine = self._config["web.loader.engine"]
        if engine not in _ENGINES:
            raise BadRequest(
                f"The web loader {engine} is not supported by this server. An administrator can choose another."
            )
        if (video := video_of(url)) is not None:
            return await self._transcript(url, video)
        page = await self._fetch(url)

        async def content() -> AsyncIterator[bytes]:
            yield page.body

        name = urlsplit(page.url).path.rpartition("/")[2] or "page"
        parsed: Parsed = await parse(
            content,
            name=name,
            mime=page.kind,
            size=len(page.body),
            config=self._config,
            http=self._http,
            readers=self._readers,
        )
        return Read(page.url, parsed.title or page.url, self._cut(parsed.text))

    async def read_all(self, urls: Sequence[str]) -> list[Read]:
        """What can be read of several addresses, in their order."""
        at_once = asyncio.Semaphore(max(1, min(self._config["web.loader.concurrent_requests"], 32)))

        async def one(url: str) -> Read | None:
            async with at_once:
                try:
                    return await self.read(url)
                except (Unreachable, ParseError):
                    return None

        return [read for read in await asyncio.gather(*map(one, urls)) if read is not None]

    async def _fetch(self, url: str) -> Page:
        return await fetch(
            url,
            limit=MAX_BYTES,
            timeout=_seconds(self._config["web.loader.timeout"]),
            allow_local=self._settings.enable_rag_local_web_fetch,
            visits=self._domains.allow,
            verify=self._config["web.loader.ssl_verification"],
        )

    def _cut(self, text: str) -> str:
        most = self._config["web.fetch.max_content_length"]
        return text[:most] if most and most > 0 else text

    async def _transcript(self, url: str, video: str) -> Read:
        """Raises Unreachable, ParseError."""
        page = (await self._fetch(f"{WATCH}?v={video}")).body.decode("utf-8", "replace")
        languages = [str(name) for name in self._config["rag.youtube_loader_language"]]
        address = track_of(page, languages)
        if address is None:
            raise ParseError(f"The video at {url} has no transcript.")
        body = (await self._fetch(f"{address}&fmt=json3")).body
        text = spoken(body)
        if not text:
            raise ParseError(f"The transcript of the video at {url} can't be read.")
        title = _TITLE.search(page)
        return Read(url, title[1].removesuffix(" - YouTube").strip() if title else url, self._cut(text))


def video_of(url: str) -> str | None:
    """The id of the video that an address of YouTube's shows."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.hostname not in _VIDEO_HOSTS:
        return None
    steps = [step for step in parts.path.split("/") if step]
    if parts.hostname == "youtu.be":
        named = steps[0] if steps else ""
    elif len(steps) == 2 and steps[0] in {"shorts", "live", "embed"}:
        named = steps[1]
    else:
        named = parse_qs(parts.query).get("v", [""])[0] if steps == ["watch"] else ""
    return named if _VIDEO.fullmatch(named) else None


def track_of(page: str, languages: Sequence[str]) -> str | None:
    """The address of a page's transcript in the first of the languages that it has, else in any; written before made by a
    machine.
    """
    found = _TRACKS.search(page)
    if found is None:
        return None
    try:
        tracks: Any = _first_json(page[found.start(1) : found.start(1) + 200_000])
        usable = [t for t in tracks if isinstance(t, dict) and isinstance(t.get("baseUrl"), str)]
    except (ValueError, TypeError):
        return None

    def rank(track: dict[str, Any]) -> tuple[int, bool]:
        code = str(track.get("languageCode", ""))
        places = [place for place, name in enumerate(languages) if code == name or code.startswith(f"{name}-")]
        return (places[0] if places else len(languages), track.get("kind") == "asr")

    return str(min(usable, key=rank)["baseUrl"]) if usable else None


def _first_json(text: str) -> Any:
    """The JSON value that a text begins with. Raises ValueError."""
    return json.JSONDecoder().raw_decode(text)[0]


class _Segment(msgspec.Struct):
    utf8: str = ""


class _Event(msgspec.Struct):
    segs: list[_Segment] = []


class _Transcript(msgspec.Struct):
    events: list[_Event] = []


def spoken(body: bytes) -> str:
    """What a transcript says, a line for each of its lines; "" where it says nothing or is none."""
    try:
        events = msgspec.json.decode(body, type=_Transcript).events
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    lines = (" ".join("".join(part.utf8 for part in event.segs).split()) for event in events)
    return "\n".join(line for line in lines if line)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return TIMEOUT
    return min(seconds, 120.0) if 0 < seconds < math.inf else TIMEOUT
