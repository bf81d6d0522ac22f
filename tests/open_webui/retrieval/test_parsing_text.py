"""Files of text: their encoding, HTML, tables, and what is no text."""

import random
from collections.abc import AsyncIterator, Callable

import pytest

from open_webui.config import Config
from open_webui.retrieval.parsing import MAX_TEXT_FILE, parse
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.html import parse_html
from open_webui.retrieval.parsing.kinds import kind_of
from open_webui.retrieval.parsing.plain import decode, parse_plain


def content_of(data: bytes, part: int = 1000) -> Callable[[], AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        for start in range(0, len(data), part):
            yield data[start : start + part]

    return content


async def read(data: bytes, name: str, mime: str = "") -> Parsed:
    return await parse(content_of(data), name=name, mime=mime, size=len(data), config=Config({}), http=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße €".encode(), "Grüße €"),
        ("Grüße €".encode("utf-8-sig"), "Grüße €"),
        ("Grüße €".encode("utf-16"), "Grüße €"),
        (b"\xfe\xff" + "Grüße €".encode("utf-16-be"), "Grüße €"),
        ("Grüße €".encode("utf-32"), "Grüße €"),
        ("Grüße €".encode("cp1252"), "Grüße €"),
        ("Grüße".encode("latin-1") + b"\x81", "Grüße\x81"),
        ("Grüße, ".encode() * 50 + b"\xff", "Grüße, " * 50 + "\ufffd"),
        (b"\xef\xbb\xbf\xff", "\ufffd"),
    ],
)
def test_any_encoding_is_read(data: bytes, text: str) -> None:
    assert decode(data, "a.txt") == text


def test_html_and_xml_say_their_encoding() -> None:
    russian = '<meta charset="koi8-r"><p>Привет, мир</p>'.encode("koi8-r")
    assert parse_plain(russian, "html", "a.html").text == "Привет, мир\n"
    assert (
        "Привет"
        in parse_plain(
            '<?xml version="1.0" encoding="windows-1251"?><a>Привет</a>'.encode("cp1251"), "xml", "a.xml"
        ).text
    )
    assert parse_plain(b'<meta charset="nonsense"><p>Gr\xfc\xdfe</p>', "html", "a.html").text == "Grüße\n"


async def test_what_has_zeros_in_it_is_no_text() -> None:
    with pytest.raises(ParseError, match=r"^'a\.txt' is not a text") as caught:
        await read(b"abc\x00def" * 1000, "a.txt")
    assert caught.value.final


@pytest.mark.parametrize("data", [b"", b"  \n\t\r\n", b"\xef\xbb\xbf"])
async def test_an_empty_file_says_so(data: bytes) -> None:
    with pytest.raises(ParseError, match=r"'a\.md' (is empty|has no text in it)\."):
        await read(data, "a.md")


async def test_a_text_too_large_says_so() -> None:
    with pytest.raises(ParseError, match="larger than 50 MB"):
        await parse(
            content_of(b"a" * 10_000), name="a.txt", mime="", size=MAX_TEXT_FILE + 1, config=Config({}), http=None  # type: ignore[arg-type]
        )  # fmt: skip


async def test_lines_end_alike_and_what_no_database_takes_is_gone() -> None:
    assert (await read(b"a\r\nb\rc\x07\x0bd", "a.txt")).text == "a\nb\ncd"
    assert "\x00" not in (await read("a\x00b".encode("utf-16"), "a.txt")).text


async def test_markdown_keeps_its_text_and_its_title() -> None:
    parsed = await read(b"intro\n\n# The title #\n\n## Part\n", "a.md")
    assert parsed == Parsed("intro\n\n# The title #\n\n## Part\n", title="The title", markdown=True)


@pytest.mark.parametrize(
    ("head", "name", "mime", "kind"),
    [
        (b"", "a.md", "", "markdown"),
        (b"x", "Makefile", "", "code"),
        (b"x", "A.PY", "text/plain", "code"),
        (b"x", "unknown.xyz", "text/html; charset=utf-8", "html"),
        (b"x", "unknown", "", "text"),
        (b"%PDF-1.7\n", "a.docx", "", "pdf"),
        (b"junk before\n%PDF-1.7\n", "a", "", "pdf"),
        (b"<!DOCTYPE html><html>", "report.pdf", "application/pdf", "html"),
        (b"\xef\xbb\xbf <!-- x --> <HTML>", "report.doc", "", "html"),
        (b"<html>", "page.md", "", "markdown"),
        (b"<?xml version='1.0'?>", "x.docx", "", "xml"),
        (b"just words", "a.pdf", "", "text"),
        (b"\x01\x02\x00", "a.pdf", "", "pdf"),
        (b"PK\x03\x04....", "a.txt", "", "zip"),
        (b"PK\x03\x04....", "a.pptx", "", "pptx"),
        (b"PK\x03\x04" + b"\0" * 26 + b"mimetypeapplication/epub+zip", "a.docx", "", "epub"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.docx", "", "ole"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.msg", "", "msg"),
        (b"\x89PNG\r\n\x1a\n", "a.pdf", "", "picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a", "", "picture"),
        (b"\xff\xd8\xff\xe0", "a.txt", "text/plain", "picture"),
    ],
)
def test_the_first_bytes_say_what_a_file_is(head: bytes, name: str, mime: str, kind: str) -> None:
    assert kind_of(head, name, mime) == kind


