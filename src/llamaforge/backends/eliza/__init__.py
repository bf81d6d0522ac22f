"""Eliza, the built-in listener: the backend that needs no download, no key and no engine."""

from llamaforge.backends.eliza.backend import ElizaBackend

__all__ = ["ElizaBackend"]
