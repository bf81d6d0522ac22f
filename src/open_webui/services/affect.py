"""Moods of conversations: who has one (a model's and a chat's switch), what it is at a moment, and what the API takes.

What is set for a chat stands in its meta under `affect`, what is set for a model in the model's. What is felt goes with
the messages: each answer's meta holds the mood in which it was given, so that every branch has its own.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec

from consciousness.affect import AffectState, Persona, at_rest, decayed, persona_named
from consciousness.emotions import EMOTIONS, State, checked_state, core_affect
from llamaforge.exceptions import ParameterError
from open_webui.errors import BadRequest, NotFound
from open_webui.events import ChatEvent
from open_webui.models import chats, messages
from open_webui.models.chat_rows import ChatRow
from open_webui.principal import Principal
from open_webui.services.changes import change_chat
from open_webui.services.deps import Deps

KEY: Final = "affect"
# Weaker emotions are not mentioned.
FAINT: Final = 0.15
_DEGREES: Final = ((0.4, "a little "), (0.75, ""), (2.0, "very "))
_FELT: Final = {
    "joy": "joyful", "sadness": "sad", "anger": "angry", "fear": "afraid", "calm": "calm",
    "excitement": "excited", "contemplation": "thoughtful", "love": "affectionate",
}  # fmt: skip
_PERSONA_KEYS: Final = frozenset({"name", "baseline", "half_life", "gain"})
_SET_FOR_CHATS: Final = frozenset({"enabled", "persona", "state"})
_SET_FOR_MODELS: Final = frozenset({"enabled", "persona", "sampling"})


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What is set for a chat or a model; None where nothing is.

    state: given by a person, at a moment. sampling: whether a mood may change parameters (False: wording only, for models
    that refuse a temperature).
    """

    enabled: bool | None = None
    persona: Persona | None = None
    state: AffectState | None = None
    sampling: bool | None = None


NOTHING: Final = Chosen()


