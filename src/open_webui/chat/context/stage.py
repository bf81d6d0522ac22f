"""What a stage is, and what it may use beside the values of its turn."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

import msgspec

from open_webui.chat.tools import Progress
from open_webui.chat.turn import Draft, Turn
from open_webui.config import Config
from open_webui.connections.gate import Gate
from open_webui.internal.db import Database
from open_webui.models.files import File


class PictureReader(Protocol):
    """How stored pictures are come by, for one person. limit: characters of all pictures that are sent, encoded."""

    @property
    def limit(self) -> int: ...

    async def find(self, ids: Collection[str]) -> dict[str, File]:
        """Those of the files that the person may read."""
        ...

    async def read(self, file: File) -> bytes:
        """A file's bytes. Raises BlobMissing."""
        ...

    async def keep(self, value: Any, *, strict: bool = False) -> Any:
        """A JSON value with addresses in place of its data: URLs, which are files of the person then.

        strict: a picture that can't be decoded is refused with BadRequest, else it stays a text.
        """
        ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What of the server stages and finishers may work with."""

    database: Database
    config: Config
    gate: Gate


class StageContext(Progress, Protocol):
    """The answer that is being prepared, as a stage may change it.

    A stage is part of the answer's task: a person's stop cancels it wherever it waits.
    pictures: the stored pictures that who asks may read. services: what of the server it may work with.
    """

    @property
    def services(self) -> Services: ...

    @property
    def pictures(self) -> PictureReader | None: ...

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        """`add_status` for each, instead of the stored ones with the same `action`."""
        ...

    def set_meta(self, name: str, value: Any) -> None:
        """Stores a value in the answer's `meta`."""
        ...


Stage = Callable[[Turn, Draft, StageContext], Awaitable[Draft]]
