# ruff: noqa: E501 - XML in one line reads better
"""Small, valid files of the usual formats, made by hand."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

TITLE = '<p:ph type="title"/>'
_OFFICE = "http://schemas.openxmlformats.org"


def zipped(entries: Mapping[str, str | bytes]) -> bytes:
    """A zip whose first entry, if it is called mimetype, is stored as it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            how = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), data, how)
    return out.getvalue()


def pdf(pages: Sequence[Sequence[str]], *, title: str = "", picture: bytes | None = None) -> bytes:
    """Pages of lines. A line that begins with "# " is set larger. picture: a JPEG of 8-bit grey three times as wide as high, in the middle of each page."""
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    kids = []
    if picture is not None:
        width, height = (int.from_bytes(picture[at : at + 2]) for at in _jpeg_size(picture))
        head = f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray /BitsPerComponent 8"
        head += f" /Filter /DCTDecode /Length {len(picture)} >>\nstream\n"
        objects.append(head.encode() + picture + b"\nendstream")
    for lines in pages:
        ops = ["q 540 0 0 180 36 400 cm /Im0 Do Q"] if picture is not None else []
        y = 740
        for line in lines:
            size = 24 if line.startswith("# ") else 11
            text = line.removeprefix("# ").replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            ops.append(f"BT /F1 {size} Tf 72 {y} Td ({text}) Tj ET")
            y -= size * 2
        stream = "\n".join(ops).encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        resources = "/Font << /F1 3 0 R >>" + (" /XObject << /Im0 4 0 R >>" if picture is not None else "")
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R /Resources << {resources} >> >>"
        objects.append(page.encode())
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    objects.append(f"<< /Title ({title}) >>".encode())
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    )
    return bytes(out) + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode() + trailer.encode()


def _jpeg_size(picture: bytes) -> tuple[int, int]:
    """Where its width and its height stand."""
    at = 2
    while picture[at + 1] not in {0xC0, 0xC1, 0xC2}:
        at += 2 + int.from_bytes(picture[at + 2 : at + 4])
    return at + 7, at + 5


def docx(paragraphs: Sequence[str], *, table: Sequence[Sequence[str]] = ()) -> bytes:
    """Paragraphs; one that begins with "# " or "## " is a heading."""
    body = ""
    for text in paragraphs:
        level = len(text) - len(text.lstrip("#"))
        style = f'<w:pPr><w:pStyle w:val="Heading{level}"/></w:pPr>' if level else ""
        body += f"<w:p>{style}<w:r><w:t>{escape(text.lstrip('# '))}</w:t></w:r></w:p>"
    if table:
        rows = ("".join(f"<w:tc><w:p><w:r><w:t>{escape(c)}</w:t></w:r></w:p></w:tc>" for c in row) for row in table)
        body += f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/><w:pPr><w:outlineLvl w:val="{n - 1}"/></w:pPr></w:style>'
        for n in (1, 2, 3)
    )
    main = f'xmlns:w="{_OFFICE}/wordprocessingml/2006/main"'
    return zipped(
        _package("word/document.xml", "wordprocessingml.document.main")
        | {
            "word/document.xml": f"<w:document {main}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f"<w:styles {main}>{styles}</w:styles>",
            "word/_rels/document.xml.rels": _relations({"rId1": ("styles", "styles.xml")}),
        }
    )


def xlsx(sheets: Mapping[str, Sequence[Sequence[str | float]]]) -> bytes:
    """Sheets of rows."""
    entries = _package("xl/workbook.xml", "spreadsheetml.sheet.main")
    listed, relations = "", {}
    for number, (name, rows) in enumerate(sheets.items(), 1):
        cells = ""
        for y, row in enumerate(rows, 1):
            cells += f'<row r="{y}">'
            for x, value in enumerate(row):
                place = f"{chr(65 + x)}{y}"
                if isinstance(value, str):
                    cells += f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
                else:
                    cells += f'<c r="{place}"><v>{value}</v></c>'
            cells += "</row>"
        entries[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{_OFFICE}/spreadsheetml/2006/main"><sheetData>{cells}</sheetData></worksheet>'
        )
        listed += f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        relations[f"rId{number}"] = ("worksheet", f"worksheets/sheet{number}.xml")
    entries["xl/workbook.xml"] = (
        f'<workbook xmlns="{_OFFICE}/spreadsheetml/2006/main" xmlns:r="{_OFFICE}/officeDocument/2006/relationships">'
        f"<sheets>{listed}</sheets></workbook>"
    )
    entries["xl/_rels/workbook.xml.rels"] = _relations(relations)
    return zipped(entries)


