"""Services that read documents, by the names that `rag.content_extraction_engine` knows. Each is a function of some lines."""

import base64
import contextlib
import io
import re
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from open_webui.config import Config
from open_webui.retrieval.parsing.base import Parsed, ParseError, clean
from open_webui.retrieval.parsing.html import parse_html
from open_webui.retrieval.parsing.kinds import extension
from open_webui.retrieval.parsing.service import MAX_ANSWER, Service

# Bytes of a file that is sent within JSON, and so held in memory.
_MAX_INLINE: Final = 50_000_000
_PAGE: Final = "\ue0f0page\ue0f1"
_OFFICE: Final = frozenset("docx pptx xlsx".split())
_SCANS: Final = frozenset({"pdf", "picture"})
_MARKER_PAGE: Final = re.compile(r"\n*\{\d+\}-{48}\n*")
_TIKA_PAGE: Final = re.compile(r"""<div\s+class=["']page["']\s*/?>""")


class Document(msgspec.Struct, frozen=True):
    """What is sent: how to read the file, what it is (see `kinds`), and how it is called."""

    content: Callable[[], AsyncIterator[bytes]]
    kind: str
    name: str
    mime: str
    size: int

    @property
    def media_type(self) -> str:
        """Its type in one line, whatever it was handed in with."""
        given = self.mime.strip()
        return given if re.fullmatch(r"[\w.+-]+/[\w.+-]+", given, re.ASCII) else "application/octet-stream"

    async def whole(self) -> bytes:
        if self.size > _MAX_INLINE:
            raise ParseError(
                f"'{self.name}' is larger than {_MAX_INLINE // 1_000_000} MB, the most that this service is sent."
            )
        return b"".join([part async for part in self.content()])

    async def data_url(self) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(await self.whole()).decode()}"

    def form(self, field: str, values: Mapping[str, object]) -> aiohttp.FormData:
        """The file in a form, with values as such services take them: lists one by one, all else but text as JSON."""
        form = aiohttp.FormData()
        for name, value in values.items():
            for one in value if isinstance(value, list) else [value]:
                form.add_field(name, one if isinstance(one, str) else msgspec.json.encode(one).decode())
        form.add_field(field, self.content(), filename=self.name, content_type=self.media_type)
        return form


# What is done with an answer takes time where it is long, and is done in a thread.
Engine = Callable[[Document, Config, aiohttp.ClientSession], Awaitable[Callable[[], Parsed]]]


async def _tika(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    service = Service(http, "Tika", config["rag.tika_server_url"])
    # From its fourth version on the form of the answer is a part of the address.
    path = "/tika" if config["rag.tika_server_version"].split(".")[0] in {"", "1", "2", "3"} else "/tika/html"
    headers = {"accept": "text/html", "content-type": document.media_type}
    headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(document.name)}"
    _, body = await service.call("PUT", path, headers=headers, data=document.content())
    return partial(_from_tika, body)


def _from_tika(body: bytes) -> Parsed:
    head, *pages = _TIKA_PAGE.split(body.decode(errors="replace"))
    whole = parse_html(head if not pages else head.partition("<body")[0])
    if not pages:
        return whole
    return msgspec.structs.replace(_paged([parse_html(page).text for page in pages]), title=whole.title)


