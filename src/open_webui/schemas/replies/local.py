"""Models of this machine and moods of chats, as they go out."""

from typing import Literal, TypedDict

from open_webui.schemas.replies.shape import Object


class Memory(TypedDict):
    """Bytes. needed: an estimate."""

    needed: int | None
    used: int


class Slots(TypedDict):
    """Answers at once: how many there can be, how many there are, and how many wait."""

    all: int
    used: int
    waiting: int


class LocalModel(TypedDict):
    """progress: of a download or a load, from 0 to 1. size: in bytes. last_used: seconds since 1970."""

    name: str
    state: Literal["downloading", "incomplete", "unusable", "loading", "failed", "loaded", "unloaded"]
    progress: float | None
    error: str | None
    added: bool
    source: str | None
    file: str | None
    backend: str | None
    parameters: Object
    size: int | None
    architecture: str | None
    quantization: str | None
    context_length: int | None
    memory: Memory
    slots: Slots
    last_used: int | None
    restarts: int


class Budget(TypedDict):
    """Bytes of memory. budget: None for no bound."""

    budget: int | None
    used: int


class Backend(TypedDict):
    """An engine, and the extra that brings it."""

    name: str
    extra: str
    installed: bool


class LocalModels(TypedDict):
    enabled: bool
    models: list[LocalModel]
    memory: Budget
    backends: list[Backend]


class Persona(TypedDict):
    """A character: what it feels at rest, how soon it returns there (seconds), how much it is moved."""

    name: str
    baseline: dict[str, float]
    half_life: float
    gain: float


class Mood(TypedDict):
    """A chat's mood at a moment (seconds since 1970). enabled: the chat's own switch; active: whether answers have moods.

    state: how strong each emotion is, from 0 to 1. mood: the same in words.
    """

    chat_id: str
    enabled: bool | None
    active: bool
    persona: Persona
    state: dict[str, float]
    at: float
    valence: float
    arousal: float
    mood: str
