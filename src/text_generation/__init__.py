"""Import names of the documented API; everything is in `consciousness`."""

from consciousness.base import TextGenerationBackend
from consciousness.conversation import (
    ConsciousnessGenerationError,
    ConsciousnessLevel,
    ConsciousnessTextGenerator,
    ConsciousnessTextRequest,
    ConsciousnessTextResponse,
)
from consciousness.emotions import EmotionalState
from consciousness.engine import EmotionalEngine
from consciousness.memory import MemoryFragment, MemoryManager

__all__ = [
    "ConsciousnessGenerationError",
    "ConsciousnessLevel",
    "ConsciousnessTextGenerator",
    "ConsciousnessTextRequest",
    "ConsciousnessTextResponse",
    "EmotionalEngine",
    "EmotionalState",
    "MemoryFragment",
    "MemoryManager",
    "TextGenerationBackend",
]
