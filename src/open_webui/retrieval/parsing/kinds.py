"""What a file is: told by its first bytes where these are clear, else by its name, else by the type that came with it."""

import codecs
import re
from collections.abc import Mapping
from typing import Final

# How much of a file's beginning `kind_of` wants to see, in bytes.
HEAD: Final = 4096

TEXTS: Final = frozenset({"text", "markdown", "html", "csv", "tsv", "json", "jsonl", "xml", "code"})
"""Kinds that the core reads by itself."""

_CODE: Final = (
    "ada asm asp awk bash bat c cc cfg clj cljs cmake cmd coffee conf cpp cr cs css cxx d dart dockerfile elm env erl ex exs"
    " f90 fish fs gd go gradle graphql groovy h hh hpp hrl hs ini ipp java jl js jsx kt kts less lisp lua m makefile ml mli mm"
    " nim nix pas php pl pm properties proto ps1 psm1 py pyi r rb rs sass scala scss sh sol sql svelte swift tcl tf toml ts"
    " tsx v vb vhd vim vue yaml yml zig zsh"
).split()
_EXTENSIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_CODE, "code"),
    **dict.fromkeys("txt text log asc srt vtt lrc".split(), "text"),
    **dict.fromkeys("md markdown mdx mkd rmd qmd".split(), "markdown"),
    **dict.fromkeys("html htm xhtml xht".split(), "html"),
    **dict.fromkeys("json geojson webmanifest".split(), "json"),
    **dict.fromkeys("jsonl ndjson".split(), "jsonl"),
    **dict.fromkeys("xml xsd xsl xslt rss atom svg plist kml gpx opml".split(), "xml"),
    **dict.fromkeys("jpg jpeg png gif bmp tif tiff webp jp2 heic heif avif".split(), "picture"),
    **{
        one: one
        for one in (
            "csv tsv pdf docx docm dotx pptx pptm ppsx xlsx xlsm xltx xlsb xls doc ppt odt ods odp epub rtf eml msg mbox ipynb"
            " tex rst org typ fb2 zip tar gz tgz 7z bib"
        ).split()
    },
}
_MIMES: Final[Mapping[str, str]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "text/rtf": "rtf",
    "application/epub+zip": "epub",
    "message/rfc822": "eml",
    "application/vnd.ms-outlook": "msg",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
}
# Beginnings that are one kind and no other. "zip" and "ole" are containers: what is inside, `kind_of` asks the name.
_BEGINNINGS: Final = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rtf", "rtf"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"II*\x00", "picture"),
    (b"MM\x00*", "picture"),
    (b"\x1f\x8b", "gz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)
_LIKE_TEXT: Final = TEXTS | frozenset("eml mbox ipynb tex rst org typ fb2 bib".split())
_ZIPPED: Final = frozenset("docx docm dotx pptx pptm ppsx xlsx xlsm xltx xlsb odt ods odp epub zip".split())
_OLE: Final = frozenset("doc xls ppt msg".split())
# What a zip's first entry, stored as it is, says of the whole: (where it begins, what follows).
_OPEN_DOCUMENTS: Final = (
    (b"mimetypeapplication/vnd.oasis.opendocument.text", "odt"),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "ods"),
    (b"mimetypeapplication/vnd.oasis.opendocument.presentation", "odp"),
    (b"mimetypeapplication/epub+zip", "epub"),
)
_LOOKS_HTML: Final = re.compile(
    rb"\s*+(?:<!--.{0,2000}?-->\s*+)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_LOOKS_XML: Final = re.compile(rb"\s*+<\?xml\b")


def extension(name: str) -> str:
    """The ending of a file's name in lower case, without its dot; the whole name where it has none ("Makefile")."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower()


def kind_of(head: bytes, name: str, mime: str) -> str:
    """What a file is: one of `TEXTS`, "picture", or the usual ending of its format ("pdf", "docx"); "text" where unknown.

    head: its first `HEAD` bytes. name: what it is called. mime: the type that came with it, "" for none.
    """
    named = _EXTENSIONS.get(extension(name)) or _MIMES.get(mime.partition(";")[0].strip().lower())
    seen = _seen(head)
    if seen is not None:
        return _inside(seen, named, head)
    if named in _LIKE_TEXT or (named is not None and b"\x00" in head):
        # Where it is binary, it is what its name says, or whoever reads it finds out.
        return named
    # The name may say something that the bytes are not: a page of HTML that was saved as report.pdf, say.
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _LOOKS_HTML.match(text):
        return "html"
    if _LOOKS_XML.match(text):
        return "xml"
    return "text" if named is None or _is_text(text) else named


def _seen(head: bytes) -> str | None:
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture"
    return None


def _inside(seen: str, named: str | None, head: bytes) -> str:
    """What a container that was seen holds, as far as its beginning or its name tells."""
    if seen == "zip":
        told = next((kind for mark, kind in _OPEN_DOCUMENTS if mark in head[:160]), None)
        return told or (named if named in _ZIPPED else None) or seen
    if named is not None and ((seen == "ole" and named in _OLE) or (seen == "gz" and named == "tgz")):
        return named
    return seen


def _is_text(head: bytes) -> bool:
    """Whether it is UTF-8, but for a character that the end of `head` cuts."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\x00" not in head
