"""What the process is asked, with nothing heavy in it."""

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An order of pictures, or the next step of the one that runs.

    folder: the model's. variant: of its weights, "" for those without one. weights: their bytes. width, height, steps, guidance:
    None for what the model takes by itself. seed: of the first picture; each that follows has the next number. image: a picture
    that is to be changed. goes_on: the next step of the order that the last call began. stops: that order ends within a step.
    """

    folder: str = ""
    variant: str = ""
    weights: int = 0
    prompt: str = ""
    negative_prompt: str = ""
    count: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    image: bytes | None = None
    goes_on: bool = False
    stops: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order is, from 0 to 1. picture: one that is done, as PNG; seed: its own. is_over: there is no more."""

    done: float = 0.0
    picture: bytes | None = None
    seed: int = 0
    is_over: bool = False
