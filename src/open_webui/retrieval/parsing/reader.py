"""Runs in the child process: reads one file at a time, office documents with kreuzberg, and all else that is large.

`python -m open_webui.retrieval.parsing.reader`. Nothing here is imported by the server.
"""

import io
import os
import re
import sys
import zipfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.internal.child.serve import serve
from open_webui.retrieval.parsing.base import Parsed, ParseError, clean, finished
from open_webui.retrieval.parsing.call import CONTENT, MISSING, TOKENS, Call
from open_webui.retrieval.parsing.kinds import TEXTS
from open_webui.retrieval.parsing.plain import parse_plain

if sys.platform != "win32":
    import resource

# What a zip may hold: entries, bytes in all, and bytes for each byte of it where it holds much.
_ENTRIES: Final = 20_000
_UNZIPPED: Final = 1 << 30
_RATIO: Final = 200
_MUCH: Final = 50 << 20

_MIMES: Final[Mapping[str, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docm": "application/vnd.ms-word.document.macroEnabled.12",
    "dotx": "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    "pptm": "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    "ppsx": "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "xltx": "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
    "xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    "xls": "application/vnd.ms-excel",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "msg": "application/vnd.ms-outlook",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
    "rtf": "application/rtf",
    "eml": "message/rfc822",
    "mbox": "application/mbox",
    "ipynb": "application/x-ipynb+json",
    "tex": "application/x-latex",
    "rst": "text/x-rst",
    "org": "text/x-org",
    "typ": "application/x-typst",
    "fb2": "application/x-fictionbook+xml",
    "bib": "application/x-bibtex",
    "zip": "application/zip",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "gz": "application/gzip",
    "7z": "application/x-7z-compressed",
}
_PICTURES: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
)
# Where Debian, others and Windows keep what Tesseract has learned. The engine itself comes with kreuzberg.
_TESSDATA: Final = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
    r"C:\Program Files\Tesseract-OCR\tessdata",
)
_LANGUAGES: Final = 4
# Characters whose tokens are counted at once, about.
_COUNTED: Final = 100_000
# What is read as plain text: Markdown of a PDF leaves out whatever looks like a header or footer, that of a mail its lines.
_PLAIN: Final = frozenset({"pdf", "picture", "eml", "msg", "mbox"})
# Characters that nobody uses, around a page's number: where pages begin is found by them.
_PAGE: Final = re.compile("\\s*\ue0f0(\\d+)\ue0f1\\s*")
_PAGE_MARK: Final = "\ue0f0{page_num}\ue0f1"
# kreuzberg drops these from DOCX (its issue 1242): they go through as other characters that nobody uses.
_ENTITY: Final = re.compile(rb"&(?:amp|lt|gt|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));")
_STANDING_FOR: Final = {0xE0F2: "&", 0xE0F3: "<", 0xE0F4: ">"}
_CODES: Final = {b"&amp;": "\ue0f2".encode(), b"&lt;": "\ue0f3".encode(), b"&gt;": "\ue0f4".encode()}
# Markdown's signs are written as themselves: who looks for a*b finds it. Those that begin a heading or end a cell stay.
_ESCAPED: Final = re.compile(r"\\([!\"$-/:-@\[-`{}~]|(?<!^\\)#)", re.MULTILINE)


class Refused(Exception):
    """A file can't be read. The text is a sentence for a person, or `MISSING`."""


def read(request: bytes) -> bytes:
    """Answers one call: `Parsed`, packed. Raises Refused."""
    call = msgspec.msgpack.decode(request, type=Call)
    _limit(call)
    try:
        with (Path(call.folder) / CONTENT).open("rb") as file:
            content = file.read()
        if call.kind == TOKENS:
            return _token_ends(call, content.decode())
        parsed = parse_plain(content, call.kind, call.name) if call.kind in TEXTS else _document(call, content)
        return msgspec.msgpack.encode(finished(parsed, call.name))
    except ParseError as error:
        raise Refused(str(error)) from None
    except MemoryError:
        raise Refused(f"'{call.name}' needs more memory to be read than that may take.") from None


