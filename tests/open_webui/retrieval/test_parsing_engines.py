# ruff: noqa: E501 - an answer in one line reads better
"""Services that read documents: each against what its API answers, and what goes wrong with any of them."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from open_webui.config import Config
from open_webui.retrieval.parsing import parse, service
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.engines import ENGINES
from tests.open_webui.retrieval.test_parsing_text import content_of
from tests.support import documents

PDF = documents.pdf([["Hello"]])
KEY = "sk-very-secret"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SETTINGS = {
    "tika": {"TIKA_SERVER_URL": ""},
    "docling": {"DOCLING_SERVER_URL": "", "DOCLING_API_KEY": KEY, "DOCLING_PARAMS": '{"do_ocr": true, "ocr_lang": ["en", "de"]}'},
    "mistral_ocr": {"MISTRAL_OCR_API_BASE_URL": "/v1", "MISTRAL_OCR_API_KEY": KEY},
    "document_intelligence": {"DOCUMENT_INTELLIGENCE_ENDPOINT": "", "DOCUMENT_INTELLIGENCE_KEY": KEY},
    "mineru": {"MINERU_API_URL": "", "MINERU_API_KEY": KEY},
    "external": {"EXTERNAL_DOCUMENT_LOADER_URL": "", "EXTERNAL_DOCUMENT_LOADER_API_KEY": KEY, "EXTERNAL_DOCUMENT_LOADER_HEADERS": '{"X-Team": "red"}'},
    "datalab_marker": {"DATALAB_MARKER_API_BASE_URL": "/api/v1/marker", "DATALAB_MARKER_API_KEY": KEY, "DATALAB_MARKER_PAGINATE": "true"},
    "paddleocr_vl": {"PADDLEOCR_VL_BASE_URL": "", "PADDLEOCR_VL_TOKEN": KEY},
}  # fmt: skip


class Upstream:
    """A server on loopback that answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, object] | bytes]] = []
        self.answers: dict[str, list[object]] = {}
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, object] | bytes = await self._body(request)
        line = f"{request.method} {request.path_qs}"
        self.asked.append((line, {name.lower(): value for name, value in request.headers.items()}, body))
        waiting = self.answers.get(line) or self.answers["*"]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).replace("URL", self.url).encode()
        return web.Response(body=text)

    @staticmethod
    async def _body(request: web.Request) -> dict[str, object] | bytes:
        if not request.content_type.startswith("multipart/"):
            return await request.read()
        fields: dict[str, object] = {}
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            value: object = bytes(await part.read()) if part.filename else await part.text()
            if part.filename:
                fields["filename"] = part.filename
            fields[part.name or ""] = [*fields[part.name or ""], value] if part.name in fields else [value]  # type: ignore[misc]
        return fields


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    monkeypatch.setattr(service, "_LOOK_SECONDS", 0.01)
    made = Upstream()
    app = web.Application(client_max_size=10**8)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def read(upstream: Upstream, engine: str, data: bytes = PDF, name: str = "grüße.pdf", **more: str) -> Parsed:
    paths = {"_URL", "_ENDPOINT"}
    fixed = {
        key: upstream.url + value if any(key.endswith(p) for p in paths) else value
        for key, value in SETTINGS[engine].items()
    }
    config = Config({"CONTENT_EXTRACTION_ENGINE": engine} | fixed | more)
    async with aiohttp.ClientSession() as http:
        return await parse(
            content_of(data), name=name, mime="application/pdf", size=len(data), config=config, http=http
        )


def pages_of(parsed: Parsed) -> list[str]:
    ends = [*parsed.pages[1:], len(parsed.text)]
    return [parsed.text[a:b].strip() for a, b in zip(parsed.pages, ends, strict=True)]


