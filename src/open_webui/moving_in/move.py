"""One import: what it reads from and writes to, and what it knows by now of who is who."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.access.api_keys import Sealer
from open_webui.administration import Administration
from open_webui.errors import BadRequest
from open_webui.internal.db import Database
from open_webui.models import grants
from open_webui.models.base import now
from open_webui.models.files import NewFile
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.archive import ArchiveSource
from open_webui.moving_in.outcome import Report
from open_webui.moving_in.rows import Left, Row
from open_webui.moving_in.source import Keys, Source
from open_webui.plugins.sources import Sources
from open_webui.principal import Principal
from open_webui.services import intake
from open_webui.storage.base import BlobStore, Stored
from open_webui.utils import tree

Say = Callable[[str], None]
# Grants on one thing.
_MAX_GRANTS: Final = 1_000
# However many pictures there are, and however large: what is there was taken there.
_ANY: Final = 10**9
_NO_OWNER: Final = "its owner did not come along"


class _Nowhere:
    """A store that keeps nothing."""

    async def put(self, content: bytes) -> Stored:
        return Stored(hashlib.sha256(content).hexdigest(), len(content))


class _Dry:
    blobs = _Nowhere()


@dataclass
class Move:
    """people: accounts here by their ids there. emails: of those that came, with their ids. came: by kind, the ids that are of
    this import (they are here, and are the same things as there), and whose each is. parents: by kind, what each thing hangs
    below, without circles. pictured: accounts whose pictures are files, which come after them. folders: how many each has.
    channel_files: which files channels had there.

    is_empty: no account was here when it began. trusted: the other server's administrators administer this one, too.
    """

    admin: Administration
    source: Source
    report: Report
    sealer: Sealer
    sources: Sources
    say: Say
    uploads: Path | None = None
    dry_run: bool = False
    with_settings: bool = False
    is_empty: bool = False
    trusted: bool = False
    first_admin: str | None = None
    people: dict[str, str] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    pictured: list[str] = field(default_factory=list)
    came: dict[str, dict[str, str | None]] = field(default_factory=dict)
    parents: dict[str, dict[str, str | None]] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    channel_files: dict[str, set[str]] = field(default_factory=dict)
    at: int = field(default_factory=now)

    @property
    def archive(self) -> ArchiveSource | None:
        """The source, if it is an archive: the files are in it."""
        return self.source if isinstance(self.source, ArchiveSource) else None

    @property
    def database(self) -> Database:
        return self.admin.database

    @property
    def blobs(self) -> BlobStore:
        return self.admin.blobs

    def is_here(self, kind: str, row_id: str | None) -> bool:
        """Whether something is of this import: what foreign rows name counts only then."""
        return row_id is not None and row_id in self.came.get(kind, ())

    def is_theirs(self, kind: str, row_id: str | None, owner_id: str) -> bool:
        """The same, of one person's."""
        return row_id is not None and self.came.get(kind, {}).get(row_id) == owner_id

    def owner(self, row: Row, column: str = "user_id") -> str:
        """Whose a row is here. Raises Left."""
        owner = self.people.get(row.id(column) or "")
        if owner is None:
            raise Left(_NO_OWNER)
        return owner

    def owner_or_admin(self, row: Row) -> str:
        """The same of what belongs to the server rather than to a person."""
        owner = self.people.get(row.id("user_id") or "") or self.first_admin
        if owner is None:
            raise Left(_NO_OWNER)
        return owner

    def principal(self, user_id: str) -> Principal:
        """Somebody as the owner of what they bring along, without any other right."""
        return Principal(id=user_id, role="user", name="", email="")

    async def grants(self, kind: str, row: Row, resource_id: str) -> list[GrantTriple]:
        """To whom a thing is open, of those who came along."""
        found = await self.source.select("access_grant", "resource_id", [resource_id], limit=_MAX_GRANTS)
        out: list[GrantTriple] = []
        for one in found:
            if one.text("resource_type") != kind:
                continue
            triple = self._triple(one)
            if triple is None:
                row.mended.append("a grant on it is to nobody who came along, and is left out")
            else:
                out.append(triple)
        return list(dict.fromkeys(out))

    def _triple(self, row: Row) -> GrantTriple | None:
        kind, who = row.text("principal_type"), row.text("principal_id") or ""
        if kind == "user" and who != "*":
            who = self.people.get(who, "")
        elif kind == "group" and not self.is_here("group", who):
            who = ""
        given = {"principal_type": kind, "principal_id": who, "permission": row.text("permission")}
        try:
            return grants.parse_grant(given)
        except BadRequest:
            return None

    async def without_pictures(self, owner_id: str, value: Any) -> "tuple[Any, list[NewFile]]":
        """A JSON value with addresses in place of its data: URLs, and the files that these are; their rows are not stored yet."""
        document, files = await self.kept(owner_id, msgspec.json.encode(value))
        return (msgspec.json.decode(document), files) if files else (value, files)

    async def kept(self, owner_id: str, document: bytes) -> "tuple[bytes, list[NewFile]]":
        """The same of its text."""
        keeps: intake.Keeps = _Dry() if self.dry_run else self.admin
        taken = await intake.take(keeps, owner_id, document, at_most=_ANY, largest=_ANY, strict=False)
        return taken.document, taken.files


