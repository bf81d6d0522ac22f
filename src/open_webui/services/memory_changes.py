"""Changes of memories that are made together: worked out first over what is there, and stored by a few statements then."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from open_webui.errors import BadRequest, NotFound
from open_webui.models.base import new_id
from open_webui.models.memories import Kind, Memory
from open_webui.schemas.memories import Operation

NEEDS: Final = "Operation {}: '{}' needs {}. Nothing was changed."
UNKNOWN: Final = "Operation {}: there is no memory '{}'. Nothing was changed."


class Changes:
    """What becomes of somebody's memories, one operation after the other."""

    def __init__(
        self,
        known: Sequence[Memory],
        *,
        user_id: str,
        at: int,
        meta: dict[str, Any] | None,
        text_of: Callable[[str], str],
        path_of: Callable[[str | None], str | None],
        check_room: Callable[[int, int], None],
    ) -> None:
        """known: those that the operations name, and those that say what they add. meta: of what is added. at: now.

        text_of, path_of: texts and paths as they are stored. check_room: raises where so many memories more, with so many
        characters more, are too many.
        """
        self._now = {row.id: row for row in known}
        self._before = dict(self._now)
        self._made_of: dict[str, Any] = {"user_id": user_id, "meta": meta, "updated_at": at, "created_at": at}
        self._at = at
        self._text_of, self._path_of, self._check_room = text_of, path_of, check_room
        self._count = self._chars = 0

    # What is to be stored

    @property
    def made(self) -> list[Memory]:
        """Memories that are new."""
        return [row for row in self._now.values() if row.id not in self._before]

    @property
    def changed(self) -> list[Memory]:
        """Those that are other than before."""
        return [row for row in self._now.values() if self._before.get(row.id, row) is not row]

    @property
    def removed(self) -> list[str]:
        """The ids of those that are to go."""
        return [memory_id for memory_id in self._before if memory_id not in self._now]

    @property
    def texts(self) -> dict[str, str]:
        """What the index is to hold of others than before, by id."""
        others = (row for row in self._now.values() if self._text_before(row.id) != row.content)
        return {row.id: row.content for row in others}

    def _text_before(self, memory_id: str) -> str | None:
        before = self._before.get(memory_id)
        return None if before is None else before.content

    # The operations

    def apply(self, n: int, operation: Operation) -> tuple[str, Memory]:
        """What comes of one, and the memory that it is about. n: the how many-th it is. Raises BadRequest, NotFound."""
        action = operation.action
        if action == "add":
            return self._add(n, operation)
        if not operation.id:
            raise BadRequest(NEEDS.format(n, action, "'id'"))
        if action == "replace" and operation.content is None:
            raise BadRequest(NEEDS.format(n, action, "'content'"))
        if action == "move" and operation.path is None and operation.type is None:
            raise BadRequest(NEEDS.format(n, action, "'path' or 'type'"))
        if (row := self._now.get(operation.id)) is None:
            raise NotFound(UNKNOWN.format(n, operation.id[:100]))
        if action == "remove":
            del self._now[row.id]
            self._grow(-1, -len(row.content))
            return "deleted", row
        values: dict[str, Any] = {"updated_at": self._at}
        if action == "replace":
            values["content"] = self._text_of(operation.content or "")
        if operation.type is not None:
            values["type"] = operation.type
        if operation.path is not None:
            values["path"] = self._path_of(operation.path)
        changed = replace(row, **values)
        self._grow(0, len(changed.content) - len(row.content))
        self._now[row.id] = changed
        return "updated" if action == "replace" else "moved", changed

    def _add(self, n: int, operation: Operation) -> tuple[str, Memory]:
        if operation.content is None:
            raise BadRequest(NEEDS.format(n, "add", "'content'"))
        content, path, kind = (
            self._text_of(operation.content),
            self._path_of(operation.path),
            operation.type or "context",
        )
        if (same := self._saying(content, kind)) is not None:
            return "unchanged", same
        self._grow(1, len(content))
        row = Memory(id=new_id(), type=kind, path=path, content=content, **self._made_of)
        self._now[row.id] = row
        return "created", row

    def _saying(self, content: str, kind: Kind) -> Memory | None:
        """The oldest of a type that says exactly this."""
        same = (row for row in self._now.values() if row.content == content and row.type == kind)
        return min(same, key=lambda row: (row.created_at, row.id), default=None)

    def _grow(self, count: int, chars: int) -> None:
        self._count, self._chars = self._count + count, self._chars + chars
        if count > 0 or chars > 0:
            self._check_room(self._count, self._chars)