async def test_tika(upstream: Upstream) -> None:
    page = (
        b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>The title</title></head><body><div class="page"><p>One</p></div>'
        b'<div class="page"><h1>Two</h1></div></body></html>'
    )
    upstream.answers["PUT /tika"] = [page]
    parsed = await read(upstream, "tika")
    assert (parsed.title, pages_of(parsed), parsed.markdown) == ("The title", ["One", "# Two"], True)
    _, headers, body = upstream.asked[0]
    assert (headers["accept"], headers["content-type"], body) == ("text/html", "application/pdf", PDF)
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf"
    upstream.answers["PUT /tika/html"] = [b"<p>Fourth</p>"]
    assert await read(upstream, "tika", TIKA_SERVER_VERSION="4.0.1") == Parsed("Fourth\n", markdown=True)


async def test_docling(upstream: Upstream) -> None:
    upstream.answers["*"] = [
        {"document": {"md_content": "# One\ue0f0page\ue0f1Two"}, "status": "success", "errors": []}
    ]
    assert pages_of(await read(upstream, "docling")) == ["# One", "Two"]
    line, headers, body = upstream.asked[0]
    assert (line, headers["x-api-key"]) == ("POST /v1/convert/file", KEY)
    assert isinstance(body, dict)
    assert (body["files"], body["to_formats"], body["do_ocr"], body["ocr_lang"]) == (
        [PDF],
        ["md"],
        ["true"],
        ["en", "de"],
    )
    upstream.answers["*"] = [
        {"document": {"md_content": None}, "status": "failure", "errors": [{"error_message": "no pages"}]}
    ]
    with pytest.raises(ParseError, match=r"Docling could not read the document: .*no pages"):
        await read(upstream, "docling")


async def test_mistral_ocr(upstream: Upstream) -> None:
    upstream.answers = {
        "POST /v1/files": [{"id": "f/1"}],
        "GET /v1/files/f%2F1/url?expiry=1": [{"url": "https://signed.example/x"}],
        "POST /v1/ocr": [{"pages": [{"index": 0, "markdown": "One"}, {"index": 1, "markdown": "Two"}]}],
        "DELETE /v1/files/f%2F1": [web.Response(status=500)],
    }
    assert pages_of(await read(upstream, "mistral_ocr")) == ["One", "Two"]
    assert [line for line, _, _ in upstream.asked] == list(upstream.answers)
    assert all(headers["authorization"] == f"Bearer {KEY}" for _, headers, _ in upstream.asked)
    assert upstream.asked[0][2] == {"purpose": ["ocr"], "file": [PDF], "filename": "gr%C3%BC%C3%9Fe.pdf"}
    asked = json.loads(upstream.asked[2][2])  # type: ignore[arg-type]
    assert asked == {
        "model": "mistral-ocr-latest",
        "document": {"type": "document_url", "document_url": "https://signed.example/x"},
    }
    await read(upstream, "mistral_ocr", MISTRAL_OCR_USE_BASE64="true")
    inline = json.loads(upstream.asked[-1][2])["document"]["document_url"]  # type: ignore[arg-type]
    assert inline == "data:application/pdf;base64," + base64.b64encode(PDF).decode()


async def test_a_file_that_was_sent_is_deleted_whatever_happens(upstream: Upstream) -> None:
    upstream.answers = {"POST /v1/files": [{"id": "f1"}], "*": [web.Response(status=500)]}
    with pytest.raises(ParseError):
        await read(upstream, "mistral_ocr")
    assert upstream.asked[-1][0] == "DELETE /v1/files/f1"


async def test_document_intelligence(upstream: Upstream) -> None:
    path = "/documentintelligence/documentModels/prebuilt-layout"
    question = (
        f"POST {path}:analyze?api-version=2024-11-30&outputContentFormat=markdown&stringIndexType=unicodeCodePoint"
    )
    done = {"content": "Öne\n\nTwo", "pages": [{"pageNumber": 1, "spans": [{"offset": 0, "length": 3}]}, {"pageNumber": 2, "spans": [{"offset": 5, "length": 3}]}]}  # fmt: skip
    upstream.answers = {
        question: [web.Response(status=202, headers={"Operation-Location": f"{upstream.url}{path}/analyzeResults/1?api-version=x"})],
        f"GET {path}/analyzeResults/1?api-version=x": [{"status": "notStarted"}, {"status": "running"}, {"status": "succeeded", "analyzeResult": done}],
    }  # fmt: skip
    assert pages_of(await read(upstream, "document_intelligence")) == ["Öne", "Two"]
    assert json.loads(upstream.asked[0][2]) == {"base64Source": base64.b64encode(PDF).decode()}  # type: ignore[arg-type]
    assert all(headers["ocp-apim-subscription-key"] == KEY for _, headers, _ in upstream.asked)


