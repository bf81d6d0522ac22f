"""Actions: buttons below answers, each a function of the server's that runs when somebody presses it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.connections import taking_part
from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest, NotFound
from open_webui.events import ChatEvent
from open_webui.models import functions
from open_webui.models.base import clean_json
from open_webui.models.functions import KIND, Function
from open_webui.plugins.source import Call
from open_webui.principal import Principal
from open_webui.schemas.chats import EventForm
from open_webui.services import chats, message_events, questions
from open_webui.services.facades import Answering, answering
from open_webui.services.plugin_calls import ASK_SECONDS, ASKED, Deps, event_of, source_of, user_of, valves_of

UNKNOWN: Final = "Action not found: {}"
# Chats that are not stored.
_TEMPORARY: Final = ("temporary:", "local:")
_HTML: Final = "text/html"


class Pressed(msgspec.Struct, frozen=True):
    """Where an action was pressed. body: what the page says of it, whole."""

    model_id: str
    chat_id: str | None
    message_id: str | None
    session_id: str | None
    body: dict[str, Any]

    @property
    def is_stored(self) -> bool:
        return bool(self.chat_id and self.message_id) and not (self.chat_id or "").startswith(_TEMPORARY)


def parse(body: Mapping[str, Any]) -> Pressed:
    """Raises BadRequest naming the field that can't be used."""
    model_id = _text(body, "model")
    if model_id is None:
        raise BadRequest("'model' should be a text.")
    messages = body.get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise BadRequest("'messages' should be a list of objects.")
    return Pressed(model_id, _text(body, "chat_id"), _text(body, "id"), _text(body, "session_id"), dict(body))


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > MAX_ID):
        raise BadRequest(f"'{name}' should be a text.")
    return value or None


async def run(deps: Deps, principal: Principal, action_id: str, body: Mapping[str, Any]) -> Any:
    """What an action returns. Raises NotFound, BadRequest, PluginFailed with its own sentence, Unavailable."""
    row = await _found(deps, principal, action_id)
    pressed = parse(body)
    profile = deps.catalogue.profile(principal, pressed.model_id)
    offered = {one["id"] for one in taking_part.shown([row], profile.meta)["actions"]}
    # One with several buttons may be pressed as a whole.
    if not offered or action_id not in offered | {row.id}:
        raise NotFound(UNKNOWN.format(action_id[:200]), status=400)
    own = await valves_of(deps, KIND, (row.id,), principal.id)
    context = {
        "user": user_of(principal),
        "user_valves": own.get(row.id, {}),
        "model": msgspec.to_builtins(profile.listed),
        "id": action_id.partition(".")[2] or row.id,
        "request": {"headers": {}, "base_url": "", "url": "", "method": "POST", "query": {}},
    }
    answers = _Answers(deps, principal, pressed)
    value = await deps.plugins.call(
        source_of(deps, KIND, row), "action", {"body": pressed.body}, context=context, answer=answers
    )
    return await answers.shown(value)


async def _found(deps: Deps, principal: Principal, action_id: str) -> Function:
    """The action of a button, which is switched on. Raises NotFound."""
    async with deps.database.read() as connection:
        row: Function | None = await functions.repository.get_for(connection, principal, action_id.partition(".")[0])
    if row is None or not row.is_active or row.type != "action":
        raise NotFound(UNKNOWN.format(action_id[:200]), status=400)
    return row


class _Answers:
    """What an action is answered: its events go to the message that it was pressed below."""

    def __init__(self, deps: Deps, principal: Principal, pressed: Pressed) -> None:
        self._deps = deps
        self._principal = principal
        self._pressed = pressed
        self._facade: Answering = answering(deps, principal)

    async def __call__(self, call: Call, name: str, arguments: dict[str, Any]) -> Any:
        if name == "event":
            return await self._emit(*event_of(arguments))
        if name == "event_call":
            return await self._ask(*event_of(arguments))
        return await self._facade(call, name, arguments)

    async def shown(self, value: Any) -> Any:
        """What the page is told of what an action returned: a page of HTML is shown in the message."""
        reply = value.get("$response") if isinstance(value, dict) else None
        if not isinstance(reply, dict):
            return value
        body = str(reply.get("body") or "")
        headers = reply.get("headers")
        if isinstance(headers, dict) and str(headers.get("content-type", "")).startswith(_HTML):
            await self._emit("embeds", {"embeds": [body]})
            return None
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return {"content": body}

    async def _emit(self, kind: str, data: dict[str, Any]) -> None:
        if kind not in message_events.KINDS:
            raise BadRequest(f"There are no events of the type '{kind[:100]}' for a message.")
        pressed, form = self._pressed, EventForm(type=kind, data=data)
        if pressed.is_stored:
            await chats.add_event(self._deps, self._principal, str(pressed.chat_id), str(pressed.message_id), form)
        elif pressed.chat_id is not None:
            data = _cleaned(data)
            message_events.check(kind, data)
            event = ChatEvent(pressed.chat_id, pressed.message_id, kind, data)
            await self._deps.emitter.chat(self._principal.id, event)

    async def _ask(self, kind: str, data: dict[str, Any]) -> Any:
        """Asks the page on which the action was pressed. Raises BadRequest where it doesn't answer."""
        if kind not in ASKED:
            raise BadRequest(f"A plugin can't ask a page for '{kind[:100]}'.")
        pressed = self._pressed
        return await questions.ask(
            self._deps.emitter,
            (pressed.session_id, self._principal.id),
            (pressed.chat_id, pressed.message_id),
            (kind, data),
            seconds=ASK_SECONDS,
            event=self._tell,
        )

    async def _tell(self, kind: str, data: dict[str, Any]) -> None:
        pressed = self._pressed
        if pressed.chat_id is not None:
            event = ChatEvent(pressed.chat_id, pressed.message_id, kind, data)
            await self._deps.emitter.chat(self._principal.id, event)


def _cleaned(data: dict[str, Any]) -> dict[str, Any]:
    try:
        cleaned: dict[str, Any] = clean_json(data)
    except ValueError as error:
        raise BadRequest(f"The event can't be taken: it {error}.") from None
    return cleaned
