"""Models in memory by ids of one's own: a thin manager over llamaforge."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from os import PathLike
from typing import Any

from consciousness.backends import engine_of
from llamaforge.forge import LlamaForge
from llamaforge.model import Model


class ModelManager:
    """Loads models and tells what they take. Loading blocks: from an event loop call it in a thread.

    The models are those of a forge with a configuration of its own, kept in memory only, unless one is given.
    """

    def __init__(self, forge: LlamaForge | None = None) -> None:
        self._forge = LlamaForge(":memory:") if forge is None else forge

    def load_model(
        self, model_id: str, model_path: str | PathLike[str], model_type: str = "llamacpp", **parameters: Any
    ) -> Model:
        """The model, in memory; loaded already with the same path and parameters, it is not loaded again.

        model_type: "llamacpp" or "transformers", or a name of llamaforge's. Raises ModelLoadError, ModelNotFoundError,
        BackendNotFoundError, ParameterError; a model that can't be loaded is not noted.
        """
        before = self._forge.config.get_model(model_id)
        self._forge.add_model(model_id, model_path, engine_of(model_type), parameters)
        with contextlib.ExitStack() as undo:
            undo.callback(self._restore, model_id, before)
            self._forge.load_model(model_id)
            undo.pop_all()
        return self._found(model_id)

    def unload_model(self, model_id: str) -> bool:
        """Let it go; whether it was in memory."""
        loaded = self._forge.is_model_loaded(model_id)
        self._forge.unload_model(model_id)
        return loaded

    def get_model(self, model_id: str) -> Model | None:
        """The model if it is in memory."""
        return self._found(model_id) if self._forge.is_model_loaded(model_id) else None

    def list_models(self) -> list[str]:
        """The ids of the models in memory, the least recently used first."""
        return self._forge.loaded_models()

    def get_model_metrics(self, model_id: str) -> dict[str, Any]:
        """Everything known of a model: path, parameters, whether it is loaded, bytes of memory. Raises ModelNotFoundError."""
        return self._forge.get_model_info(model_id)

    def get_total_memory_usage(self) -> int:
        """Bytes that the models in memory were estimated to take."""
        return sum(self._forge.get_model_info(name)["memory"] or 0 for name in self._forge.loaded_models())

    def unload_least_used_model(self) -> str | None:
        """Let the model go that was not used for longest; its id, or None if there is none."""
        names = self._forge.loaded_models()
        if names:
            self._forge.unload_model(names[0])
        return names[0] if names else None

    def update_model_parameters(self, model_id: str, parameters: Mapping[str, Any]) -> None:
        """Load a model again with these parameters over its own. Raises as `load_model` does; the loaded one stays then."""
        self._forge.get_model_info(model_id)
        self._forge.load_model(model_id, parameters)

    def close(self) -> None:
        """Let all models go."""
        self._forge.close()

    def _found(self, model_id: str) -> Model:
        model = self._forge.get_model(model_id)
        assert model is not None
        return model

    def _restore(self, model_id: str, before: Mapping[str, Any] | None) -> None:
        self._forge.remove_model(model_id)
        if before is not None:
            self._forge.config.config["models"][model_id] = dict(before)