async def test_the_key_goes_to_the_service_alone(upstream: Upstream) -> None:
    upstream.answers["*"] = [web.Response(status=202, headers={"Operation-Location": "http://127.0.0.1:9/elsewhere"})]
    with pytest.raises(ParseError, match="does not say where the result will be"):
        await read(upstream, "document_intelligence")
    upstream.answers["*"] = [web.Response(status=307, headers={"Location": "http://127.0.0.1:9/"})]
    with pytest.raises(ParseError, match=r"refuses the document \(status 307"):
        await read(upstream, "external")


async def test_mineru_here_and_in_the_cloud(upstream: Upstream) -> None:
    upstream.answers = {"POST /file_parse": [{"results": {"gruesse": {"md_content": "# One"}}}]}
    parsed = await read(upstream, "mineru", MINERU_PARAMS='{"backend": "pipeline"}')
    assert parsed == Parsed("# One", markdown=True)
    body = upstream.asked[0][2]
    assert isinstance(body, dict)
    assert (body["files"], body["return_md"], body["backend"]) == ([PDF], ["true"], ["pipeline"])
    elsewhere = upstream.url.replace("127.0.0.1", "localhost")
    upstream.answers = {
        "POST /file-urls/batch": [{"code": 0, "data": {"batch_id": "b1", "file_urls": [f"{elsewhere}/put"]}}],
        "PUT /put": [b""],
        "GET /extract-results/batch/b1": [
            {"data": {"extract_result": [{"state": "running"}]}},
            {"data": {"extract_result": [{"state": "done", "full_zip_url": f"{elsewhere}/z.zip"}]}},
        ],
        "GET /z.zip": [documents.zipped({"images/a.png": "x", "full.md": "# From the zip"})],
    }
    assert (await read(upstream, "mineru", MINERU_API_MODE="cloud")).text == "# From the zip"
    by_line = {line: (headers, body) for line, headers, body in upstream.asked}
    assert by_line["PUT /put"][1] == PDF
    assert {"authorization", "content-type"} & by_line["PUT /put"][0].keys() == set()
    assert "authorization" not in by_line["GET /z.zip"][0]
    upstream.answers["GET /extract-results/batch/b1"] = [
        {"data": {"extract_result": [{"state": "failed", "err_msg": "too many pages"}]}}
    ]
    with pytest.raises(ParseError, match="MinerU could not read the document: too many pages"):
        await read(upstream, "mineru", MINERU_API_MODE="cloud")


async def test_external(upstream: Upstream) -> None:
    upstream.answers["PUT /process"] = [{"page_content": "All of it", "metadata": {}}]
    assert (await read(upstream, "external")).text == "All of it"
    _, headers, body = upstream.asked[0]
    assert (headers["authorization"], headers["x-filename"], headers["x-team"], body) == (
        f"Bearer {KEY}",
        "gr%C3%BC%C3%9Fe.pdf",
        "red",
        PDF,
    )
    upstream.answers["PUT /process"] = [[{"page_content": "One"}, {"page_content": "Two"}]]
    assert pages_of(await read(upstream, "external")) == ["One", "Two"]


