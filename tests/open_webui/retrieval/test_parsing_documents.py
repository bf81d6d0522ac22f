# ruff: noqa: E501 - a case in one line reads better
"""Office documents, pictures, and what hostile files do: to the process that reads them, and to no one else."""

import asyncio
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from open_webui.config import Config
from open_webui.retrieval import parsing
from open_webui.retrieval.parsing import parse
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.readers import Readers
from tests.open_webui.retrieval.test_parsing_text import content_of
from tests.support import documents


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    made = Readers()
    yield made
    await made.close()


@pytest.fixture
async def hostile() -> AsyncIterator[Readers]:
    made = Readers(module="tests.support.hostile_reader", seconds=20)
    yield made
    await made.close()


async def read(readers: Readers, data: bytes, name: str, mime: str = "", **environment: str) -> Parsed:
    config = Config(environment)
    return await parse(
        content_of(data, 65_536), name=name, mime=mime, size=len(data), config=config, http=None, readers=readers
    )  # type: ignore[arg-type]


async def refusal(readers: Readers, data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        await read(readers, data, name)
    assert caught.value.final
    return str(caught.value)


PAGES = [
    ["# Report", "Hello world (one).", "Second line of it."],
    ["# Part two", "Page two text here."],
    [],
    ["The last page"],
]
WORDS = "R&D: a<b>c café x*y_z [1]"


async def test_a_pdf_has_pages_headings_and_a_title(readers: Readers) -> None:
    parsed = await read(readers, documents.pdf(PAGES, title="The title"), "a.pdf")
    assert parsed.title == "The title"
    assert parsed.markdown
    ends = [*parsed.pages[1:], len(parsed.text)]
    pages = [parsed.text[start:end].strip() for start, end in zip(parsed.pages, ends, strict=True)]
    # Where Tesseract is installed, lines have blank ones between them.
    assert [re.sub(r"\n+", "\n", page) for page in pages] == [
        "# Report\nHello world (one).\nSecond line of it.",
        "# Part two\nPage two text here.",
        "",
        "The last page",
    ]


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (
            documents.docx(["# Heading & more", WORDS, "## Sub", "Deep"], table=[["Name", "Born"], ["Ada", "1815"]]),
            "a.docx",
            f"# Heading & more\n\n{WORDS}\n\n## Sub\n\nDeep\n\n| Name | Born |\n| --- | --- |\n| Ada | 1815 |\n",
        ),
        (documents.docx([WORDS]), "mislabelled.xlsx", f"{WORDS}\n"),
        (documents.docx([WORDS]), "without an ending", f"{WORDS}\n"),
        (
            documents.xlsx({"First": [["name", "born"], [WORDS, 1815]], "Second": [["x", 1.5]]}),
            "a.xlsx",
            f"## First\n\n| name | born |\n| --- | --- |\n| {WORDS} | 1815 |\n\n## Second\n\n| x | 1.5 |\n| --- | --- |\n",
        ),
        (documents.odt(["# Head", WORDS]), "a.odt", f"# Head\n\n{WORDS}\n"),
        (documents.epub([("One", "It was dark."), ("Two", "And stormy.")]), "a.epub", "# One\n\nIt was dark.\n\n# Two\n\nAnd stormy."),
        (documents.rtf("Hello there"), "a.rtf", "Hello there\n"),
        (
            documents.eml("Greetings", f"Dear Charles,\r\n{WORDS}"),
            "a.eml",
            f"Subject: Greetings\nFrom: ada@example.org\nTo: charles@example.org\n\nDear Charles,\n{WORDS}",
        ),
    ],
    ids=["docx", "docx as xlsx", "docx without a name", "xlsx", "odt", "epub", "rtf", "eml"],
)  # fmt: skip
async def test_an_office_document_is_read(readers: Readers, data: bytes, name: str, expected: str) -> None:
    assert (await read(readers, data, name)).text == expected


async def test_slides_are_pages(readers: Readers) -> None:
    parsed = await read(readers, documents.pptx([["First", WORDS], ["Second", "text"]]), "a.pptx")
    assert parsed.text == f"## First\n\n{WORDS}\n\n## Second\n\ntext\n\n"
    assert parsed.text[parsed.pages[1] :].startswith("## Second")
    assert len(parsed.pages) == 2


async def test_a_large_text_is_read_in_the_child(readers: Readers) -> None:
    text = "Some words of it.\n" * 20_000
    assert (await read(readers, text.encode(), "a.txt")).text == text
    assert readers._all


async def test_a_page_of_html_that_calls_itself_pdf(readers: Readers) -> None:
    assert (await read(readers, b"<!doctype html><title>Error</title><p>Not found", "report.pdf")).text == "Not found\n"
    assert not readers._all


