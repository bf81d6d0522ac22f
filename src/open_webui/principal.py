"""Who is asking: a value, resolved once per request or socket event."""

from typing import Any, Final, Literal, get_args

import msgspec

Role = Literal["pending", "user", "admin"]
ROLES: tuple[Role, ...] = ("pending", "user", "admin")
# How the caller proved who it is. Some operations want a person at a page, not a key.
Via = Literal["session", "api_key"]
# With whom somebody may share what is theirs, the narrowest first. "groups": with the groups that they are in, and their people.
SharesWith = Literal["nobody", "groups", "everybody"]
SHARES_WITH: Final[tuple[SharesWith, ...]] = get_args(SharesWith)
# What a role set can give: of people only those in its groups.
Right = Literal[
    "people.list", "people.hold", "people.activate", "people.reset_factors", "people.groups", "models", "knowledge",
    "audit.read",
]  # fmt: skip
RIGHTS: Final[tuple[Right, ...]] = get_args(Right)
# Which right stands for what administrators may do with all things of a kind, and the permission that making one needs.
_OF_KIND: Final[dict[str, Right]] = {"model": "models", "knowledge": "knowledge"}
_NEEDED: Final[dict[str, str]] = {"models": "workspace.models", "knowledge": "workspace.knowledge"}


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an API key is kept to, besides what its account may do. None: no limit.

    scopes: tags of the routes that it may call. models: ids of the models that it may see and ask. networks: where it may
    come from, as texts: a principal is told to other processes. budgets: ids of those that its calls count in.
    """

    id: str
    scopes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None
    budgets: tuple[str, ...] = ()


class RoleSet(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what administrators may do, as somebody holds it. groups: ids of those whose people it is about."""

    name: str
    rights: frozenset[str]
    groups: frozenset[str]


def needed_by(role_sets: "tuple[RoleSet, ...]") -> frozenset[str]:
    """The permissions without which nothing would come of what role sets give."""
    rights = frozenset().union(*(one.rights for one in role_sets))
    return frozenset(path for right, path in _NEEDED.items() if right in rights)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in account as authorization sees it.

    groups: ids of the groups it belongs to. permissions: effective permission paths ("chat.delete"), all of them that
    are granted. expires_at: seconds since the epoch when the credential ends, None for one that doesn't. session: the id of
    the session's token, "" where there is none. key: of who came with an API key. shares_with: the limit of their groups.
    role_sets: those that they hold.
    """

    id: str
    role: Role
    name: str
    email: str
    via: Via = "session"
    groups: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    expires_at: int | None = None
    stamp: str = ""
    session: str = ""
    key: KeyLimits | None = None
    shares_with: SharesWith = "everybody"
    role_sets: tuple[RoleSet, ...] = ()

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def is_active(self) -> bool:
        """Signed in and let in: not pending."""
        return self.role != "pending"

    def may(self, permission: str) -> bool:
        """Whether a permission path such as "chat.delete" is granted; admins pass all."""
        return self.role == "admin" or permission in self.permissions

    def holds(self, right: str) -> bool:
        """Whether a role set gives a right. Administrators need none."""
        return self.is_active and any(right in one.rights for one in self.role_sets)

    def held_for(self, right: str) -> frozenset[str]:
        """The groups whose people a right is about."""
        return frozenset().union(*(one.groups for one in self.role_sets if right in one.rights))

    def manages(self, kind: str) -> bool:
        """Whether the principal may do with all things of a kind what administrators may."""
        return self.role == "admin" or (bool(self.role_sets) and kind in _OF_KIND and self.holds(_OF_KIND[kind]))

    def named_for(self, right: str | None, kind: str | None) -> str:
        """The role sets by which a principal comes through a door for this right or kind, as the audit record has them; ""
        for an administrator, and where there are none.
        """
        if not self.role_sets or self.role == "admin":
            return ""
        asked = {right, _OF_KIND.get(kind or "")} - {None}
        return ", ".join(sorted(one.name for one in self.role_sets if not asked.isdisjoint(one.rights)))

    def may_ask(self, model_id: str) -> bool:
        """Whether the caller's key lets a model be asked; whose model it is, is another question."""
        return self.key is None or self.key.models is None or model_id in self.key.models

    def public(self) -> dict[str, Any]:
        """What other people may see of it in presence lists and messages."""
        return {"id": self.id, "name": self.name}
