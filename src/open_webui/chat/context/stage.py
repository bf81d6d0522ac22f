"""What a stage is, and what it may use beside the values of its turn."""

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from open_webui.chat.places import Places
from open_webui.chat.turn import Draft, Turn
from open_webui.config import Config
from open_webui.connections.gate import Gate
from open_webui.events import Streamer
from open_webui.internal.db import Database
from open_webui.models.files import File
from open_webui.principal import Principal
from open_webui.services.event_names import Happened
from open_webui.tools.port import Progress

if TYPE_CHECKING:
    from open_webui.services.images.making import Pictures
    from open_webui.services.library import Library
    from open_webui.services.plugin_filters import Filtering, Filters
    from open_webui.services.toolbox import Toolbox


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

    @property
    def scales(self) -> bool:
        """Whether large pictures are sent as smaller ones."""
        ...

    async def sent(self, file: File) -> tuple[str, bytes]:
        """Type and bytes of a stored picture as a model is sent it. Raises BlobMissing, StoreAway."""
        ...

    async def sent_url(self, url: str) -> str:
        """The same of a picture that is a data: URL, as one."""
        ...

    async def checked(self, url: str) -> str:
        """A data: URL of a picture that a model gave, without the picture's descriptions. Raises BadRequest for what is none."""
        ...

    async def keep_text(self, filename: str, text: str) -> str:
        """Makes a text a file of the person, and gives the file's id. Raises OSError, OuiError."""
        ...

    async def keep(self, value: Any, *, strict: bool = False) -> Any:
        """A JSON value with addresses in place of its data: URLs, which are files of the person then, without what pictures tell
        of their making.

        strict: what is no picture, or can't be decoded, is refused with BadRequest; else it is a file for saving, or a text.
        """
        ...


# Hears what has happened, and by whom.
Note = Callable[[Happened, Principal | None], None]


def _unheard(_happened: Happened, _actor: Principal | None) -> None:
    """Nobody listens."""


class Background(Protocol):
    """Has sub-agents work on after the answer that handed their tasks over (chat.background.Background is one)."""

    def takes(self, turn: Turn) -> bool:
        """Whether an answer may hand such tasks over."""
        ...

    async def hand_over(self, turn: Turn, task: str, call_id: str) -> str:
        """Has a task worked on, and gives its id. Raises TooManyRequests, Unavailable."""
        ...

    async def look(self, turn: Turn, task_id: str | None) -> str:
        """How far the tasks of a chat are, or one of them: for the model."""
        ...


def _nobody() -> None:
    return None


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What of the server stages and finishers may work with. emitter: asks pages. library, toolbox, filters: give its
    documents, tools and filters, which are opened then. note: hears what happens.
    """

    database: Database
    config: Config
    gate: Gate
    emitter: Streamer
    library: "Callable[[], Library]"
    toolbox: "Callable[[], Toolbox]"
    filters: "Callable[[], Filters]"
    note: Note = _unheard
    # Has pictures made.
    pictures: "Callable[[], Pictures]"
    # Works on tasks after the answer that handed them over.
    background: "Callable[[], Background | None]" = _nobody
    # Of the sub-agents of this process.
    places: Places = msgspec.field(default_factory=Places)


class StageContext(Progress, Protocol):
    """The answer that is being prepared, as a stage may change it.

    A stage is part of the answer's task: a person's stop cancels it wherever it waits.
    pictures: the stored pictures that who asks may read. services: what of the server it may work with.
    """

    @property
    def services(self) -> Services: ...

    # Runs a turn that is a part of this one (loop.answer has set it).
    part: Any
    # The filters of the answer, once a stage has found some.
    filtering: "Filtering | None"

    @property
    def pictures(self) -> PictureReader | None: ...

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        """`add_status` for each, instead of the stored ones with the same `action`."""
        ...

    async def add_sources(self, sources: list[dict[str, Any]]) -> None:
        """Shows and stores sources that were found for the question, all at once."""
        ...

    def set_meta(self, name: str, value: Any) -> None:
        """Stores a value in the answer's `meta`."""
        ...


Stage = Callable[[Turn, Draft, StageContext], Awaitable[Draft]]