async def test_datalab_marker(upstream: Upstream) -> None:
    text = "\n\n{0}" + "-" * 48 + "\n\nOne\n\n{1}" + "-" * 48 + "\n\nTwo"
    upstream.answers = {
        "POST /api/v1/marker": [{"success": True, "request_id": "r1", "request_check_url": "URL/api/v1/marker/r1"}],
        "GET /api/v1/marker/r1": [{"status": "processing"}, {"status": "complete", "success": True, "markdown": text}],
    }
    assert pages_of(await read(upstream, "datalab_marker")) == ["One", "Two"]
    body = upstream.asked[0][2]
    assert isinstance(body, dict)
    assert (body["file"], body["paginate"], body["use_llm"], body["output_format"]) == (
        [PDF],
        ["true"],
        ["false"],
        ["markdown"],
    )
    assert all(headers["x-api-key"] == KEY for _, headers, _ in upstream.asked)
    upstream.answers["GET /api/v1/marker/r1"] = [{"status": "complete", "success": False, "error": "bad file"}]
    with pytest.raises(ParseError, match="Datalab Marker could not read the document: bad file"):
        await read(upstream, "datalab_marker")


async def test_paddleocr_vl(upstream: Upstream) -> None:
    upstream.answers["POST /layout-parsing"] = [
        {
            "errorCode": 0,
            "result": {"layoutParsingResults": [{"markdown": {"text": "One"}}, {"markdown": {"text": "Two"}}]},
        }
    ]
    assert pages_of(await read(upstream, "paddleocr_vl")) == ["One", "Two"]
    _, headers, body = upstream.asked[0]
    assert headers["authorization"] == f"token {KEY}"
    assert json.loads(body) == {"file": base64.b64encode(PDF).decode(), "fileType": 0}  # type: ignore[arg-type]
    await read(upstream, "paddleocr_vl", b"\x89PNG\r\n\x1a\n", "a.png")
    assert json.loads(upstream.asked[1][2])["fileType"] == 1  # type: ignore[arg-type]


BAD = {
    "not json": (b"<html>", None),
    "a list": ([], None),
    "null": (None, None),
    "empty": ({}, None),
    "deep": (b"[" * 100_000, None),
    "no key": (web.Response(status=401, body=f"bad key {KEY}".encode()), False),
    "broken": (web.Response(status=500, body=f"oops {KEY}".encode()), False),
    "too many": (web.Response(status=429), False),
    "not this kind": (web.Response(status=422, body=f"no such format {KEY}".encode()), True),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("engine", [one for one in ENGINES if one != "tika"])
async def test_a_bad_answer_is_a_sentence_without_the_key(upstream: Upstream, engine: str, bad: str) -> None:
    answer, final = BAD[bad]
    upstream.answers["*"] = [answer]
    with pytest.raises(ParseError) as caught:
        await read(upstream, engine)
    assert KEY not in str(caught.value)
    assert final is None or caught.value.final is final


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_service_that_is_not_there_may_be_tried_again(upstream: Upstream, engine: str) -> None:
    upstream.url = "http://127.0.0.1:9"
    with pytest.raises(ParseError, match=r"can't be reached") as caught:
        await read(upstream, engine)
    assert not caught.value.final
    upstream.url = "nonsense"
    with pytest.raises(ParseError, match="has no address: an administrator sets it"):
        await read(upstream, engine)


async def test_who_takes_too_long_is_given_up(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SECONDS", 0.3)
    upstream.answers["*"] = [{"status": "processing", "request_check_url": "URL/x"}]
    with pytest.raises(ParseError, match="Datalab Marker took too long") as caught:
        await read(upstream, "datalab_marker")
    assert not caught.value.final


async def test_an_answer_too_long_is_not_taken(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_ANSWER", 1000)
    upstream.answers["*"] = [b"x" * 100_000]
    with pytest.raises(ParseError, match="Tika answers with more than is taken"):
        await read(upstream, "tika")


async def test_text_and_what_a_service_does_not_know_stay_here(upstream: Upstream) -> None:
    assert (await read(upstream, "tika", b"plain", "a.txt")).text == "plain"
    assert (await read(upstream, "paddleocr_vl", documents.docx(["here"]), "a.docx")).text == "here\n"
    assert (await read(upstream, "mineru", documents.docx(["here"]), "a.docx")).text == "here\n"
    assert upstream.asked == []


async def test_an_unknown_engine_is_named(upstream: Upstream) -> None:
    with pytest.raises(ParseError, match="the engine for documents, 'ocr9000', is not known"):
        await read(upstream, "tika", CONTENT_EXTRACTION_ENGINE="ocr9000")
