"""Files of people as an upload leaves them, put there without one."""

import uuid

from open_webui.models import files
from open_webui.models.files import NewFile
from open_webui.models.tables import file
from tests.support.live import Live


async def put_file(
    live: Live, owner_id: str, name: str = "notes.txt", text: str = "Some text", *, status: str | None = "completed"
) -> str:
    """A text file of somebody; gives its id."""
    state = live.app.state.oui
    stored = await state.blobs.put(text.encode())
    made = NewFile(str(uuid.uuid4()), name, stored.hash, stored.size, "text/plain", embedded=False)
    async with state.database.write() as unit:
        await files.add(unit.connection, owner_id, [made])
        await unit.connection.execute(file.update().where(file.c.id == made.id).values(status=status))
    return made.id
