"""What is said of a call to a provider, and who hears of it: the usage log, traces, and the budget that is asked before."""

from typing import Any, Literal, Protocol

import msgspec

from open_webui.principal import Principal

Kind = Literal["chat", "api", "task", "embedding", "operation"]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call to a provider.

    kind: "chat" (a page's answer), "api" (a client's), "task" (the server's own question), "embedding", or "operation"
    (what costs no tokens). started: time.monotonic().
    """

    user_id: str
    model_id: str
    connection: str
    kind: Kind
    started: float
    chat_id: str | None = None
    message_id: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. status: HTTP's, 499 when it was stopped. usage: as the provider told it, if it did."""

    status: int
    usage: dict[str, Any] | None


class UsageLog(Protocol):
    """Keeps what calls cost."""

    def count(self, call: Call, status: int, usage: dict[str, Any] | None) -> None:
        """Notes one call that is over; it is stored soon. Operations are not told."""
        ...


class Trace(Protocol):
    """Hears of every call when it is over. What it raises is logged and fails no call."""

    def on_call(self, call: Call, outcome: Outcome) -> None: ...


class Estimate(msgspec.Struct, frozen=True):
    """What a call may cost, in tokens.

    prompt: a guess from the request's text, without its pictures. completion: the request's limit, None without one.
    """

    prompt: int
    completion: int | None


class Reservation(Protocol):
    """What a budget has set aside for one call. The gate calls one of these, once."""

    def settle(self, counts: dict[str, int | None] | None) -> None:
        """The call is over. counts: as its usage row has them; None: the provider was at work, and told none."""
        ...

    def release(self) -> None:
        """The call failed before an answer began, and costs nothing."""
        ...


class Budget(Protocol):
    """Says who may ask how much. Both ends of a reservation return at once, so that no cancellation comes between.

    What a process that is killed had set aside stays counted, until the time is over that the budget is for.
    """

    def concerns(self, principal: Principal) -> bool:
        """Whether somebody's calls count in one. Nothing is estimated for others."""
        ...

    async def reserve(self, principal: Principal, call: Call, estimate: Estimate) -> Reservation:
        """Sets aside what a call may cost. Raises TooManyRequests with a sentence, and `Retry-After` among its headers.

        Where it raises, or is cancelled, nothing is set aside.
        """
        ...