class Felt(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with moods is to be answered at this moment (seconds since 1970): with whose character, from where."""

    persona: Persona
    at: float
    state: AffectState | None = None
    sampling: bool = True


def moment() -> float:
    """Now, in seconds since 1970."""
    return time.time()


# What is set


def chosen(meta: Mapping[str, Any]) -> Chosen:
    """What a chat's or a model's meta says; nothing where it can't be understood, as after an import."""
    stored = meta.get(KEY)
    if stored is None:
        return NOTHING
    try:
        return _read(stored, _SET_FOR_CHATS | _SET_FOR_MODELS)
    except BadRequest:
        return NOTHING


def check_model(meta: Mapping[str, Any]) -> None:
    """Raises BadRequest for a model's `meta.affect` that can't be used."""
    if meta.get(KEY) is not None:
        _read(meta[KEY], _SET_FOR_MODELS)


def resolve(chat: Chosen, model_meta: Mapping[str, Any], at: float) -> Felt | None:
    """The mood that an answer of this model in this chat has; None where it is off. The chat's word counts."""
    model = chosen(model_meta)
    if not (model.enabled if chat.enabled is None else chat.enabled):
        return None
    persona = chat.persona or model.persona or persona_named("neutral")
    return Felt(persona=persona, at=at, state=chat.state, sampling=model.sampling is not False)


def carried(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Of a chat's meta, what its copies get."""
    return {KEY: meta[KEY]} if KEY in meta else {}


def _read(given: Any, known: frozenset[str]) -> Chosen:
    if not isinstance(given, Mapping):
        raise BadRequest("'affect' should be an object.")
    for name in given:
        if name not in known:
            raise BadRequest(f"'{str(name)[:50]}' can't be set. What can: {', '.join(sorted(known))}.")
    for name in ("enabled", "sampling"):
        if not isinstance(given.get(name), bool | None):
            raise BadRequest(f"'{name}' should be true, false or null.")
    state, persona = given.get("state"), given.get("persona")
    try:
        return Chosen(
            enabled=given.get("enabled"),
            persona=None if persona is None else _persona(persona),
            state=None if state is None else AffectState.from_dict(state),
            sampling=given.get("sampling"),
        )
    except ParameterError as error:
        raise BadRequest(str(error)) from None


def _persona(given: Any) -> Persona:
    """A known one by its name, or one with values of its own over it. Raises ParameterError, BadRequest."""
    if isinstance(given, str):
        return persona_named(given)
    if not isinstance(given, Mapping) or not given.keys() <= _PERSONA_KEYS:
        raise BadRequest(f"A persona should be a name, or an object of {', '.join(sorted(_PERSONA_KEYS))}.")
    name = given.get("name", "neutral")
    if not isinstance(name, str):
        raise BadRequest("The name of a persona should be a text.")
    return replace(persona_named(name), **{k: v for k, v in given.items() if k != "name"})


# What is felt


def newest(state: AffectState | None, history: Iterable[Mapping[str, Any]]) -> AffectState | None:
    """The mood of the last answer that has one, or the one that a person set if that was later. history: oldest first."""
    answers = (felt_in(message) for message in reversed(list(history)))
    last = next((found for found in answers if found is not None), None)
    if last is None or (state is not None and state.at >= last.at):
        return state
    return last


def felt_in(message: Mapping[str, Any]) -> AffectState | None:
    """The mood that is stored with an answer of the wire."""
    if message.get("role") != "assistant":
        return None
    meta = message.get("meta")
    stored = meta.get(KEY) if isinstance(meta, dict) else None
    if not isinstance(stored, dict):
        return None
    try:
        return AffectState(stored.get("emotions", {}), stored.get("at", 0.0))
    except ParameterError:
        return None


def rounded(state: State) -> dict[str, float]:
    """Intensities as they are stored and shown, those of 0 left out."""
    short = {name: round(intensity, 4) for name, intensity in state.items()}
    return {name: intensity for name, intensity in short.items() if intensity > 0}


def in_words(state: State) -> str:
    """The one or two strongest emotions, such as "calm, a little joyful"."""
    strongest = sorted((name for name in EMOTIONS if state.get(name, 0.0) >= FAINT), key=lambda n: -state[n])[:2]
    said = [next(word for bound, word in _DEGREES if state[name] < bound) + _FELT[name] for name in strongest]
    return ", ".join(said) or "neutral"


# The API


async def read(deps: Deps, principal: Principal, chat_id: str) -> dict[str, Any]:
    """A chat's mood as it is now, for who may read the chat. Raises NotFound."""
    running = await deps.overlays(chat_id)
    async with deps.database.read() as connection:
        admin_access = deps.settings.enable_admin_chat_access
        chat = await chats.get(connection, principal, chat_id, "read", admin_access=admin_access)
        if chat is None:
            raise NotFound
        branch = await _branch(deps, connection, chat, running)
    return _shown(deps, chat, branch)


async def change(deps: Deps, principal: Principal, chat_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Sets what is given for a chat that the caller may write to; null forgets what was set. All of it, or nothing.

    enabled: the chat's switch. persona: a name or an object. state: emotions to go on from, as of now. Raises NotFound,
    BadRequest.
    """
    if not given:
        raise BadRequest(f"Nothing is to be set. What can be: {', '.join(sorted(_SET_FOR_CHATS))}.")
    values = dict(given)
    if values.get("state") is not None:
        values["state"] = {"emotions": _state(values["state"]), "at": moment()}
    _read(values, _SET_FOR_CHATS)
    running = await deps.overlays(chat_id)
    async with change_chat(deps.database, principal, chat_id) as (unit, held):
        # What can't be understood counts for nothing; it goes with the first change.
        stored = held.meta[KEY] if chosen(held.meta) is not NOTHING else {}
        merged = stored | values
        kept = {name: value for name, value in merged.items() if value is not None}
        meta = {name: value for name, value in held.meta.items() if name != KEY} | ({KEY: kept} if kept else {})
        chat = await chats.change(unit.connection, held, meta=meta)
        shown = _shown(deps, chat, await _branch(deps, unit.connection, chat, running))
        people = {chat.user_id, principal.id}
        event = ChatEvent(chat.id, None, "chat:affect", shown)
        for user_id in people:
            unit.after_commit(partial(deps.emitter.chat, user_id, event))
        unit.after_commit(partial(deps.emitter.watchers, event, people))
    return shown


def _state(given: Any) -> dict[str, float]:
    try:
        return checked_state(given)
    except ParameterError as error:
        raise BadRequest(str(error)) from None


async def _branch(
    deps: Deps, connection: Any, chat: ChatRow, running: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The answers of the branch that is shown. running: what those that are being written hold by now."""
    if chat.current_message_id is None:
        return []
    limit = deps.settings.chat_history_max_chars
    rows, _ = await messages.branch(connection, chat.id, chat.current_message_id, limit)
    return [row.wire([]) | running.get(row.id, {}) for row in rows if row.role == "assistant"]


def _shown(deps: Deps, chat: ChatRow, branch: list[dict[str, Any]]) -> dict[str, Any]:
    own, now = chosen(chat.meta), moment()
    listed = chat.body.get("models")
    names = [answer.get("model") for answer in reversed(branch)] + (listed if isinstance(listed, list) else [])
    target = deps.catalogue.find(names[0]) if names and isinstance(names[0], str) else None
    model_meta = target.meta if target is not None else {}
    felt = resolve(own, model_meta, now)
    persona = own.persona or chosen(model_meta).persona or persona_named("neutral")
    last = newest(own.state, branch)
    state = at_rest(persona, now) if last is None else decayed(last, now, persona)
    valence, arousal = core_affect(state.emotions)
    return {
        "chat_id": chat.id,
        "enabled": own.enabled,
        "active": felt is not None,
        "persona": {
            "name": persona.name,
            "baseline": dict(persona.baseline),
            "half_life": persona.half_life,
            "gain": persona.gain,
        },
        "state": rounded(state.emotions),
        "at": now,
        "valence": round(valence, 4),
        "arousal": round(arousal, 4),
        "mood": in_words(state.emotions),
    }
