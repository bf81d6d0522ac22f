"""A person's own provider, which only their browser asks: the page is told what to send, and passes on what comes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from llamaforge.events import Event
from open_webui.config import Config
from open_webui.connections.base import Kind, ModelEntry, Reply, Target, Tell
from open_webui.connections.chunks import NOT_UNDERSTOOD, ChunkReader, EventReader, StreamReader, error_of, to_chunks
from open_webui.connections.openai import completion, whole_events
from open_webui.connections.render import assemble
from open_webui.errors import BadRequest, Forbidden, ProviderError
from open_webui.events import ChatEvent, PageStream, Streamer
from open_webui.principal import Principal

# Seconds until the provider has begun, and between two pieces of its answer.
BEGIN_SECONDS: Final = 300.0
SILENCE: Final = 300.0
# Bytes of a model as a page describes it, and of one answer.
MOST_DESCRIBED: Final = 64 * 1024
MOST_PIECE: Final = 4 * 2**20
SWITCHED_OFF: Final = "Connections of one's own are switched off on this server."
TOO_LONG: Final = "The description of the model is too long."
GONE: Final = "The page that asked your own provider is gone, and the answer with it. Ask again from an open page."
LATE: Final = "The page did not pass on an answer of your own provider within {:g} seconds."
REFUSED: Final = (
    "Your own provider could not be asked by this page. Check its address and key, and whether it lets pages of this server"
    " ask it (CORS)."
)
NO_EMBEDDINGS: Final = "Models of one's own connections make no embeddings here."
# Work that one line may make, in bytes looked at; a piece counts for so many whatever is in it.
MOST_WORK: Final = 16 * MOST_PIECE
_A_PIECE: Final = 1024
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")


def target_of(config: Config, streamer: Streamer, principal: Principal, item: dict[str, Any], about: "About") -> Target:
    """The model that a page describes. Raises Forbidden where it may not, BadRequest."""
    if not config["direct.enable"]:
        raise Forbidden(SWITCHED_OFF, status=403)
    if len(msgspec.json.encode(item)) > MOST_DESCRIBED:
        raise BadRequest(TOO_LONG)
    model_id, name = str(item["id"]), item.get("name")
    entry = ModelEntry(
        id=model_id,
        name=name if isinstance(name, str) and name else model_id,
        remote_id=model_id,
        connection=f"direct:{principal.id}",
        kind="openai",
    )
    return Target(
        model_id=model_id, entry=entry, connection=DirectConnection(streamer, item, about), user_id=principal.id
    )


class About(msgspec.Struct, frozen=True):
    """Which page is asked, and for what: the socket, the chat and the message."""

    session_id: str
    chat_id: str | None
    message_id: str


class DirectConnection:
    """`base.Connection` of one answer."""

    kind: Kind = "openai"
    takes_stream_options = True

    def __init__(self, streamer: Streamer, item: dict[str, Any], about: About) -> None:
        self.key = "direct"
        self._streamer = streamer
        self._item = item
        self._about = about

    async def list_models(self) -> list[ModelEntry]:
        """See `base.Connection`: nobody but the page knows them."""
        return []

    def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Reply]:
        """See `base.Connection`."""
        assert user is not None, "the gate says who asks"
        return _Opening(self._streamer, self._about, user["id"], self._item, {**payload, "model": entry.remote_id})

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:  # noqa: ARG002
        """See `base.Connection`."""
        raise ProviderError(NO_EMBEDDINGS, status=400)


class _Opening:
    """A question to the page, asked when it is entered."""

    def __init__(
        self, streamer: Streamer, about: About, user_id: str, item: dict[str, Any], payload: dict[str, Any]
    ) -> None:
        self._streamer, self._about, self._user_id = streamer, about, user_id
        self._item, self._payload = item, payload
        self._stream: PageStream | None = None

    async def __aenter__(self) -> Reply:
        about, streams = self._about, self._payload.get("stream") is True
        self._stream = stream = self._streamer.open_stream(about.session_id, self._user_id)
        try:
            asked = {
                "session_id": about.session_id,
                "channel": stream.name,
                "form_data": self._payload,
                "model": self._item,
            }
            event = ChatEvent(about.chat_id or "", about.message_id, "request:chat:completion", asked).wire()
            answer = await self._streamer.call(
                about.session_id, self._user_id, event, BEGIN_SECONDS, channel=stream.name
            )
        except LookupError:
            self._close()
            raise ProviderError(GONE, status=503) from None
        except TimeoutError:
            self._close()
            raise ProviderError(LATE.format(BEGIN_SECONDS), status=504) from None
        except BaseException:
            self._close()
            raise
        if streams and isinstance(answer, dict) and answer.get("status") is True:
            return DirectReply(stream)
        try:
            return _WholeReply(_whole(answer))
        except BaseException:
            self._close()
            raise

    async def __aexit__(self, *_error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._streamer.close_stream(self._stream)
            self._stream = None


def _whole(answer: Any) -> bytes:
    """A whole answer, as the page passed it on. Raises ProviderError for what is none."""
    if not isinstance(answer, dict) or not answer:
        raise ProviderError(REFUSED, status=502)
    body = msgspec.json.encode(answer)
    if "choices" in answer:
        completion(body, "")
        return body
    if (error := error_of(body)) is not None:
        raise error
    detail = answer.get("detail") or answer.get("message")
    raise ProviderError(detail[:2_000] if isinstance(detail, str) else REFUSED, status=502)


class _WholeReply:
    """`base.Reply` of a whole answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """See `base.Reply`."""
        yield to_chunks(msgspec.json.decode(self._body))

    async def events(self) -> AsyncIterator[list[Event]]:
        """See `base.Reply`."""
        yield whole_events(msgspec.json.decode(self._body))

    async def whole(self) -> bytes:
        """See `base.Reply`."""
        return self._body


