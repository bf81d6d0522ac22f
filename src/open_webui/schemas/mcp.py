"""What the routes about prompts and resources of MCP servers take."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from open_webui import constants


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that no name has")
    return text


ServerId = Annotated[str, Field(min_length=1, max_length=constants.MAX_ID)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Address = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_printable)]
Arguments = Annotated[dict[Name, Annotated[str, Field(max_length=10_000)]], Field(max_length=50)]


class PromptForm(BaseModel):
    """server: its id as the list has it. arguments: by their names."""

    model_config = ConfigDict(extra="forbid")

    server: ServerId
    name: Name
    arguments: Arguments = {}


class CompletionForm(BaseModel):
    """What was written of an argument. name: of the prompt, or the template's address. context: what the other arguments are."""

    model_config = ConfigDict(extra="forbid")

    server: ServerId
    kind: Literal["prompt", "template"] = "prompt"
    name: Address
    argument: Name
    value: Annotated[str, Field(max_length=1_000)] = ""
    context: Arguments = {}


class ResourceForm(BaseModel):
    """uri: an address, or a template with `arguments` for the names in its braces."""

    model_config = ConfigDict(extra="forbid")

    server: ServerId
    uri: Address
    arguments: Arguments = {}