BOMB = documents.zipped({"[Content_Types].xml": "x", "word/document.xml": b"0" * 300_000_000})
LOCKED = io.BytesIO()
with zipfile.ZipFile(LOCKED, "w") as archive:
    archive.writestr("word/document.xml", "secret")
    archive.filelist[0].flag_bits |= 1


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"%PDF-1.4 junk", "a.pdf", "'a.pdf' is damaged"),
        (documents.pdf(PAGES)[:400], "a.pdf", "'a.pdf' (is damaged|has no text in it)"),
        (b"PK\x03\x04junk", "a.docx", "'a.docx' is damaged"),
        (documents.docx(["x"])[:-30], "a.docx", "'a.docx' is damaged"),
        (documents.zipped({"[Content_Types].xml": "<", "word/document.xml": "<w:document"}), "a.docx", "'a.docx' (is damaged|has no text)"),
        (documents.docx([]), "a.docx", "'a.docx' has no text in it"),
        (b"\x00\x01\x02" * 1000, "a.pdf", "'a.pdf' is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000) + "EncryptedPackage".encode("utf-16-le"), "a.docx", "is encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "a.bin", "an old Office file whose name does not say which"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "a.doc", "'a.doc' (is damaged|has no text in it)"),
        (LOCKED.getvalue(), "a.docx", "'a.docx' is encrypted. Save it without a password"),
        (BOMB, "a.docx", r"'a.docx' unpacks to more than is read: 286 MB in 2 files"),
        (b"", "a.docx", "'a.docx' is empty"),
    ],
    ids=["no pdf", "half a pdf", "no zip", "half a docx", "broken xml", "no text", "rubbish", "encrypted", "ole", "doc", "locked", "bomb", "empty"],
)  # fmt: skip
async def test_what_can_t_be_read_says_why(readers: Readers, data: bytes, name: str, sentence: str) -> None:
    with pytest.raises(ParseError, match=sentence):
        await read(readers, data, name)


async def test_an_encrypted_pdf_says_so(readers: Readers) -> None:
    plain = documents.pdf([["x"]])
    locked = plain.replace(
        b"trailer\n<<", b"trailer\n<< /Encrypt << /Filter /Standard /V 1 /R 2 /O (" + b"o" * 32 + b") /U (" + b"u" * 32 + b") /P -4 >>"
    )  # fmt: skip
    locked = locked.replace(b"/Root", b"/ID [(0123456789abcdef) (0123456789abcdef)] /Root")
    assert "is encrypted" in await refusal(readers, locked, "a.pdf")


@pytest.mark.usefixtures("children_from_nothing")
async def test_without_the_extra_a_document_says_how_to_install_it(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "path", [p for p in sys.path if "site-packages" not in p] + [str(_packages_without_kreuzberg())]
    )
    assert "Install it with:" in (said := await refusal(readers, documents.pdf([["x"]]), "a.pdf"))
    assert "documents" in said
    assert (await read(readers, b"plain text " * 30_000, "a.txt")).text


def _packages_without_kreuzberg() -> Path:
    folder = Path(tempfile.mkdtemp())
    (folder / "kreuzberg.py").write_text("raise ImportError\n")
    return folder


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("abort", "the process that reads files has crashed"),
        ("segfault", "the process that reads files has crashed"),
        ("grow", "the process that reads files has crashed"),
        ("memory", "the process that reads files has crashed"),
        ("write", "the process that reads files has crashed"),
        ("spin", "the process that reads files has crashed"),
    ],
)
async def test_a_hostile_file_ends_only_its_process(hostile: Readers, deed: str, why: str) -> None:
    bad = f"{deed}!".encode() + bytes(300)
    first, *others = await asyncio.gather(
        read(hostile, bad, "bad.pdf"), *(read(hostile, documents.docx([WORDS]), "a.docx") for _ in range(3)), return_exceptions=True
    )  # fmt: skip
    assert isinstance(first, ParseError)
    assert why in str(first)
    assert first.final
    assert [one.text for one in others if isinstance(one, Parsed)] == [WORDS + "\n"] * 3


async def test_a_file_that_takes_too_long_is_given_up() -> None:
    readers = Readers(module="tests.support.hostile_reader", seconds=2)
    assert await refusal(readers, b"sleep!" + bytes(300), "a.pdf") == (
        "'a.pdf' can't be read: the process that reads files took longer than 2 seconds, and was ended."
    )
    await readers.close()


