"""Transformers models on torch: folders on this machine, or repositories of the Hugging Face hub."""

from llamaforge.backends.huggingface.backend import HuggingFaceBackend

__all__ = ["HuggingFaceBackend"]
