"""Finding data: URLs in JSON bytes: what is one, where it ends, and what is only text."""

import json
import time
from typing import Any

import pytest

from open_webui.utils.data_urls import BadDataUrl, DataUrl, decoded, find
from tests.support.pictures import data_url, picture, png

PICTURE = picture()


def all_of(document: bytes) -> list[DataUrl]:
    out, at = [], 0
    while (found := find(document, at)) is not None:
        out.append(found)
        at = found.end
    return out


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def rest(document: bytes) -> bytes:
    """The document with a mark in the places of what was found."""
    out, at = b"", 0
    for found in all_of(document):
        out += document[at : found.start] + b"<>"
        at = found.end
    return out + document[at:]


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"url": PICTURE}, {"url": "<>"}),
        ([PICTURE, PICTURE], ["<>", "<>"]),
        (PICTURE, "<>"),
        (f"![a]({PICTURE}) and ![b]({PICTURE}).", "![a](<>) and ![b](<>)."),
        (f'<img src="{PICTURE}">', '<img src="<>">'),
        (f"<img src='{PICTURE}'>\n", "<img src='<>'>\n"),
        (f"{PICTURE}\n\n{PICTURE}", "<>\n\n<>"),
        (f"é{PICTURE}é", "é<>é"),
        (f"data: {PICTURE}", "data: <>"),
        (f"data:data:{PICTURE}", "data:data:<>"),
        ({PICTURE: 1}, {"<>": 1}),
        (data_url(png(), "image/svg+xml"), "<>"),
        (data_url(b"x" * 2000, "text/html"), "<>"),
        ("data:;base64," + "QUJD" * 400, "<>"),
        ("data:image/svg+xml;utf8,<svg a='\"'>" + "é" * 900 + "</svg>", "<>"),
    ],
)
def test_what_is_found(value: Any, left: Any) -> None:
    document = encoded(value)
    assert json.loads(rest(document)) == left
    assert json.loads(rest(document.replace(b"/", b"\\/"))) == left, "as encoders write it that escape slashes"


@pytest.mark.parametrize(
    "text",
    [
        "data:", "data:,", 'data:image/png;base64,"', "data:image/png;base64," + "A" * 900,
        "data: " + "x" * 3000, "data:text/plain," + "x" * 3000, "see data:text/plain;base64," + "QUJD" * 800,
        "see data:image/png;base64," + "QUJD" * 800, "see data:image/svg+xml;base64," + "QUJD" * 800,
        "see data:image/png;base64," + "A" * 3001, "nodata" * 500,
    ],
)  # fmt: skip
def test_what_is_text(text: str) -> None:
    document = encoded({"a": text, "b": [text]})
    assert rest(document) == document


@pytest.mark.parametrize("body", ["A" * 1501, "A" * 1500 + "!", "=" * 1500, "AAAA" * 300 + "=AAA" * 100])
def test_a_picture_that_can_not_be_decoded_is_refused(body: str) -> None:
    with pytest.raises(BadDataUrl):
        find(encoded({"url": f"data:image/png;base64,{body}"}))
    assert find(encoded({"url": f"data:image/png;base64,{body}"}), strict=False) is None


@pytest.mark.parametrize(
    "document", [b"", b'"', b'"data:image/png;base64,' + b"QUJD" * 800, b"data:", b'\\"data:,' + b"\\" * 3000]
)
def test_bytes_that_are_no_json_end(document: bytes) -> None:
    find(document, strict=False)


def test_contents_are_exact() -> None:
    for size in (1200, 3_000_001, 3_000_002, 3_000_003):
        data = b"\x89PNG\r\n\x1a\n" + bytes(size)
        assert [f.data for f in all_of(encoded([data_url(data), f"text {data_url(data)}"]))] == [data, data]


def test_base64_with_padding_in_the_middle_is_none() -> None:
    assert decoded(b"QQ==QUJD") is None
    assert decoded(b"QUJD\nQUJD") is None
    assert decoded(b"") == b""


def test_many_marks_cost_no_more_than_their_bytes() -> None:
    """A document of nothing but beginnings takes milliseconds a megabyte, not minutes."""
    for piece in (
        b"data:",
        b'"data:',
        b'"data:image/png;base64,',
        b"data:image/png;base64,A",
        b'"data:image/png;base64,\\"',
    ):
        document = piece * (400_000 // len(piece))
        started = time.process_time()
        find(document, strict=False)
        assert time.process_time() - started < 5
