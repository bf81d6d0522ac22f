"""How far listening to an uploaded recording is: told to its owner's tabs and in its job, and kept with the file.

A piece that was heard is not listened to again, whatever ends the attempt.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from open_webui.audio.base import Sofar, Telling
from open_webui.internal.db import Database
from open_webui.jobs.kinds import Run
from open_webui.models import uploads
from open_webui.models.uploads import UNREAD, Upload

# The name in a file's data under which it is kept until the whole is there.
KEPT_AS: Final = "heard"


class Listening(Telling):
    """See `audio.base.Telling`."""

    def __init__(
        self, database: Database, upload: Upload, run: Run, tell: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """tell: gives what it is given to whoever watches the file."""
        self.sofar = _read(upload.data.get(KEPT_AS))
        self._database = database
        self._file_id = upload.id
        self._run = run
        self._tell = tell

    async def reached(self, at: float, of: float) -> None:
        """See `Telling`."""
        share = min(1.0, at / of) if of else None
        self._run.progress(share, f"{at:,.0f} of {of:,.0f} seconds were listened to." if of else f"{at:,.0f} seconds.")
        await self._tell({"seconds": round(at, 1), "of": round(of, 1)})

    async def keep(self, sofar: Sofar) -> None:
        """See `Telling`."""
        async with self._database.write() as unit:
            found = await uploads.by_id(unit.connection, self._file_id, lock=True)
            # Of a file that is gone, or that another process has read meanwhile, nothing is kept.
            if found is not None and found.hash is None and found.status in UNREAD:
                data = found.data | {KEPT_AS: msgspec.to_builtins(sofar)}
                await uploads.change(unit.connection, found.id, data=data)


def _read(kept: Any) -> Sofar:
    try:
        return msgspec.convert(kept, Sofar) if kept else Sofar()
    except msgspec.ValidationError:
        return Sofar()
