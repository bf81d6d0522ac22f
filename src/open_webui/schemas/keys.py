"""What the routes of API keys and service accounts take."""

import ipaddress
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from open_webui.constants import MAX_ID
from open_webui.schemas.auths import Name, Text

# Of one key.
MAX_SCOPES: Final = 100
MAX_MODELS: Final = 200
MAX_ADDRESSES: Final = 50
LONGEST_OVERLAP: Final = 7 * 86_400
_END: Final = 2**53
Scope = Annotated[str, StringConstraints(min_length=1, max_length=100), Text]
ModelId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), Text]
BudgetId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), Text]
Address = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class NewKeyForm(BaseModel):
    """scopes, models, addresses: null for no limit. expires_at: seconds since the epoch, null for a key that doesn't end.
    budget_id: the budget that its calls count in.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=MAX_SCOPES)] | None = None
    models: Annotated[list[ModelId], Field(min_length=1, max_length=MAX_MODELS)] | None = None
    addresses: Annotated[list[Address], Field(min_length=1, max_length=MAX_ADDRESSES)] | None = None
    expires_at: Annotated[int, Field(ge=1, lt=_END)] | None = None
    budget_id: BudgetId | None = None

    @field_validator("addresses")
    @classmethod
    def _networks(cls, value: list[str] | None) -> list[str] | None:
        """Addresses and networks in their own form."""
        if value is None:
            return None
        try:
            if any("%" in one for one in value):
                raise ValueError("a zone says nothing of another machine")
            return list(dict.fromkeys(str(ipaddress.ip_network(one, strict=False)) for one in value))
        except ValueError:
            raise ValueError("should be addresses or networks, such as 192.0.2.7 or 10.0.0.0/8") from None


class RotateForm(BaseModel):
    """overlap: seconds for which the old secret is good, too."""

    model_config = ConfigDict(extra="forbid")

    overlap: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP)] = 0


class ServiceAccountForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
