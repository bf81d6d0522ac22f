"""Configurations: YAML files, and the models that they describe."""

from importlib import import_module
from typing import Any

from synthora.configs.base import BaseConfig
from synthora.configs.model import ModelConfig

__all__ = ["BaseConfig", "ModelConfig", "create_model_from_config"]


def __getattr__(name: str) -> Any:
    """`create_model_from_config` stands with the backends that it makes; it can be had here, too."""
    if name == "create_model_from_config":
        return import_module("synthora.models").create_model_from_config
    raise AttributeError(f"module 'synthora.configs' has no attribute '{name}'")