def _token_ends(call: Call, text: str) -> bytes:
    """Where each token of a text ends, as packed numbers of 32 bits. The text is counted in parts that end with lines."""
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

        tokenizer = Tokenizer.from_file(call.tokenizer)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise Refused(f"The tokenizer {call.tokenizer} can't be used: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ends = array("I")
    start = 0
    while start < len(text):
        stop = text.find("\n", start + _COUNTED) + 1 or len(text)
        encoded = tokenizer.encode(text[start:stop], add_special_tokens=False)
        ends.extend(start + end for _, end in encoded.offsets)
        start = stop
    return ends.tobytes()


def _limit(call: Call) -> None:
    """Has the system end this process where a call takes more than it may. Windows has no such limits."""
    os.environ["TMPDIR"] = call.folder
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = {
        resource.RLIMIT_AS: call.memory,
        resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + 1 + call.cpu_seconds,
        resource.RLIMIT_FSIZE: _UNZIPPED,
        resource.RLIMIT_CORE: 0,
    }
    for which, soft in most.items():
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _document(call: Call, content: bytes) -> Parsed:
    try:
        import kreuzberg  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refused(MISSING) from None
    name, kind = call.name, call.kind
    if kind == "ole":
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Refused(f"'{name}' is encrypted. Save it without a password and upload it again.")
        raise Refused(
            f"'{name}' is an old Office file whose name does not say which. Name it .doc, .xls, .ppt or .msg."
        )
    if content.startswith(b"PK"):
        kind = _checked(name, kind, content)
    languages = _languages()
    if kind == "picture" and not languages:
        raise Refused(
            f"'{name}' is a picture. Text in pictures is read where Tesseract is installed on the server's machine"
            " (on Debian and Ubuntu: apt install tesseract-ocr)."
        )
    if kind in {"docx", "docm", "dotx"}:
        content = _with_entities(content)
    mime = _MIMES.get(kind) or next((mime for mark, mime in _PICTURES if content.startswith(mark)), "image/tiff")
    try:
        found = _extract(kreuzberg, mime, content, languages, pictures=call.pictures, plain=kind in _PLAIN)
    except kreuzberg.KreuzbergError as error:
        raise Refused(_sentence(name, kind, str(error))) from None
    parsed = found if kind != "pdf" else _with_headings(kreuzberg, content, found)
    if not parsed.text.strip():
        raise Refused(_empty(name, kind, languages))
    return parsed


def _extract(
    kreuzberg: Any, mime: str, content: bytes, languages: Sequence[str], *, pictures: bool, plain: bool
) -> Parsed:
    """plain: as plain text, not as Markdown."""
    ocr = None
    if languages and (mime == "application/pdf" or mime.startswith("image/")):
        tesseract = kreuzberg.TesseractConfig(enable_table_detection=False)
        ocr = kreuzberg.OcrConfig(backend="tesseract", language="+".join(languages), tesseract_config=tesseract)
    pictures = pictures and ocr is not None and mime == "application/pdf"
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        ocr=ocr,
        output_format="plain" if plain else "markdown",
        pages=kreuzberg.PageConfig(extract_pages=True, insert_page_markers=True, marker_format=_PAGE_MARK),
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
        postprocessor=kreuzberg.PostProcessorConfig(enabled=False),
        images=kreuzberg.ImageExtractionConfig() if pictures else None,
        pdf_options=kreuzberg.PdfConfig(extract_images=pictures),
    )
    result = kreuzberg.extract_bytes_sync(content, mime, config=config)
    in_pictures: dict[int, list[str]] = {}
    for image in (result.images or []) if pictures else []:
        text = image["ocr_result"].content.strip() if image.get("ocr_result") else ""
        if text and text not in result.content:
            in_pictures.setdefault(image.get("page_number") or 1, []).append(text)
    text, pages = _pages(clean(result.content), in_pictures)
    if not plain:
        text, pages = _readable(text, pages)
    title = dict(result.metadata).get("title")
    return Parsed(text, pages, title=clean(title).strip()[:300] or None if title else None, markdown=not plain)


def _pages(content: str, more: Mapping[int, Sequence[str]]) -> tuple[str, tuple[int, ...]]:
    """The text without its marks, and where the pages begin. more: what is written at the end of pages, by their number."""
    parts = _PAGE.split(content)
    if len(parts) == 1:
        return content, ()
    out: list[str] = []
    starts: list[int] = []
    size = 0
    for number, text in [(0, parts[0]), *((int(n), t) for n, t in zip(parts[1::2], parts[2::2], strict=True))]:
        page = "\n\n".join(filter(None, [text.strip("\n"), *more.get(number, ())]))
        page = f"{page}\n\n" if page else ""
        if number:
            # A page that has no mark is one without text.
            starts += [size] * max(number - len(starts), 0)
        out.append(page)
        size += len(page)
    return "".join(out), tuple(starts)


