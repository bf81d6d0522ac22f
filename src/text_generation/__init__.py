"""Import names of the documented API; everything is in `consciousness`."""

from consciousness.base import TextGenerationBackend
from consciousness.emotions import EmotionalState

__all__ = ["EmotionalState", "TextGenerationBackend"]