async def _docling(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.docling_api_key"]
    service = Service(http, "Docling", config["rag.docling_server_url"], key, {"x-api-key": key} if key else None)
    wanted = {"to_formats": "md", "image_export_mode": "placeholder", "md_page_break_placeholder": _PAGE}
    form = document.form("files", wanted | config["rag.docling_params"])
    answer = await service.json("POST", "/v1/convert/file", data=form)
    text = _text(service, answer, "document", "md_content") if _has(answer, "document") else ""
    if not text.strip() and _has(answer, "errors"):
        raise service.failed(answer["errors"])
    return partial(_paged, text.split(_PAGE))


async def _mistral(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.mistral_ocr_api_key"]
    service = Service(
        http, "Mistral OCR", config["rag.mistral_ocr_api_base_url"], key, {"authorization": f"Bearer {key}"}
    )
    kind = "image_url" if document.kind == "picture" else "document_url"
    uploaded = None
    try:
        if config["rag.mistral_ocr_use_base64"]:
            address = await document.data_url()
        else:
            uploaded = _text(
                service, await service.json("POST", "/files", data=document.form("file", {"purpose": "ocr"})), "id"
            )
            address = _text(
                service, await service.json("GET", f"/files/{quote(uploaded, safe='')}/url?expiry=1"), "url"
            )
        asked = {"model": "mistral-ocr-latest", "document": {"type": kind, kind: address}}
        answer = await service.json("POST", "/ocr", json=asked)
    finally:
        if uploaded is not None:
            await _forget(service, f"/files/{quote(uploaded, safe='')}")
    return partial(_paged, [_text(service, page, "markdown") for page in _list(service, answer, "pages")])


async def _document_intelligence(
    document: Document, config: Config, http: aiohttp.ClientSession
) -> Callable[[], Parsed]:
    key = config["rag.document_intelligence_key"]
    headers = {"ocp-apim-subscription-key": key}
    service = Service(http, "Document Intelligence", config["rag.document_intelligence_endpoint"], key, headers)
    model = quote(config["rag.document_intelligence_model"], safe="")
    path = f"/documentintelligence/documentModels/{model}:analyze?api-version=2024-11-30&outputContentFormat=markdown"
    source = {"base64Source": base64.b64encode(await document.whole()).decode()}
    told, _ = await service.call("POST", f"{path}&stringIndexType=unicodeCodePoint", json=source)
    operation = told.get("operation-location", "")
    if not operation.startswith(f"{service.address}/"):
        raise service.failed("it does not say where the result will be")
    while True:
        answer = await service.json("GET", operation)
        if _has(answer, "status") and answer["status"] == "succeeded":
            break
        if _has(answer, "status") and answer["status"] not in {"running", "notStarted"}:
            raise service.failed(answer.get("error") or answer["status"])
        await service.wait()
    text = _text(service, answer, "analyzeResult", "content")
    spans = [page["spans"][0]["offset"] for page in answer["analyzeResult"].get("pages", ()) if page.get("spans")]
    bounds = [*sorted({0, *spans}), len(text)]
    return partial(_paged, [text[start:end] for start, end in pairwise(bounds)])


async def _mineru(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.mineru_api_key"]
    service = Service(
        http, "MinerU", config["rag.mineru_api_url"], key, {"authorization": f"Bearer {key}"} if key else None
    )
    service.limit(_seconds(config["rag.mineru_api_timeout"]))
    if config["rag.mineru_api_mode"] != "cloud":
        answer = await service.json(
            "POST", "/file_parse", data=document.form("files", {"return_md": "true"} | config["rag.mineru_params"])
        )
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, dict) or not results:
            raise service.failed(answer.get("error", "no text") if isinstance(answer, dict) else "no text")
        return partial(_paged, [_text(service, next(iter(results.values())), "md_content")])
    asked = config["rag.mineru_params"] | {"files": [{"name": document.name}]}
    batch = await service.json("POST", "/file-urls/batch", json=asked)
    if not _has(batch, "data"):
        raise service.failed(batch.get("msg", "no batch") if isinstance(batch, dict) else "no batch")
    addresses = _list(service, batch["data"], "file_urls")
    await service.call("PUT", str(addresses[0]) if addresses else "", data=await document.whole())
    path = f"/extract-results/batch/{quote(_text(service, batch, 'data', 'batch_id'), safe='')}"
    while True:
        answer = await service.json("GET", path)
        result = (_list(service, answer.get("data"), "extract_result") or [{}])[0]
        if result.get("state") == "done":
            break
        if result.get("state") == "failed":
            raise service.failed(result.get("err_msg", "no text"))
        await service.wait()
    _, packed = await service.call("GET", _text(service, result, "full_zip_url"))
    return lambda: _paged([_from_zip(service, packed)])


async def _external(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.external_document_loader_api_key"]
    headers = {str(name): str(value) for name, value in config["rag.external_document_loader_headers"].items()}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    service = Service(http, "The external document loader", config["rag.external_document_loader_url"], key, headers)
    sent = {"content-type": document.media_type, "x-filename": quote(document.name)}
    answer = await service.json("PUT", "/process", headers=sent, data=document.content())
    parts = answer if isinstance(answer, list) else [answer]
    texts = [_text(service, part, "page_content") for part in parts]
    return partial(_paged, texts)


async def _marker(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.datalab_marker_api_key"]
    address = config["rag.datalab_marker_api_base_url"] or "https://www.datalab.to/api/v1/marker"
    service = Service(http, "Datalab Marker", address, key, {"x-api-key": key})
    switches = "use_llm skip_cache force_ocr paginate strip_existing_ocr disable_image_extraction format_lines".split()
    wanted: dict[str, object] = {name: config[f"rag.datalab_marker_{name}"] for name in switches}
    wanted["output_format"] = form = config["rag.datalab_marker_output_format"]
    if more := config["rag.datalab_marker_additional_config"]:
        wanted["additional_config"] = more
    answer = await service.json("POST", data=document.form("file", wanted))
    check = _text(service, answer, "request_check_url") if _has(answer, "request_check_url") else ""
    while check and not _has(answer, form) and not _has(answer, "error"):
        await service.wait()
        answer = await service.json("GET", check)
    if not _has(answer, form):
        raise service.failed(answer.get("error", "no text") if isinstance(answer, dict) else "no text")
    text = answer[form] if isinstance(answer[form], str) else msgspec.json.encode(answer[form]).decode()
    if form == "html":
        return partial(parse_html, text)
    return partial(_paged, _MARKER_PAGE.split(text)[1:] or [text] if wanted["paginate"] else [text])


async def _paddle(document: Document, config: Config, http: aiohttp.ClientSession) -> Callable[[], Parsed]:
    key = config["rag.paddleocr_vl_token"]
    headers = {"authorization": f"token {key}"} if key else None
    service = Service(http, "PaddleOCR-VL", config["rag.paddleocr_vl_base_url"], key, headers)
    file = base64.b64encode(await document.whole()).decode()
    answer = await service.json(
        "POST", "/layout-parsing", json={"file": file, "fileType": 1 if document.kind == "picture" else 0}
    )
    if not _has(answer, "result"):
        raise service.failed(answer.get("errorMsg", "no text") if isinstance(answer, dict) else "no text")
    pages = _list(service, answer["result"], "layoutParsingResults")
    return partial(_paged, [_text(service, page, "markdown", "text") for page in pages])


ENGINES: Final[Mapping[str, tuple[Engine, frozenset[str] | None]]] = {
    # What it reads; None: whatever the core does not read by itself. All else is read as if there were no engine.
    "tika": (_tika, None),
    "docling": (_docling, _SCANS | _OFFICE),
    "mistral_ocr": (_mistral, _SCANS | {"docx", "pptx"}),
    "document_intelligence": (_document_intelligence, _SCANS | _OFFICE),
    "mineru": (_mineru, None),
    "external": (_external, None),
    "datalab_marker": (_marker, _SCANS | _OFFICE | {"doc", "xls", "ppt", "odt", "ods", "odp", "epub"}),
    "paddleocr_vl": (_paddle, _SCANS),
}


def engine_for(config: Config, kind: str, name: str) -> Engine | None:
    """Who reads a file of this kind, where it is none of the core's. None: the server itself. Raises ParseError."""
    wanted = config["rag.content_extraction_engine"]
    if not wanted:
        return None
    if wanted not in ENGINES:
        known = ", ".join(ENGINES)
        raise ParseError(
            f"'{name}' can't be read: the engine for documents, '{wanted}', is not known. An administrator sets one of: {known}.",
            final=False,
        )
    engine, kinds = ENGINES[wanted]
    if wanted == "mineru":
        kinds = frozenset(one.lstrip(".").lower() for one in config["rag.mineru_file_extensions"])
        return engine if {kind, extension(name)} & kinds else None
    return engine if kinds is None or kind in kinds else None


def _paged(texts: Sequence[str]) -> Parsed:
    """Markdown of pages. One alone is no page: who sends only one does not know where they begin."""
    parts = [clean(text).strip("\n") for text in texts]
    starts, size = [], 0
    for part in parts:
        starts.append(size)
        size += len(part) + 2
    return Parsed("\n\n".join(parts), tuple(starts) if len(parts) > 1 else (), markdown=True)


def _has(answer: object, name: str) -> bool:
    return isinstance(answer, dict) and bool(answer.get(name))


def _text(service: Service, answer: object, *path: str) -> str:
    """The text at a place of an answer, "" for null. Raises ParseError where the answer has another form."""
    for name in path:
        if not isinstance(answer, dict) or name not in answer:
            raise service.failed(f"its answer has no '{name}'")
        answer = answer[name]
    return "" if answer is None else str(answer)


def _list(service: Service, answer: object, name: str) -> Sequence[Any]:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise service.failed(f"its answer has no '{name}'")
    return found


def _seconds(text: str) -> float:
    try:
        return max(float(text), 1.0)
    except ValueError:
        return 300.0


def _from_zip(service: Service, packed: bytes) -> str:
    """The Markdown in the archive that MinerU's cloud answers with."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive, archive.open("full.md") as file:
            text = file.read(MAX_ANSWER)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, OSError):
        raise service.failed("its archive has no text") from None
    return text.decode(errors="replace")


async def _forget(service: Service, path: str) -> None:
    with contextlib.suppress(ParseError):  # else the service itself deletes it after a while
        await service.call("DELETE", path)
