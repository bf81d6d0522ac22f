"""Pages of the web and transcripts, as text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.internal.guarded_http import Unreachable
from open_webui.retrieval.parsing.base import ParseError
from open_webui.retrieval.web import pages
from open_webui.retrieval.web.pages import Pages, spoken, track_of, video_of
from tests.support.service import Asked, Service

Make = Callable[..., Pages]


@pytest.fixture
def make(http: aiohttp.ClientSession, tmp_path: Path) -> Make:
    def made(*, local: bool = True, **environment: str) -> Pages:
        settings = Settings(env="test", data_dir=tmp_path, enable_rag_local_web_fetch=local)
        return Pages(Config(environment), settings, http)

    return made


async def test_a_page(make: Make, service: Service) -> None:
    service.reply(
        "<html><head><title>A title</title><script>var x</script></head><body><h1>Head</h1><p>Some text.</p></body></html>"
    )
    read = await make().read(f"{service.url}/a")
    assert (read.url, read.name) == (f"{service.url}/a", "A title")
    assert "Some text." in read.text
    assert "var x" not in read.text


async def test_a_text_is_cut(make: Make, service: Service) -> None:
    service.answer = lambda _: web.Response(text="word " * 100, content_type="text/plain")
    read = await make(WEB_FETCH_MAX_CONTENT_LENGTH="9").read(f"{service.url}/a.txt")
    assert read.text == "word word"


async def test_this_machine_is_not_read(make: Make, service: Service) -> None:
    service.reply("secret")
    with pytest.raises(Unreachable, match="is no public address"):
        await make(local=False).read(service.url)
    assert service.asked == []


async def test_sites_that_are_not_read(make: Make, service: Service) -> None:
    with pytest.raises(Unreachable, match="not among the sites"):
        await make(WEB_SEARCH_DOMAIN_FILTER_LIST="example.com").read(service.url)
    assert service.asked == []


async def test_a_loader_that_is_not_there(make: Make, service: Service) -> None:
    with pytest.raises(BadRequest, match="The web loader playwright is not supported"):
        await make(WEB_LOADER_ENGINE="playwright").read(service.url)


async def test_of_several_those_that_can_be_read(make: Make, service: Service) -> None:
    def answer(asked: Asked) -> web.Response:
        if asked.path == "/gone":
            return web.Response(status=404)
        return web.Response(text=f"<p>at {asked.path}</p>", content_type="text/html")

    service.answer = answer
    found = await make().read_all([f"{service.url}/{name}" for name in ("a", "gone", "b")] + ["ftp://x/"])
    assert [read.text.strip() for read in found] == ["at /a", "at /b"]


@pytest.mark.parametrize(
    ("url", "video"),
    [
        ("https://www.youtube.com/watch?v=abcdefghijk", "abcdefghijk"),
        ("https://youtube.com/watch?list=x&v=abcdefghijk&t=1", "abcdefghijk"),
        ("https://youtu.be/abcdefghijk?si=x", "abcdefghijk"),
        ("https://m.youtube.com/shorts/abcdefghijk", "abcdefghijk"),
        ("https://www.youtube.com/live/abcdefghijk", "abcdefghijk"),
        ("https://www.youtube.com/@someone", None),
        ("https://www.youtube.com/watch?v=../../x", None),
        ("https://www.youtube.com/watch", None),
        ("https://youtu.be/", None),
        ("https://notyoutube.com/watch?v=abcdefghijk", None),
        ("https://youtube.com.evil.example/watch?v=abcdefghijk", None),
        ("http://[", None),
    ],
)
def test_videos(url: str, video: str | None) -> None:
    assert video_of(url) == video


def watch_page(*tracks: str) -> str:
    listed = ",".join(tracks)
    return (
        f'<title>A talk - YouTube</title><script>var p = {{"captions":{{"captionTracks":[{listed}],"x":1}}}};</script>'
    )


def track(code: str, url: str, kind: str = "") -> str:
    made = f'"kind":"{kind}",' if kind else ""
    return f'{{{made}"baseUrl":"{url}","languageCode":"{code}"}}'


@pytest.mark.parametrize(
    ("languages", "chosen"), [(["de"], "/de"), (["en"], "/en"), (["fr", "de"], "/de"), (["fr"], "/de"), ([], "/de")]
)
def test_the_language_of_a_transcript(languages: list[str], chosen: str) -> None:
    page = watch_page(track("en-US", "/asr", "asr"), track("de", "/de"), track("en", "/en"))
    assert track_of(page, languages) == chosen


@pytest.mark.parametrize(
    "page", ["", '"captionTracks":[', '"captionTracks":[{"baseUrl":1}]', '"captionTracks":[]', '"captionTracks":[7]']
)
def test_no_transcript(page: str) -> None:
    assert track_of(page, ["en"]) is None


async def test_a_video(make: Make, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WATCH", f"{service.url}/watch")

    def answer(asked: Asked) -> web.Response:
        if asked.path == "/watch":
            # As YouTube writes an ampersand.
            page = watch_page(track("en", f"{service.url}/timedtext?v=1\\u0026lang=en"))
            return web.Response(text=page, content_type="text/html")
        said: Any = {
            "events": [
                {"tStartMs": 0},
                {"segs": [{"utf8": "Hello "}, {"utf8": "all"}]},
                {"segs": [{"utf8": "\n"}]},
                {"segs": [{"utf8": "Bye"}]},
            ]
        }
        return web.json_response(said)

    service.answer = answer
    read = await make().read("https://youtu.be/abcdefghijk")
    assert (read.name, read.text) == ("A talk", "Hello all\nBye")
    assert [asked.query for asked in service.asked] == [{"v": "abcdefghijk"}, {"v": "1", "lang": "en", "fmt": "json3"}]


async def test_a_video_without_a_transcript(make: Make, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WATCH", f"{service.url}/watch")
    service.reply("<title>x</title>")
    with pytest.raises(ParseError, match="has no transcript"):
        await make().read("https://youtu.be/abcdefghijk")


@pytest.mark.parametrize("body", [b"", b"<transcript/>", b"[]", b'{"events": 1}', b"\xff"])
def test_what_is_no_transcript(body: bytes) -> None:
    assert spoken(body) == ""
