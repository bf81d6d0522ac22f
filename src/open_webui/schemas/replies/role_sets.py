"""Role sets, and with whom groups may share, as they go out."""

from typing import TypedDict


class RoleSet(TypedDict):
    """groups: whose people it is about. users, holding_groups: who holds it. All of these are ids."""

    id: str
    name: str
    description: str
    rights: list[str]
    groups: list[str]
    users: list[str]
    holding_groups: list[str]
    created_at: int
    updated_at: int


class RoleSets(TypedDict):
    """rights: what one can give."""

    items: list[RoleSet]
    rights: list[str]


class NamedGroup(TypedDict):
    id: str
    name: str


class OwnRoleSet(TypedDict):
    """groups: those whose people it is about."""

    name: str
    rights: list[str]
    groups: list[NamedGroup]


class Limit(TypedDict):
    """share_with: nobody, groups or everybody; null where the group says nothing."""

    id: str
    name: str
    share_with: str | None


class HeldPerson(TypedDict):
    """group_ids: those of their groups that the caller's right is about."""

    id: str
    name: str
    email: str
    role: str
    last_active_at: int
    group_ids: list[str]


class HeldPeople(TypedDict):
    items: list[HeldPerson]
    total: int