async def pid_of(readers: Readers) -> int:
    return int((await read(readers, b"pid!" + bytes(300), "a.pdf")).text)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_process_is_used_again_and_a_cancelled_call_ends_it(
    hostile: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pid = await pid_of(hostile)
    assert await pid_of(hostile) == pid
    reading = asyncio.create_task(read(hostile, b"sleep!" + bytes(300), "a.pdf"))
    async with asyncio.timeout(30):
        while not list(tmp_path.rglob("asleep")):  # noqa: ASYNC110, ASYNC240 - another process tells nobody
            await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not lives(pid)
    assert await pid_of(hostile) != pid
    assert not list(await asyncio.to_thread(os.listdir, tmp_path))


async def test_it_is_not_told_secrets(hostile: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBUI_SECRET_KEY", "secret")
    assert "WEBUI" not in (await read(hostile, b"environment!" + bytes(300), "a.pdf")).text


@pytest.mark.skipif(sys.platform != "linux", reason="the system itself does this on Linux alone")
def test_it_ends_with_the_server_in_the_middle_of_a_file(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from open_webui.retrieval.parsing.readers import Readers
async def content():
    yield b"pid!" + bytes(300)
async def slow():
    yield b"sleep!" + bytes(300)
async def main():
    readers = Readers(module="tests.support.hostile_reader")
    print((await readers.read(content(), "pdf", "a", pictures=False)).text, flush=True)
    await readers.read(slow(), "pdf", "a", pictures=False)
asyncio.run(main())
"""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "TMPDIR": str(tmp_path),
    }
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
    for _ in range(500):
        if not lives(pid):
            return
        subprocess.run(["sleep", "0.02"], check=True)
    raise AssertionError("it outlived the server")


FORMATS = {
    "a.pdf": documents.pdf(PAGES), "a.docx": documents.docx(["# x", WORDS]), "a.xlsx": documents.xlsx({"S": [["a", 1]]}),
    "a.pptx": documents.pptx([["a", "b"]]), "a.odt": documents.odt(["# x", "y"]), "a.epub": documents.epub([("a", "b")]),
    "a.rtf": documents.rtf("abc"), "a.eml": documents.eml("a", "b"), "a.html": b"<table><tr><td>x</table>", "a.csv": b"a,b\n1,2\n",
    "a.json": b'{"a": [1]}', "a.md": b"# a\n\nb\n", "a.zip": documents.zipped({"a.txt": "b"}), "a.xml": b"<a><b/></a>",
}  # fmt: skip


async def test_whatever_the_bytes_are_there_is_text_or_a_sentence(readers: Readers) -> None:
    """Seeded: each file loses, gains and changes bytes, and is called something else."""
    chance = random.Random(2611)
    for _ in range(200):
        data = bytearray(FORMATS[chance.choice(list(FORMATS))])
        for _ in range(chance.randrange(1, 12)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0:
                    data[at:at] = chance.randbytes(chance.randrange(20))
                case 1:
                    del data[at : at + chance.randrange(60)]
                case 2:
                    data[at : at + 4] = chance.randbytes(4)
                case _:
                    data[at:at] = data[: chance.randrange(len(data) + 1)]
        name = chance.choice([*FORMATS, "a.doc", "a.bin", "a", "a.msg", "a.7z"])
        try:
            parsed = await read(readers, bytes(data), name)
        except ParseError as error:
            assert name in str(error)  # noqa: PT017
        else:
            parsed.text.encode()
            assert parsed.text.strip()
            assert list(parsed.pages) == sorted(parsed.pages)
            assert all(page <= len(parsed.text) for page in parsed.pages)


def picture(form: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    drawing, fonts = pytest.importorskip("PIL.ImageDraw"), pytest.importorskip("PIL.ImageFont")
    drawn = image.new("L", (900, 300), 255)
    font = fonts.load_default(size=48)
    drawing.Draw(drawn).text((40, 40), "The lighthouse keeper\nreads at night 1815", font=font, fill=0)
    out = io.BytesIO()
    drawn.save(out, form)
    return out.getvalue()


def has_tesseract() -> bool:
    from open_webui.retrieval.parsing import reader

    kept = os.environ.get("TESSDATA_PREFIX")
    found = reader._languages()
    if kept is None:
        os.environ.pop("TESSDATA_PREFIX", None)
    return "eng" in found


needs_tesseract = pytest.mark.skipif(not has_tesseract(), reason="Tesseract's English is not installed")


@needs_tesseract
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
async def test_text_in_a_picture_is_read(readers: Readers, form: str) -> None:
    assert (
        await read(readers, picture(form), f"a.{form}")
    ).text.split() == "The lighthouse keeper reads at night 1815".split()


@needs_tesseract
async def test_a_scanned_pdf_is_read(readers: Readers) -> None:
    parsed = await read(readers, documents.pdf([[]], picture=picture("JPEG")), "scan.pdf")
    assert parsed.text.split() == "The lighthouse keeper reads at night 1815".split()
    assert parsed.pages == (0,)


@needs_tesseract
async def test_pictures_in_a_pdf_are_read_where_the_setting_says_so(readers: Readers) -> None:
    data = documents.pdf(
        [["A page of text, long enough to be one."] * 25, ["And another page."] * 25], picture=picture("JPEG")
    )
    assert "lighthouse" not in (await read(readers, data, "a.pdf")).text
    parsed = await read(readers, data, "a.pdf", PDF_EXTRACT_IMAGES="true")
    assert "A page of text" in parsed.text[: parsed.pages[1]]
    assert "lighthouse" in parsed.text[: parsed.pages[1]]


async def test_a_picture_without_tesseract_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESSDATA_PREFIX", raising=False)
    readers = Readers(module="tests.support.reader_without_tesseract")
    try:
        assert "apt install tesseract-ocr" in await refusal(readers, picture("PNG"), "a.png")
        assert "apt install tesseract-ocr" in await refusal(readers, documents.pdf([[]]), "a.pdf")
    finally:
        await readers.close()


def test_the_server_imports_nothing_of_it() -> None:
    code = "import sys, open_webui.retrieval.parsing; assert not {'kreuzberg', 'zipfile', 'aiohttp'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": "src"})
    assert parsing.SMALL == 262_144