def pptx(slides: Sequence[Sequence[str]]) -> bytes:
    """Slides; the first text of each is its title."""
    entries = _package("ppt/presentation.xml", "presentationml.presentation.main")
    spaces = (
        f'xmlns:a="{_OFFICE}/drawingml/2006/main" xmlns:p="{_OFFICE}/presentationml/2006/main"'
        f' xmlns:r="{_OFFICE}/officeDocument/2006/relationships"'
    )
    listed, relations = "", {}
    for number, texts in enumerate(slides, 1):
        shapes = "".join(
            f'<p:sp><p:nvSpPr><p:cNvPr id="{n + 2}" name="x"/><p:cNvSpPr/><p:nvPr>{TITLE if n == 0 else ""}</p:nvPr></p:nvSpPr>'
            f"<p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
            for n, text in enumerate(texts)
        )
        tree = '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
        entries[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {spaces}><p:cSld><p:spTree>{tree}{shapes}</p:spTree></p:cSld></p:sld>"
        )
        listed += f'<p:sldId id="{255 + number}" r:id="rId{number}"/>'
        relations[f"rId{number}"] = ("slide", f"slides/slide{number}.xml")
    entries["ppt/presentation.xml"] = f"<p:presentation {spaces}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>"
    entries["ppt/_rels/presentation.xml.rels"] = _relations(relations)
    return zipped(entries)


def odt(paragraphs: Sequence[str]) -> bytes:
    """Paragraphs; one that begins with "# " is a heading."""
    body = "".join(
        f'<text:h text:outline-level="1">{escape(text[2:])}</text:h>'
        if text.startswith("# ")
        else f"<text:p>{escape(text)}</text:p>"
        for text in paragraphs
    )
    spaces = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f"<office:document-content {spaces}><office:body><office:text>{body}</office:text></office:body></office:document-content>",
        }
    )


def epub(chapters: Sequence[tuple[str, str]], title: str = "A book") -> bytes:
    """Chapters as (heading, text)."""
    files = {
        f"OEBPS/c{n}.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{h}</title></head><body><h1>{h}</h1><p>{t}</p></body></html>'
        for n, (h, t) in enumerate(chapters)
    }
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
            "OEBPS/content.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id"><metadata'
            f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title><dc:identifier id="id">x</dc:identifier>'
            f"</metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
            **files,
        }
    )


def rtf(text: str) -> bytes:
    return rb"{\rtf1\ansi " + text.encode("ascii") + rb"\par}"


def eml(subject: str, text: str) -> bytes:
    return f"From: ada@example.org\r\nTo: charles@example.org\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()


def _package(part: str, kind: str) -> dict[str, str | bytes]:
    return {
        "[Content_Types].xml": f'<Types xmlns="{_OFFICE}/package/2006/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{part}" ContentType="application/vnd.openxmlformats-officedocument.{kind}+xml"/></Types>',
        "_rels/.rels": _relations({"rId1": ("officeDocument", part)}),
    }


def _relations(of: Mapping[str, tuple[str, str]]) -> str:
    listed = "".join(
        f'<Relationship Id="{one}" Type="{_OFFICE}/officeDocument/2006/relationships/{kind}" Target="{target}"/>'
        for one, (kind, target) in of.items()
    )
    return f'<Relationships xmlns="{_OFFICE}/package/2006/relationships">{listed}</Relationships>'
