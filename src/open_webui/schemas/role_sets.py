"""What the routes of role sets and of groups' limits take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.principal import Right, SharesWith
from open_webui.schemas.auths import Name, Text

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), Text]
Ids = Annotated[list[Id], Field(max_length=1_000)]


class RoleSetForm(BaseModel):
    """groups: whose people it is about. users, holding_groups: who holds it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Annotated[str, StringConstraints(max_length=1_000), Text] = ""
    rights: Annotated[list[Right], Field(min_length=1, max_length=20)]
    groups: Ids = []
    users: Ids = []
    holding_groups: Ids = []


class LimitForm(BaseModel):
    """share_with: null where the group is to say nothing."""

    model_config = ConfigDict(extra="forbid")

    share_with: SharesWith | None
