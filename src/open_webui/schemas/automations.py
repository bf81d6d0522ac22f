"""What clients send about automations."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import ModelId, Name
from open_webui.utils.recurring import MAX_RULE

MAX_PROMPT: int = 50_000
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT), BeforeValidator(clean)
]
RuleText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_RULE), BeforeValidator(clean)]
AnId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]
Path = Annotated[str, StringConstraints(max_length=4_000), BeforeValidator(clean)]


class Form(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class TerminalForm(Form):
    server_id: AnId
    cwd: Path | None = None


class TargetForm(Form):
    type: Literal["chat", "channel"] = "chat"
    channel_id: AnId | None = None


class DataForm(Form):
    """What is asked, of which model, when, on which terminal, and where the answer goes."""

    prompt: Prompt
    model_id: ModelId
    rrule: RuleText
    terminal: TerminalForm | None = None
    target: TargetForm | None = None


class AutomationForm(Form):
    name: Name
    folder_id: AnId | None = None
    data: DataForm
    meta: Annotated[dict[str, Any], AfterValidator(bounded(20_000))] | None = None
    is_active: bool | None = True
