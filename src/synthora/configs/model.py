"""ModelConfig: one model, the backend that asks it, and the parameters of its requests."""

from __future__ import annotations

from typing import Any

from synthora.configs.base import BaseConfig
from synthora.types import ModelBackendType


class ModelConfig(BaseConfig):
    """config: parameters of every request. backend_config: arguments of the backend's constructor (api_key, ...)."""

    model_type: str
    name: str | None = None
    backend: ModelBackendType = ModelBackendType.OPENAI_CHAT
    config: dict[str, Any] | None = None
    backend_config: dict[str, Any] | None = None