def _readable(text: str, pages: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Without escapes, and with the characters that stood for others; page by page, so that these stay where they begin."""
    bounds = [0, *pages, len(text)]
    parts = [_ESCAPED.sub(r"\1", text[a:b].translate(_STANDING_FOR)) for a, b in pairwise(bounds)]
    starts, size = [], 0
    for part in parts[:-1]:
        size += len(part)
        starts.append(size)
    return "".join(parts), tuple(starts)


def _with_headings(kreuzberg: Any, content: bytes, parsed: Parsed) -> Parsed:
    """A PDF's text with its headings marked, as far as kreuzberg sees them by their size; the text itself is the plain one's."""
    try:
        config = kreuzberg.ExtractionConfig(use_cache=False, enable_quality_processing=False, output_format="markdown")
        laid_out = kreuzberg.extract_bytes_sync(content, "application/pdf", config=config).content
    except kreuzberg.KreuzbergError:
        return parsed
    headings: dict[str, list[str]] = {}
    for line in clean(laid_out).split("\n"):
        if found := re.match(r"(#{1,6}) (.{1,200})$", line):
            headings.setdefault(_bare(found[2]), []).append(found[1])
    if not headings:
        return parsed
    out: list[str] = []
    marks = []  # where a mark was put, in the text as it was, and how long it is
    position = 0
    for line in parsed.text.split("\n"):
        levels = headings.get(_bare(line)) if line.strip() else None
        if levels:
            mark = levels.pop(0) + " "
            marks.append((position, len(mark)))
            out.append(mark + line.strip())
            marks.append((position, len(line.strip()) - len(line)))
        else:
            out.append(line)
        position += len(line) + 1
    pages = tuple(page + sum(size for at, size in marks if at < page) for page in parsed.pages)
    return msgspec.structs.replace(parsed, text="\n".join(out), pages=pages, markdown=True)


def _bare(line: str) -> str:
    return re.sub(r"[\W_]+", "", line)


def _checked(name: str, kind: str, content: bytes) -> str:
    """The kind that a zip's entries say it is. Raises Refused for one that unpacks to too much, or is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError, ValueError):
        raise Refused(f"'{name}' is damaged, or it is not the kind of file that its name says.") from None
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _ENTRIES or size > _UNZIPPED or size > max(_MUCH, _RATIO * len(content)):
        raise Refused(f"'{name}' unpacks to more than is read: {size / 2**20:,.0f} MB in {len(entries):,} files.")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Refused(f"'{name}' is encrypted. Save it without a password and upload it again.")
    names = {entry.filename for entry in entries}
    for folder, families in (("word/", "docx docm dotx"), ("ppt/", "pptx pptm ppsx"), ("xl/", "xlsx xlsm xltx xlsb")):
        if "[Content_Types].xml" in names and any(entry.startswith(folder) for entry in names):
            return kind if kind in families.split() else families.split()[0]
    return kind if kind in {"odt", "ods", "odp", "epub"} else "zip"


def _with_entities(content: bytes) -> bytes:
    """A DOCX whose text has no references to characters."""
    out = io.BytesIO()
    left = _UNZIPPED
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if entry.filename.startswith("word/media/"):
                continue
            with old.open(entry) as part:
                data = part.read(left + 1)
            left -= len(data)
            if left < 0:
                raise ParseError("The file unpacks to more than is read.")
            if entry.filename.startswith("word/") and entry.filename.endswith(".xml"):
                data = _ENTITY.sub(_character, data)
            new.writestr(entry.filename, data)
    return out.getvalue()


def _character(found: re.Match[bytes]) -> bytes:
    if found[0] in _CODES:
        return _CODES[found[0]]
    number = int(found[1]) if found[1] else int(found[2], 16)
    if number in {34, 38, 39, 60, 62} or number < 32 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
        return {38: _CODES[b"&amp;"], 60: _CODES[b"&lt;"], 62: _CODES[b"&gt;"]}.get(number, found[0])
    return chr(number).encode()


def _languages() -> list[str]:
    """What Tesseract can read here: English first, `_LANGUAGES` at most."""
    for folder in (os.environ.get("TESSDATA_PREFIX", ""), *_TESSDATA):
        if folder and (found := sorted(_learned(folder))):
            # kreuzberg has a list of such folders of its own, which is not quite this one.
            os.environ["TESSDATA_PREFIX"] = folder
            return sorted(found, key=lambda one: (one != "eng", one))[:_LANGUAGES]
    return []


def _learned(folder: str) -> Iterator[str]:
    for path in Path(folder).glob("*.traineddata"):
        if path.stem not in {"osd", "equ"}:
            yield path.stem


def _sentence(name: str, kind: str, error: str) -> str:
    lower = error.lower()
    if "password" in lower or "encrypt" in lower:
        return f"'{name}' is encrypted. Save it without a password and upload it again."
    if "unsupported" in lower:
        return f"'{name}' is of a kind ({kind}) that can't be read."
    return f"'{name}' is damaged, or it is not the kind of file that its name says."


def _empty(name: str, kind: str, languages: Sequence[str]) -> str:
    if kind == "pdf" and not languages:
        return (
            f"'{name}' has no text in it. If its pages are pictures: these are read where Tesseract is installed on the"
            " server's machine (on Debian and Ubuntu: apt install tesseract-ocr)."
        )
    return f"'{name}' has no text in it."


if __name__ == "__main__":
    serve(read, (Refused,))
