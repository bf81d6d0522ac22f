"""What the server tells clients over their sockets, and the two protocols that carry it (socket/ implements them)."""

from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any, Final, Protocol

import msgspec

# What is said of an answer while it is written. A tab that looks at another chat does not hear it: that the answer has
# begun, that it ended, and what its chat is called, are other events.
PROGRESS: Final = frozenset({"response:completion", "status"})


class ChatEvent(msgspec.Struct, frozen=True):
    """One event about a chat. `data` is any JSON value, also an encoded one (msgspec.Raw)."""

    chat_id: str
    message_id: str | None
    type: str
    data: Any = None

    def wire(self) -> dict[str, Any]:
        """The envelope of contract/socket.md section 3."""
        body: dict[str, Any] = {"type": self.type}
        if self.data is not None:
            body["data"] = self.data
        envelope: dict[str, Any] = {"chat_id": self.chat_id, "data": body}
        if self.message_id is not None:
            envelope["message_id"] = self.message_id
        return envelope

    @property
    def is_progress(self) -> bool:
        """Whether it matters only to tabs that show the answer, or may."""
        if self.type == "chat:completion":
            return not (isinstance(self.data, dict) and self.data.get("done"))
        return self.type in PROGRESS


class Audience(msgspec.Struct, frozen=True):
    """Whom an answer concerns. people: ids of its chat's owner and of who asked. session_id: the socket that asked.

    asker: the id of who asked, which others who look at the chat are told.
    """

    people: frozenset[str]
    session_id: str = ""
    asker: str = ""


class Hearers(msgspec.Struct, frozen=True, array_like=True):
    """Who hears what happens in a channel: people, those of groups, everybody who has an account, administrators.

    It is read in the transaction of what happens, so that who was let in or out before it hears it, or does not.
    """

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    everyone: bool = False
    admins: bool = False


class ChannelEvent(msgspec.Struct, frozen=True):
    """One event of a channel, `events:channel` on the wire.

    number: its place among the events of the channel, which are told in this order; None for one that has no place.
    """

    channel_id: str
    number: int | None
    hearers: Hearers
    payload: dict[str, Any]


class Emitter(Protocol):
    """Sends events to people, whichever process has their sockets. Never raises for an absent or slow client: what is stored
    is the truth, events are news.
    """

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        """To every tab of one user."""
        ...

    async def watchers(self, event: ChatEvent, besides: Collection[str], asker: str = "") -> None:
        """To the people who look at the event's chat now (it is shared with them), but for those in `besides`.

        asker: the id of who caused it.
        """
        ...

    def answer(self, event: ChatEvent, audience: Audience) -> None:
        """An event of one answer: to its audience, and to others who look at its chat (it is shared with them).

        Progress is kept from a tab that looks only at other chats. It goes to the tab that asked, to those that look at
        this chat, and to those that look at none: a page that lost its connection does not say again what it shows.
        Sent in the order of the calls.
        """
        ...

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        """A named event to every tab of some users."""
        ...

    def channel(self, event: ChannelEvent) -> None:
        """To every tab of those who hear it, in the order of its channel, once."""
        ...

    async def disconnect_user(self, user_id: str) -> None:
        """Ends a user's sockets, after telling them that their access changed."""
        ...

    def is_connected(self, user_id: str) -> bool:
        """Whether the user has a socket open, in any process."""
        ...

    def note(self, note_id: str, name: str, payload: dict[str, Any], *, editors: bool = False) -> None:
        """A named event to everybody who has a note open; editors: only to those who have its document."""
        ...

    async def is_editing(self, user_id: str, note_id: str) -> bool:
        """Whether the user has a note's document open in a page, in any process."""
        ...


class Caller(Protocol):
    """Asks one browser session something and waits for its answer."""

    async def call(
        self, session_id: str, user_id: str, payload: dict[str, Any], timeout: float, *, channel: str | None = None
    ) -> Any:
        """Raises TimeoutError when no answer came, LookupError when the session is gone or somebody else's.

        channel: the name of an open stream that the session may send from now on. Raises TooManyRequests where it sends
        too many.
        """
        ...


class PageStream(Protocol):
    """What a browser session sends under a name that it was told."""

    @property
    def name(self) -> str: ...

    def texts(self, silence: float) -> AsyncIterator[bytes]:
        """What comes, to its end. Raises TimeoutError after so many seconds without a word, LookupError when the session is
        gone, TooLarge.
        """
        ...


class Streamer(Caller, Protocol):
    """Takes streams of browser sessions."""

    def open_stream(self, session_id: str, user_id: str) -> PageStream:
        """A stream that this session of this user may send, once it is called with its name. To be closed."""
        ...

    def close_stream(self, stream: PageStream) -> None:
        """Nobody reads it any more."""
        ...


class Messenger(Emitter, Streamer, Protocol):
    """Both: what the socket layer hands to the rest of the server."""
