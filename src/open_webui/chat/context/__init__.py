"""The stages between a stored question and a provider's request, in order. A step is one function in one file."""

from collections.abc import Callable

from open_webui.chat.context.affect import affect
from open_webui.chat.context.budget import budget
from open_webui.chat.context.history import history
from open_webui.chat.context.parameters import parameters
from open_webui.chat.context.prompt import prompt
from open_webui.chat.turn import Draft, Turn

Stage = Callable[[Turn, Draft], Draft]
STAGES: tuple[Stage, ...] = (history, prompt, budget, parameters, affect)


def prepare(turn: Turn) -> Draft:
    """The draft of a turn after all stages."""
    draft = Draft()
    for stage in STAGES:
        draft = stage(turn, draft)
    return draft
