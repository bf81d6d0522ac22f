"""Import names of the documented API; everything is in `consciousness`."""

from consciousness.backends import create_consciousness_backend
from consciousness.local import LlamaCppConsciousnessBackend, TransformersConsciousnessBackend
from consciousness.oobabooga import OobaboogaBackend

__all__ = [
    "LlamaCppConsciousnessBackend",
    "OobaboogaBackend",
    "TransformersConsciousnessBackend",
    "create_consciousness_backend",
]
