"""Models in GGUF files on llama.cpp, in this process. The engine is imported when a model is loaded."""

from llamaforge.backends.llama_cpp.backend import LlamaCppBackend

__all__ = ["LlamaCppBackend"]