class DirectReply:
    """`base.Reply` of a stream that a page passes on."""

    def __init__(self, stream: PageStream) -> None:
        self._stream = stream

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`: what has come is in this process."""

    def batches(self) -> AsyncIterator[list[bytes]]:
        """See `base.Reply`."""
        return self._through(ChunkReader())

    def events(self) -> AsyncIterator[list[Event]]:
        """See `base.Reply`."""
        return self._through(EventReader())

    async def whole(self) -> bytes:
        """See `base.Reply`."""
        chunks = [chunk async for batch in self.batches() for chunk in batch]
        return assemble(chunks)

    async def _through(self, reader: StreamReader[Any]) -> AsyncIterator[list[Any]]:
        lines = Lines()
        try:
            async for text in self._stream.texts(SILENCE):
                for line in lines.feed(text):
                    batch = reader.feed(line)
                    if batch or reader.says_all:
                        yield batch
                if reader.error is not None or reader.done:
                    break
        except LookupError:
            raise ProviderError(GONE, status=503) from None
        except TimeoutError:
            raise ProviderError(LATE.format(SILENCE), status=504) from None
        for line in lines.end():
            if batch := reader.feed(line):
                yield batch
        if rest := reader.close():
            yield rest
        reader.check_end()
        if said := reader.told_at_end():
            yield said


class Lines:
    """The lines of an event stream, as a page passes them on: without blank lines, and some cut in two where a read ended."""

    def __init__(self) -> None:
        self._open = b""
        # Bytes that were looked at for the line that is open: one that comes in crumbs would be read over and over.
        self._work = 0

    def feed(self, text: bytes) -> list[bytes]:
        """What is whole by now, each with its blank line. Raises ProviderError."""
        if text[:1] in (b"{", b"[") and not self._open:
            # A chunk as an object.
            return [b"data: " + text + b"\n\n"]
        out = []
        if self._open and text.startswith(_FIELDS) and not self._open.startswith(text):
            # What was open was whole, though no JSON.
            out.append(self._open + b"\n\n")
            self._open, self._work = b"", 0
        self._open += text
        self._work += _A_PIECE
        if len(self._open) > MOST_PIECE or self._work > MOST_WORK:
            raise ProviderError(NOT_UNDERSTOOD)
        if self._is_whole():
            out.append(self._open + b"\n\n")
            self._open, self._work = b"", 0
        return out

    def end(self) -> list[bytes]:
        """What is left."""
        left, self._open = self._open, b""
        return [left + b"\n\n"] if left else []

    def _is_whole(self) -> bool:
        if self._open.startswith((b":", b"event:", b"id:", b"retry:")):
            return True
        if not self._open.startswith(b"data:"):
            return False
        if not self._open.rstrip().endswith((b"}", b"]")):
            return False
        self._work += len(self._open)
        value = self._open[5:].strip()
        if value == b"[DONE]":
            return True
        try:
            msgspec.json.decode(value, type=msgspec.Raw)
        except msgspec.DecodeError:
            return False
        return True