@dataclass(frozen=True)
class Part:
    """A table of the other server, and what becomes of its rows.

    table: there. kind: the table here. needs: columns without which its rows mean nothing. convert: a row as it is going
    to be stored; raises Left, BadRequest. store: stores it; False where it is here already. key: what tells its rows apart.
    order: for a table in which some rows come before others. at_once: rows that are read in one go, fewer where they are large.
    clear: removes what an import that ended in the middle has left of some rows. owned: whether its rows are somebody's.
    only: which rows of the table it is about. has_ids: whether they have ids here; each of others is tried. same: whether a
    row whose id is here is that thing, by whose it is here; else that is its owner's to say.
    together: stores several in one transaction, all or none.
    """

    table: str
    kind: str
    needs: tuple[str, ...]
    convert: Callable[[Move, Row], Awaitable[Any]]
    store: Callable[[Move, Any], Awaitable[bool]]
    key: str = "id"
    order: Callable[[Move, Keys], Keys] | None = None
    at_once: int = 50
    clear: Callable[[Move, list[str]], Awaitable[None]] | None = None
    owned: bool = True
    only: Callable[[Row], bool] | None = None
    has_ids: bool = True
    same: "Callable[[Move, Row, str | None], bool] | None" = None
    together: "Callable[[Move, list[Any]], Awaitable[list[bool]]] | None" = None


def below(kind: str, column: str, *, same_owner: bool) -> Callable[[Move, Keys], Keys]:
    """An order for rows that hang below one another: those above come first. Circles are cut.

    same_owner: a row can only hang below one of the same person.
    """

    def order(move: Move, keys: Keys) -> Keys:
        owners = {row.id(): row.id("user_id") for _, row in keys}
        parents: dict[str, str | None] = {}
        for _, row in keys:
            own, above = row.id(), row.id(column)
            if own is not None:
                fits = above in owners and (not same_owner or owners[above] == owners[own])
                parents[own] = above if fits else None
        sound = tree.repair(parents)
        move.parents[kind] = sound
        depths = _depths(sound)
        return sorted(keys, key=lambda one: depths.get(one[1].id() or "", 0))

    return order


def _depths(parents: Mapping[str, str | None]) -> dict[str, int]:
    out: dict[str, int] = {}
    for start in parents:
        path: list[str] = []
        at: str | None = start
        while at is not None and at not in out:
            path.append(at)
            at = parents.get(at)
        depth = 0 if at is None else out[at] + 1
        for one in reversed(path):
            out[one] = depth
            depth += 1
    return out
