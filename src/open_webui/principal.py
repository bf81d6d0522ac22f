"""Who is asking: a value, resolved once per request or socket event."""

from typing import Any, Literal

import msgspec

Role = Literal["pending", "user", "admin"]
ROLES: tuple[Role, ...] = ("pending", "user", "admin")
# How the caller proved who it is. Some operations want a person at a page, not a key.
Via = Literal["session", "api_key"]


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an API key is kept to, besides what its account may do. None: no limit.

    scopes: tags of the routes that it may call. models: ids of the models that it may see and ask. networks: where it may
    come from, as texts: a principal is told to other processes.
    """

    id: str
    scopes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in account as authorization sees it.

    groups: ids of the groups it belongs to. permissions: effective permission paths ("chat.delete"), all of them that
    are granted. expires_at: seconds since the epoch when the credential ends, None for one that doesn't. session: the id of
    the session's token, "" where there is none. key: of who came with an API key.
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

    def may_ask(self, model_id: str) -> bool:
        """Whether the caller's key lets a model be asked; whose model it is, is another question."""
        return self.key is None or self.key.models is None or model_id in self.key.models

    def public(self) -> dict[str, Any]:
        """What other people may see of it in presence lists and messages."""
        return {"id": self.id, "name": self.name}
