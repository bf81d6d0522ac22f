"""What clients send about ratings and the arena."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID, MAX_NAME
from open_webui.schemas.documents import bounded, clean

# Models that one answer is compared with.
MAX_SIBLINGS: Final = 50
MAX_DATA: Final = 50_000
MAX_ARENAS: Final = 100
MAX_MEMBERS: Final = 1_000
MAX_ARENA_JSON: Final = 500_000
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f]+$")]
Sentence = Annotated[str | None, Field(max_length=10_000)]


class RatingData(BaseModel):
    """rating: 1 for a good answer, -1 for a bad one. sibling_model_ids: who else answered. Pages add fields of their own."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    rating: Annotated[str, Field(max_length=100)] | Annotated[int, Field(ge=-1_000, le=1_000)] | None = None
    model_id: Id | None = None
    sibling_model_ids: Annotated[list[Id], Field(max_length=MAX_SIBLINGS)] | None = None
    reason: Sentence = None
    comment: Sentence = None


def _data(value: RatingData | None) -> RatingData | None:
    if value is not None:
        bounded(MAX_DATA)(value.model_dump())
    return value


class FeedbackForm(BaseModel):
    """A rating. meta: what it is about (chat_id, message_id and the like). snapshot: the chat, under `chat`.

    A snapshot may be as large as the largest chats, so it is looked at beside the event loop (services/evaluations.py).
    """

    type: Annotated[str, Field(min_length=1, max_length=100), BeforeValidator(clean)]
    data: Annotated[RatingData | None, AfterValidator(_data)] = None
    meta: Annotated[dict[str, Any], AfterValidator(bounded(MAX_DATA))] | None = None
    snapshot: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """The columns, without those that were not given."""
        data = None if self.data is None else clean(self.data.model_dump())
        given = {"type": self.type, "data": data, "meta": self.meta}
        return {name: value for name, value in given.items() if value is not None}


class ArenaMeta(BaseModel):
    """model_ids: of the members; none are named where all take part. filter_mode: "exclude" has all but those take part."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    description: Sentence = None
    model_ids: Annotated[list[Id], Field(max_length=MAX_MEMBERS)] | None = None
    filter_mode: Annotated[str | None, Field(pattern=r"^(include|exclude)?$")] = None
    access_control: dict[str, Any] | None = None
    access_grants: Annotated[list[dict[str, Any]], Field(max_length=MAX_MEMBERS)] | None = None


class Arena(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: Id
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME)]
    meta: ArenaMeta | None = None


class EvaluationConfig(BaseModel):
    """What is left out stays as it is."""

    ENABLE_EVALUATION_ARENA_MODELS: bool | None = None
    EVALUATION_ARENA_MODELS: Annotated[list[Arena], Field(max_length=MAX_ARENAS)] | None = None
