"""What administrators send about knowledge in other services."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.knowledge import MAX_DESCRIPTION, Id
from open_webui.schemas.models import Grants, Name

Small = Annotated[dict[str, Any], AfterValidator(bounded(20_000))]
Question = Annotated[str, BeforeValidator(clean), StringConstraints(min_length=1, max_length=4_000)]
Count = Annotated[int, Field(ge=1, le=50)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), BeforeValidator(clean)]


class ConnectionForm(BaseModel):
    """auth_config: None leaves what is stored. endpoint: with "***" for a password that is to stay."""

    name: Name
    provider: Annotated[str, StringConstraints(max_length=50)]
    endpoint: Annotated[str, StringConstraints(min_length=1, max_length=2_000), BeforeValidator(clean)]
    auth_config: Small | None = None
    config: Small | None = None
    capabilities: Small | None = None
    enabled: bool = True


class SourceForm(BaseModel):
    """What of a service is searched: a collection, and where in what it answers the parts of a passage stand."""

    type: Annotated[str, StringConstraints(max_length=50)] = "collection"
    name: Name
    config: Small | None = None


class RetrieveTestForm(BaseModel):
    query: Question
    source: SourceForm | None = None
    count: Count = 5


class SourceTestForm(BaseModel):
    connection_id: Id | None = None
    connection: ConnectionForm
    source: SourceForm
    query: Question
    count: Count = 5


class _BaseForm(BaseModel):
    name: Name
    description: Description = ""

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description}


class ExternalCreateForm(_BaseForm):
    connection_id: Id
    source: SourceForm
    access_grants: Grants | None = None


class SourceUpdateForm(_BaseForm):
    connection: ConnectionForm
    source: SourceForm
    test_query: Question
    test_count: Count = 5


class SourceCreateForm(SourceUpdateForm):
    access_grants: Grants | None = None
