"""Errors as OpenAI's clients expect them."""

from llamaforge.formats.errors import Refusal

__all__ = ["Refusal"]
