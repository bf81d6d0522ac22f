"""Ranking anew what was found: by a cross-encoder of this machine, or by a service that speaks like Cohere, Jina or TEI."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from open_webui.config import Config
from open_webui.connections.services import call_service
from open_webui.env import Settings
from open_webui.errors import ProviderError
from open_webui.retrieval.onnx.folders import NoModel, folder_of
from open_webui.retrieval.onnx.runner import Runner

TIMEOUT: Final = 30.0
_MOST_TEXTS: Final = 1_000


class Reranker(Protocol):
    """Says of texts how well they answer a question."""

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score from 0 to 1 for each text, in order. Raises ProviderError, Unavailable."""


class NoReranker(Exception):
    """Why nothing ranks anew, as a sentence for an admin."""


class LocalReranker:
    """A cross-encoder of a folder."""

    def __init__(self, runner: Runner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """See `Reranker`: the sigmoid of what the model says."""
        return await self._runner.score(self._folder, query, texts)


class _Item(msgspec.Struct):
    """relevance_score: Cohere's and Jina's name of it. score: TEI's."""

    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Answer(msgspec.Struct):
    results: list[_Item]


class ExternalReranker:
    """A service at an address. It is asked as Cohere and Jina are, and as TEI is where it wants that."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, key: str, model: str, *, batch: int, timeout: float
    ) -> None:
        """batch: texts of a request. timeout: seconds for one."""
        self._http = http
        self._url = url
        self._key = key
        self._model = model
        self._batch = batch
        self._timeout = timeout
        self._wants_texts = False

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """See `Reranker`. Scores that are not from 0 to 1 are taken for logits."""
        found: list[float] = []
        for at in range(0, len(texts), self._batch):
            found += await self._scores(query, list(texts[at : at + self._batch]))
        if any(not 0 <= score <= 1 for score in found):
            found = [1 / (1 + math.exp(-max(-500.0, min(500.0, score)))) for score in found]
        return found

    async def _scores(self, query: str, texts: list[str]) -> list[float]:
        try:
            answer = await self._ask(query, texts)
        except ProviderError as error:
            # TEI names the field that it misses.
            if self._wants_texts or error.status not in {400, 422} or "texts" not in error.detail:
                raise
            self._wants_texts = True
            answer = await self._ask(query, texts)
        return self._read(answer, len(texts))

    async def _ask(self, query: str, texts: list[str]) -> bytes:
        asked: dict[str, Any] = {"query": query, "texts": texts}
        if not self._wants_texts:
            asked = {"model": self._model, "query": query, "documents": texts, "top_n": len(texts)}
        return await call_service(
            self._http,
            "POST",
            self._url,
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            payload=asked,
            timeout=self._timeout,
            secrets=(self._key,),
        )

    def _read(self, answer: bytes, count: int) -> list[float]:
        try:
            read = msgspec.json.decode(answer, type=_Answer | list[_Item])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderError("The reranker answered with something that is no ranking.") from error
        items = read.results if isinstance(read, _Answer) else read
        scores = {i.index: i.score if i.relevance_score is None else i.relevance_score for i in items}
        found = [score for index in range(count) if (score := scores.get(index)) is not None and math.isfinite(score)]
        if len(found) != count or len(items) != count:
            raise ProviderError(
                f"The reranker gave {len(items)} scores for {count} texts, or some that are no numbers."
            )
        return found


def open_reranker(config: Config, settings: Settings, http: aiohttp.ClientSession, runner: Runner) -> Reranker:
    """What the settings name. Raises NoReranker where that is nothing."""
    engine, model = config["rag.reranking_engine"], config["rag.reranking_model"]
    if engine == "external":
        url = config["rag.external_reranker_url"]
        if not url:
            raise NoReranker("The address of the external reranker is not set (rag.external_reranker_url).")
        return ExternalReranker(
            http,
            url,
            config["rag.external_reranker_api_key"],
            model,
            batch=min(max(config["rag.reranking_batch_size"], 1), _MOST_TEXTS),
            timeout=_seconds(config["rag.external_reranker_timeout"]),
        )
    if engine:
        raise NoReranker(f"There is no reranker called {engine!r}.")
    if not model:
        raise NoReranker("No reranker is chosen.")
    try:
        is_operators = config.locked_by("rag.reranking_model") is not None
        return LocalReranker(runner, folder_of(model, settings, is_operators=is_operators))
    except NoModel as error:
        raise NoReranker(str(error)) from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return TIMEOUT
    return seconds if 0 < seconds < math.inf else TIMEOUT
