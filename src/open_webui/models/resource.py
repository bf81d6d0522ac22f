"""A resource: things that have an owner and can be opened to others by grants. Who may do what with them stands here."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import Forbidden, NotFound
from open_webui.models import grants, groups
from open_webui.models.grants import Action, GrantTriple
from open_webui.models.repository import Condition, Repository
from open_webui.principal import Principal

R = TypeVar("R", bound=msgspec.Struct)
# Removes what belongs to things of a kind whose ids a query gives.
Belonging = Callable[[AsyncConnection, str, "sa.Select[Any]"], Awaitable[None]]
REFUSED: Final = "You may not share with these people. An administrator of this server can allow it."
ACCESS_GRANTS: Final = "access_grants"


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """Which permissions a person needs to open things of a kind to others; None where nobody may.

    people: to share them at all. public: with all who have an account. anyone: with people without one.
    """

    people: str | None = None
    public: str | None = None
    anyone: str | None = None


class Resource(Repository[R]):
    """The repository of one kind of granted thing. Its struct may have a field `access_grants`, which is read along.

    Whoever owns a thing may do all with it. Others need a grant; `admins` says what admins may do without one, and who
    manages such things by a role set.
    """

    def __init__(
        self,
        name: str,
        table: sa.Table,
        row: type[R],
        *,
        sharing: Sharing,
        admins: Collection[Action] = (),
        granted_on: str = "id",
        belongings: Sequence[Belonging] = (),
        managed: "tuple[Condition, Callable[[Any], bool]] | None" = None,
        **mapping: Any,
    ) -> None:
        """name: the `resource_type` of its grants. granted_on: the column that they name. mapping: see `Repository`.

        managed: those of the rows that who manages such things by a role set gets at, as a condition and asked of a row; all by
        default.
        belongings: what else goes with a thing and has no foreign key to it, each by its `clear_where`.
        """
        self._with_grants = ACCESS_GRANTS in row.__struct_fields__
        super().__init__(table, row, elsewhere=[ACCESS_GRANTS] if self._with_grants else [], **mapping)
        self.name = name
        self.sharing = sharing
        self.admins = frozenset(admins)
        self._granted_on = table.c[granted_on]
        self._granted_field = granted_on
        self._belongings = tuple(belongings)
        self._managed = managed

    # Who may

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """A condition: the rows that the principal may read or write. `may` says the same of a row."""
        if principal is None:
            return grants.granted(self.name, self._granted_on, None, action)
        manages = action in self.admins and principal.manages(self.name)
        if manages and (principal.is_admin or self._managed is None):
            return sa.true()
        theirs = sa.or_(self.table.c.user_id == principal.id, self.granted(principal, action))
        return sa.or_(theirs, self._managed[0]) if manages and self._managed is not None else theirs

    def readable_by(self, principal: Principal | None) -> Condition:
        return self.allowed(principal, "read")

    def writable_by(self, principal: Principal | None) -> Condition:
        return self.allowed(principal, "write")

    def granted(self, principal: Principal | None, action: Action) -> Condition:
        """A condition: a grant gives it, whosever the row is."""
        return grants.granted(self.name, self._granted_on, principal, action)

    def may(self, row: Any, principal: Principal | None, action: Action) -> bool:
        """Whether the principal may read or write a row that has its grants with it."""
        if principal is not None and (row.user_id == principal.id or self._manages(row, principal, action)):
            return True
        return grants.allows(row.access_grants, principal, action)

    def _manages(self, row: Any, principal: Principal, action: Action) -> bool:
        if action not in self.admins or not principal.manages(self.name):
            return False
        return principal.is_admin or self._managed is None or self._managed[1](row)

    async def require(
        self,
        connection: AsyncConnection,
        principal: Principal,
        row_id: str,
        action: Action = "read",
        *,
        missing: int = 404,
        lock: bool = False,
    ) -> R:
        """A row that the principal may read or write.

        Raises NotFound with the status `missing` where there is none, or none that this principal may know of;
        Forbidden where it may be read, but not written.
        """
        row = await self.get_for(connection, principal, row_id, action, lock=lock)
        if row is not None:
            return row
        if action == "write" and await self.get_for(connection, principal, row_id) is not None:
            raise Forbidden
        raise NotFound(status=missing)

    # Grants

    async def grants_on(self, connection: AsyncConnection, resource_id: str) -> list[grants.Grant]:
        """The grants on one thing, by what the grants call it, oldest first."""
        return await grants.of(connection, self.name, resource_id)

    async def set_grants(
        self,
        connection: AsyncConnection,
        principal: Principal,
        resource_id: str,
        given: Sequence[Mapping[str, Any]],
        *,
        strict: bool,
    ) -> None:
        """Puts grants in the place of those on a thing, whose row the caller has locked.

        Grants that stand may stay, whoever gave them. Of others, those that the principal may not give are left out;
        strict: one is refused with all others (Forbidden, 403). Raises BadRequest for what is no grant.
        """
        wanted = [grants.parse_grant(grant) for grant in given]
        stand = {grant.triple for grant in await self.grants_on(connection, resource_id)}
        shares = {group.id: group.share for group in await groups.repository.all(connection)} if _groups(wanted) else {}
        fellows = await _fellows(connection, principal, wanted)
        kept = []
        for triple in dict.fromkeys(wanted):
            if triple in stand or self.may_give(principal, triple, shares, fellows):
                kept.append(triple)
            elif strict:
                raise Forbidden(REFUSED, status=403)
        await grants.replace(connection, self.name, resource_id, kept)

    def may_give(
        self,
        principal: Principal,
        grant: GrantTriple,
        shares: Mapping[str, Any],
        fellows: Collection[str] = (),
    ) -> bool:
        """Whether the principal may open such things to these people.

        shares: of each group, who may share with it: True (everybody), "members", or something else (nobody). fellows: those
        of the people who are in a group of the principal's.
        """
        kind, who, _ = grant
        if kind == "anyone":
            needed: tuple[str | None, ...] = (self.sharing.anyone,)
        elif who == "*":
            needed = (self.sharing.public,)
        else:
            needed = (self.sharing.people, f"access_grants.allow_{kind}s")
        if None in needed or not all(principal.may(permission) for permission in needed if permission):
            return False
        if principal.is_admin:
            return True
        if not _within(principal, grant, fellows):
            return False
        if kind != "group":
            return True
        share = shares.get(who, False)
        return share is True or (share == "members" and who in principal.groups)

    async def clear_of(self, connection: AsyncConnection, user_id: str) -> None:
        """Removes the grants on all that a person has; who deletes the person calls it, before the rows are gone."""
        theirs = sa.select(self._granted_on).where(self.table.c.user_id == user_id)
        await grants.clear_where(connection, self.name, theirs)
        await self._clear_belongings(connection, self.table.c.user_id == user_id)

    async def _clear_belongings(self, connection: AsyncConnection, where: Condition) -> None:
        things = sa.select(self.table.c.id).where(where)
        for clear in self._belongings:
            await clear(connection, self.name, things)

    async def delete(self, connection: AsyncConnection, ids: Collection[str]) -> int:
        """Removes rows with the grants on them and what else is theirs. Says how many rows there were."""
        for part in grants.in_parts(ids) if self._belongings else ():
            await self._clear_belongings(connection, self.table.c.id.in_(part))
        if self._granted_field == "id":
            await grants.clear(connection, self.name, ids)
        else:
            for part in grants.in_parts(ids):
                on = sa.select(self._granted_on).where(self.table.c.id.in_(part))
                await grants.clear_where(connection, self.name, on)
        return await super().delete(connection, ids)

    async def delete_all(self, connection: AsyncConnection) -> None:
        """Removes all rows, and all grants on such things."""
        await self._clear_belongings(connection, sa.true())
        await grants.clear_where(connection, self.name, sa.select(self._granted_on))
        await connection.execute(self.table.delete())

    # Rows as values

    async def _rows(self, connection: AsyncConnection, query: "sa.Select[Any]") -> list[R]:
        values = await self._values(connection, query)
        if not self._with_grants:
            return [self.row(**v) for v in values]
        given = await grants.of_many(connection, self.name, [v[self._granted_field] for v in values])
        return [self.row(**v, access_grants=tuple(given.get(v[self._granted_field], ()))) for v in values]


def _groups(wanted: Collection[GrantTriple]) -> bool:
    return any(kind == "group" for kind, _, _ in wanted)


async def _fellows(
    connection: AsyncConnection, principal: Principal, wanted: Collection[GrantTriple]
) -> Collection[str]:
    if principal.shares_with != "groups" or principal.is_admin:
        return ()
    people = [who for kind, who, _ in wanted if kind == "user"]
    return await groups.fellows(connection, principal.groups, people) if people else ()


def _within(principal: Principal, grant: GrantTriple, fellows: Collection[str]) -> bool:
    """Whether the limit of somebody's groups lets them share with these people."""
    kind, who, _ = grant
    if principal.shares_with != "groups":
        return principal.shares_with == "everybody"
    return who in principal.groups if kind == "group" else kind == "user" and who in fellows
