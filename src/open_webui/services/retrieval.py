"""The engines of retrieval as the settings name them: what makes vectors, where they lie, what ranks anew.

Nothing of it is there before it is asked for, so that a server without documents is as small as before.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from open_webui.config import Config
from open_webui.internal.log import get_logger
from open_webui.models.lexical import Frequencies
from open_webui.retrieval.embedding import NoEmbedder, open_embedder
from open_webui.retrieval.embedding.base import Embedder
from open_webui.retrieval.onnx.runner import Runner
from open_webui.retrieval.reranking import NoReranker, Reranker, open_reranker
from open_webui.retrieval.search import SearchDeps
from open_webui.retrieval.vector.base import VectorIndex
from open_webui.retrieval.vector.chosen import ChosenIndex
from open_webui.services.deps import Deps

log = get_logger(__name__)
# Where there is no engine, it is looked for again after so many seconds: a folder may have come meanwhile.
AGAIN: Final = 30.0
_RANKING: Final = ("rag.reranking", "rag.external_reranker")
_PARTS: Final = ("rag.embedding", "rag.openai", "rag.azure_openai", "rag.ollama", "rag.bypass")


class _Overlay:
    """The configuration with other values for some keys."""

    def __init__(self, config: Config, given: Mapping[str, Any]) -> None:
        self._config = config
        self._given = given

    def __getitem__(self, key: str) -> Any:
        return self._given[key] if key in self._given else self._config[key]


class Retrieval:
    """One for a process. Engines are opened when something is to be embedded or searched, and again when settings change."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.index: VectorIndex = ChosenIndex(deps.settings, deps.http)
        self.runner = Runner(deps.settings)
        self._frequencies = Frequencies()
        self._embedder: Embedder | None = None
        # The engine before, whose vectors may still be searched.
        self._earlier: Embedder | None = None
        self._problem: NoEmbedder | None = None
        self._looked_at = 0.0
        self._reranker: Reranker | None = None
        self._ranks = True
        deps.config.on_change(self._changed)

    async def close(self) -> None:
        for embedder in (self._embedder, self._earlier):
            if embedder is not None:
                await embedder.close()
        await self.runner.close()

    def _changed(self, keys: frozenset[str]) -> None:
        if any(key.startswith(_PARTS) for key in keys):
            self._earlier, self._embedder = self._embedder or self._earlier, None
            self._problem = None
        if any(key.startswith(_RANKING) for key in keys):
            self._reranker, self._ranks = None, True

    def look_again(self) -> None:
        """Where there was no engine, it is looked for anew: somebody may have put its model there."""
        self._problem = None

    @property
    def problem(self) -> str | None:
        """Why there is no engine, for an administrator; None where there is one."""
        return None if self.embedder() is not None else str(self._problem)

    def embedder(self) -> Embedder | None:
        """The engine that makes vectors now; None where there is none, so that texts are found by their words alone."""
        if self._embedder is not None:
            return self._embedder
        at = time.monotonic()
        if self._problem is not None and at - self._looked_at < AGAIN:
            return None
        self._looked_at = at
        deps = self._deps
        try:
            self._embedder = open_embedder(deps.config, deps.settings, deps.http, deps.local_models, self.runner)
        except NoEmbedder as error:
            if self._problem is None:
                log.info("documents are found by their words alone", reason=str(error))
            self._problem = error
        return self._embedder

    def _of(self, signature: str) -> Embedder | None:
        """The engine whose vectors are like those of a signature."""
        current = self.embedder()
        for embedder in (current, self._earlier):
            if embedder is not None and embedder.signature == signature:
                return embedder
        return None

    def reranker(self) -> Reranker | None:
        """What ranks anew; None where nothing is chosen."""
        if self._reranker is None and self._ranks:
            deps = self._deps
            try:
                self._reranker = open_reranker(deps.config, deps.settings, deps.http, self.runner)
            except NoReranker as error:
                # Looked at again when the settings change.
                self._ranks = False
                if deps.config["rag.reranking_model"]:
                    log.warning("what is found is not ranked anew", reason=str(error))
        return self._reranker

    def search_deps(self, given: Mapping[str, Any] | None = None) -> SearchDeps:
        """What a search works with. given: values that hold instead of those of the settings."""
        config: Any = _Overlay(self._deps.config, given) if given else self._deps.config
        return SearchDeps(self._deps.database, config, self.index, self._of, self.reranker, self._frequencies)
