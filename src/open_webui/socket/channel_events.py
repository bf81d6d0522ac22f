"""What sockets say of channels: that somebody types, and that somebody has looked."""

import time
from collections.abc import Callable
from typing import Any, Final

from open_webui.access.policy import USER, declare
from open_webui.services.channels import members, telling
from open_webui.socket.incoming import Rate
from open_webui.socket.presence import SocketSession
from open_webui.state import State

# That somebody types in a channel is told at most so often.
TYPING_SECONDS: Final = 1.0
# Of one socket so much about typing is told at once, in all channels, and each second after that.
BURST: Final = 10
A_SECOND: Final = 2.0


def _text(value: Any, limit: int = 255) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= limit and "\x00" not in value else None


class ChannelEvents:
    """Handlers of the events about channels. state: gives the server's, once it is open."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        # Where a socket typed last, and when that was told.
        self._typed_at: dict[str, tuple[str, float]] = {}
        self._rates: dict[str, Rate] = {}

    def forget(self, sid: str) -> None:
        """A socket is gone."""
        self._typed_at.pop(sid, None)
        self._rates.pop(sid, None)

    @declare(USER.on("channel", "list"))
    async def on_join(self, session: SocketSession, _data: Any) -> None:
        """Nothing: a socket hears of a channel as soon as its person may read it, and no longer (socket/channel_news.py)."""

    @declare(USER.on("channel", "read"))
    async def on_channel(self, session: SocketSession, data: Any) -> None:
        """typing, last_read_at of one channel."""
        if not isinstance(data, dict) or not isinstance(data.get("data"), dict):
            return
        state = self._state()
        channel_id, kind = _text(data.get("channel_id")), data["data"].get("type")
        if channel_id is None or not telling.is_on(state, session.principal):
            return
        if kind == "typing":
            said = data["data"].get("data")
            typing = bool(said.get("typing")) if isinstance(said, dict) else False
            is_news = not typing or self._typing_is_news(session.sid, channel_id)
            if is_news and self._may_tell(session.sid):
                told = members.Typing(channel_id, _text(data.get("message_id")), typing)
                await members.tell_typing(state, session.principal, told)
        elif kind == "last_read_at":
            await members.mark_read(state, session.principal, channel_id)

    def _typing_is_news(self, sid: str, channel_id: str) -> bool:
        """Whether it is to be told again that somebody types. Pages say it with every key, and show it for five seconds."""
        at = time.monotonic()
        before = self._typed_at.get(sid)
        if before is not None and before[0] == channel_id and at - before[1] < TYPING_SECONDS:
            return False
        self._typed_at[sid] = (channel_id, at)
        return True

    def _may_tell(self, sid: str) -> bool:
        """Whether a socket has not told too much of typing: each time it is looked up who hears of it."""
        rate = self._rates.get(sid)
        if rate is None:
            rate = self._rates[sid] = Rate(BURST, A_SECOND)
        return rate.spend()
