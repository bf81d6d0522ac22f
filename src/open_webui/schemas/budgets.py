"""What the routes of budgets take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from open_webui.schemas.auths import Name
from open_webui.schemas.keys import BudgetId

Limit = Annotated[int, Field(ge=1, lt=2**53)] | None


class BudgetForm(BaseModel):
    """Limits by day and by month of UTC; null for none."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    requests_a_day: Limit = None
    tokens_a_day: Limit = None
    requests_a_month: Limit = None
    tokens_a_month: Limit = None


class InBudget(BaseModel):
    """budget_id: null for none."""

    model_config = ConfigDict(extra="forbid")

    budget_id: BudgetId | None