def test_a_table_s_rows_say_what_they_mean() -> None:
    table = b'name;born;works\nAda Lovelace;1815;"Notes;\nA to G"\nBabbage;;\n\nTuring;1912;x;extra\n'
    assert parse_plain(table, "csv", "a.csv").text == (
        "name: Ada Lovelace; born: 1815; works: Notes; A to G\nname: Babbage\nname: Turing; born: 1912; works: x; extra"
    )
    assert parse_plain(b"a\tb\n1\t2\n", "tsv", "a.tsv").text == "a: 1; b: 2"


@pytest.mark.parametrize(
    "table",
    ["1,2\n3,4\n", "a,a\n1,2\n", "one column\nx\n", "name,born\n", "a,b\n" + '"' + "x" * 1_100_000,
     "n" * 99 + ",b\n" + "1,2\n" * 999],
    ids=["numbers", "names twice", "one column", "no rows", "a cell too long", "names too long"],
)  # fmt: skip
def test_a_table_without_names_stays_as_it_is(table: str) -> None:
    assert parse_plain(table.encode(), "csv", "a.csv").text == table


PAGE = """<!doctype html><html><head><title>A  &amp; B</title><style>x{}</style><script>if (a<b) "</p>"</script></head><body>
<h1>One <b>two</b></h1><p>Hello <a href="https://x.org/a b">link</a>, <a href="javascript:x">no</a> 1 < 2 &lt;tag&gt;</p>
<ul><li>a<li><div>b</div><ol><li>c</li><li>d</li></ol></ul>
<table><tr><th>Name<th>Year</tr><tr><td>Ada</td><td></td></tr><tr><td>B|C<td>18<br>15<table><tr><td>in</td></tr></table></table>
<pre><code>def f():
    return "```"
</code></pre># not a heading<br># nor this
<h2></h2><p class="x"">paragraph</p><img alt="A cat" src=x><svg><text>no</text></svg><svg/>
<!-- comment > --> tail <a href="/unclosed"""
MARKDOWN = """# One two

Hello [link](https://x.org/a%20b), no 1 < 2 <tag>

- a
- b
  1. c
  2. d

| Name | Year |
| --- | --- |
| Ada |  |
| B\\|C | 18 15 in |

````
def f():
    return "```"
````

\\# not a heading
\\# nor this

paragraph

A cat tail
"""


def test_html_becomes_markdown() -> None:
    assert parse_html(PAGE) == Parsed(MARKDOWN, title="A & B", markdown=True)
    assert parse_html("<p>x</p><h2>First</h2>").title == "First"


@pytest.mark.parametrize("unit", [
    "<!--", "<a ", '<a href="', "<a href='\"'", "</", "<script>", '<a b="c" ', "&amp", "<pre>", "<table><tr><td>", "<ul><li>",
    "<a href=x>", " ", "\n", "<svg>", "<title>", "<script></script>", "<h1>", "`", "<td>", "='", "<p ='\" ",
])  # fmt: skip
def test_broken_html_takes_no_more_time_than_its_length(unit: str) -> None:
    """Ten times as much of it may not take a hundred times as long: quadratic time here would be hours, and ends the test."""
    parse_html(unit * (500_000 // len(unit)))


def test_any_rubbish_is_some_markdown() -> None:
    parts = ["<", ">", "/", "a", "td", "table", "<tr>", "<td>", "</table>", "<pre>", "</pre>", "<li>", "<ol>", "</ol>", '"',
             "'", "=", "<a href='/x'>", "</a>", "<h1>", "</h1>", "<title>", "</title>", "<script>", "</script>",
             "<!--", "-->", "&#0;", "&#xd800;", "\n", " "]  # fmt: skip
    chance = random.Random(11)
    for _ in range(3000):
        parsed = parse_html("".join(chance.choices(parts, k=chance.randrange(30))))
        parsed.text.encode()
        assert "\x00" not in parsed.text


async def test_code_json_and_xml_stay_as_they_are() -> None:
    texts = {
        "a.py": "def f():\n\treturn 1\n",
        "a.json": '{"a": [1, 2]}',
        "a.jsonl": '{"a": 1}\n{"a": 2}\n',
        "a.xml": "<a>x</a>",
    }
    for name, text in texts.items():
        assert (await read(text.encode(), name)) == Parsed(text)
