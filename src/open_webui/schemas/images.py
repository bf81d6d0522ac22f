"""What the routes about pictures take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=32_000)]
Text = Annotated[str, StringConstraints(max_length=32_000)]
Short = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=1, le=10)]
Steps = Annotated[int, Field(ge=1, le=1_000)]
# A picture as a data: URL of 48 MB, or an address.
Picture = Annotated[str, StringConstraints(min_length=1, max_length=68_000_000)]


class VerifyForm(BaseModel):
    """An engine that an administrator is about to set up. key: its key, or user:password of Automatic1111."""

    engine: Short
    url: Annotated[str, StringConstraints(max_length=8_000)]
    key: Annotated[str, StringConstraints(max_length=10_000)] | None = None


class CreateImageForm(BaseModel):
    """What is to be made. Fields besides are OpenAI's, and go to an engine of its kind."""

    model_config = ConfigDict(extra="allow")

    model: Short | None = None
    prompt: Prompt
    size: Short | None = None
    n: Count | None = 1
    steps: Steps | None = None
    negative_prompt: Text | None = None


class EditImageForm(BaseModel):
    """What is to be changed: pictures as addresses of files, data: URLs or addresses of the web."""

    image: Picture | Annotated[list[Picture], Field(min_length=1, max_length=16)]
    prompt: Prompt
    model: Short | None = None
    size: Short | None = None
    n: Count | None = 1
    negative_prompt: Text | None = None
    background: Short | None = None
