"""Policies: what a route or socket event demands of its caller, declared where it is defined and enforced before it runs."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from open_webui import constants
from open_webui.errors import Forbidden, Unauthenticated
from open_webui.principal import Principal, Right

Level = Literal["public", "optional", "scim", "pending", "user", "admin"]
Action = Literal["read", "write", "delete", "share", "list", "search", "create", "use", "admin"]
F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__policy__"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A declared policy.

    level: public (nobody is looked up), optional (a principal or None), pending (any account), user, admin; scim is the
    directory, which has a token of its own and is nobody's account (directory_token.py).
    session_only: an API key is refused. permission: a permission path that is needed besides.
    resource, action: whose rights the operation checks inside, through the repository's base select (the two-user
    matrix of tests/security reads them). keeps_files: data: URLs in the body become files of the caller before the
    operation sees it; what it stores must note which files it uses (models/file_uses.py). proven: where ENABLE_STEP_UP asks
    for it, the caller has shown a short while ago that it is them (services/factors/step_up.py). right: who holds it by a role
    set is let in beside administrators; of people only those of its groups are theirs, which the operation's query sees to.
    """

    level: Level
    session_only: bool = False
    permission: str | None = None
    resource: str | None = None
    action: Action | None = None
    keeps_files: bool = False
    proven: bool = False
    right: Right | None = None

    def needs(self, permission: str) -> "Policy":
        """The same policy, with a permission path besides."""
        return msgspec.structs.replace(self, permission=permission)

    def on(self, resource: str, action: Action) -> "Policy":
        """The same policy for an operation on a resource."""
        return msgspec.structs.replace(self, resource=resource, action=action)

    def keeping_files(self) -> "Policy":
        """The same policy for an operation that stores documents with pictures in them."""
        return msgspec.structs.replace(self, keeps_files=True)

    def freshly_proven(self) -> "Policy":
        """The same policy for an act that a found session must not be enough for."""
        return msgspec.structs.replace(self, proven=True)

    def or_by(self, right: Right) -> "Policy":
        """The same policy of administrators, for who holds a right by a role set, too."""
        return msgspec.structs.replace(self, right=right)

    def by(self, principal: Principal | None) -> str:
        """The role sets by which somebody is let in, "" where they need none."""
        return "" if principal is None else principal.named_for(self.right, self.resource)

    def check(self, principal: Principal | None) -> None:
        """Raises Unauthenticated or Forbidden when the principal does not satisfy the policy."""
        if self.level in {"public", "optional"}:
            return
        if self.level == "scim":
            # Whoever is somebody is not the directory.
            raise Forbidden
        if principal is None:
            raise Unauthenticated(constants.NOT_AUTHENTICATED)
        if self.level == "user" and not principal.is_active:
            raise Forbidden
        if self.level == "admin" and not (
            principal.is_admin or (self.right is not None and principal.holds(self.right))
        ):
            raise Forbidden
        if self.session_only and principal.via != "session":
            raise Forbidden(constants.SESSION_REQUIRED, status=403)
        if self.permission is not None and not principal.may(self.permission):
            raise Forbidden

    def describe(self) -> str:
        parts: list[str] = [self.level if self.right is None else f"{self.level} or right {self.right}"]
        if self.session_only:
            parts.append("session only")
        if self.permission:
            parts.append(f"permission {self.permission}")
        if self.resource:
            parts.append(f"{self.action} {self.resource}")
        if self.keeps_files:
            parts.append("keeps files")
        if self.proven:
            parts.append("freshly proven")
        return ", ".join(parts)


PUBLIC = Policy(level="public")
OPTIONAL = Policy(level="optional")
SCIM = Policy(level="scim")
PENDING = Policy(level="pending")
USER = Policy(level="user")
ADMIN = Policy(level="admin")


def declare(policy: Policy) -> Callable[[F], F]:
    """Attaches a policy to a function (a socket event's handler; routes use `routing.allow`)."""

    def attach(function: F) -> F:
        setattr(function, _ATTRIBUTE, policy)
        return function

    return attach


def policy_of(function: Callable[..., Any]) -> Policy | None:
    """The policy declared for a route's or event's function."""
    return getattr(function, _ATTRIBUTE, None)
