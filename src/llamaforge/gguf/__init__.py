"""GGUF files: what a header tells, checked without an engine so that a broken or hostile file never reaches one."""

from llamaforge.gguf.checks import check_runnable
from llamaforge.gguf.header import Header, read_header
from llamaforge.gguf.memory import CACHE_TYPES, memory_needed

__all__ = ["CACHE_TYPES", "Header", "check_runnable", "memory_needed", "read_header"]
