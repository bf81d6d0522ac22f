"""Office documents that people upload, from the request to what is found, in the server with its reading processes."""

from typing import Any

import sqlalchemy as sa

from open_webui.models import tables
from tests.open_webui.files.test_uploads import sent
from tests.support import documents
from tests.support.live import Actor, Live


async def pieces_of(live: Live, file_id: str) -> list[Any]:
    async with live.app.state.oui.database.read() as connection:
        query = sa.select(tables.chunk).join(tables.document, tables.document.c.n == tables.chunk.c.document_n)
        found = await connection.execute(query.where(tables.document.c.file_id == file_id).order_by(tables.chunk.c.n))
        return list(found)


async def test_a_pdf_is_found_by_its_pages_and_headings(live: Live, user: Actor) -> None:
    pdf = documents.pdf([["# First", "Papaya & plum."], ["# Second", "Quince."]])
    shown = await sent(user, "fruit.pdf", pdf)
    assert shown["data"]["status"] == "completed"
    # Blank lines are the reader's to choose.
    lines = [line for line in shown["data"]["content"].splitlines() if line]
    assert lines == ["# First", "Papaya & plum.", "# Second", "Quince."]
    pieces = await pieces_of(live, shown["id"])
    assert [piece.page for piece in pieces] == [1, 2]
    assert ["First" in piece.title for piece in pieces] == [True, False]


async def test_a_document_that_can_t_be_read_says_why_and_the_next_one_is_read(user: Actor) -> None:
    shown = await sent(user, "broken.docx", documents.docx(["x"])[:-30])
    assert shown["data"]["status"] == "failed"
    assert shown["data"]["error"] == "'broken.docx' is damaged, or it is not the kind of file that its name says."
    shown = await sent(user, "well.docx", documents.docx(["R&D of quince"]))
    assert shown["data"]["content"] == "R&D of quince\n"
