"""Counts and times in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from llamaforge.pool import ModelStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_REQUEST = "llamaforge_request_seconds"
_FIRST = "llamaforge_first_byte_seconds"
_HELP = {
    "llamaforge_requests_total": ("counter", "Requests answered."),
    _REQUEST: ("histogram", "Seconds from a request to the end of its answer."),
    _FIRST: ("histogram", "Seconds from a request to the first byte of its answer, waiting and loading included."),
    "llamaforge_model_ready": ("gauge", "Whether the model is loaded."),
    "llamaforge_model_memory_bytes": ("gauge", "Memory resident in the model's process."),
    "llamaforge_model_slots": ("gauge", "Requests that the model runs at a time."),
    "llamaforge_model_slots_in_use": ("gauge", "Requests that run or wait for the load."),
    "llamaforge_model_queued": ("gauge", "Requests that wait for a slot."),
    "llamaforge_model_restarts_total": ("counter", "Starts after a crash."),
}
_MAX_MODELS = 256
_OTHERS = "(others)"
Labels = tuple[tuple[str, str], ...]


class _Histogram:
    def __init__(self) -> None:
        self.buckets = [0] * len(_BOUNDS)
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        for index, bound in enumerate(_BOUNDS):
            self.buckets[index] += seconds <= bound

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        for bound, count in zip((*_BOUNDS, "+Inf"), (*self.buckets, self.count), strict=True):
            yield _line(f"{name}_bucket", (*labels, ("le", str(bound))), count)
        yield _line(f"{name}_sum", labels, self.total)
        yield _line(f"{name}_count", labels, self.count)


class Metrics:
    """What has happened since the start. Models are labelled by the names in the catalogue, never by a client's words.

    The first 256 models have labels of their own; the rest, which in a long time may be any number, are "(others)".
    """

    def __init__(self) -> None:
        self._models: set[str] = set()
        self._requests: Counter[Labels] = Counter()
        self._histograms: dict[str, dict[Labels, _Histogram]] = {_REQUEST: {}, _FIRST: {}}

    def add(self, path: str, model: str, status: int, seconds: float, first: float | None) -> None:
        """Count one answer. first: seconds to its first byte, None if there was none."""
        if model not in self._models and len(self._models) >= _MAX_MODELS:
            model = _OTHERS
        self._models.add(model)
        labels = (("path", path), ("model", model))
        self._requests[*labels, ("status", str(status))] += 1
        for name, value in ((_REQUEST, seconds), (_FIRST, first)):
            if value is not None:
                self._histograms[name].setdefault(labels, _Histogram()).add(value)

    def text(self, models: Iterable[ModelStatus]) -> str:
        """The whole page."""
        found: dict[str, list[str]] = {name: [] for name in _HELP}
        found["llamaforge_requests_total"] = [
            _line("llamaforge_requests_total", labels, count) for labels, count in self._requests.items()
        ]
        for name, histograms in self._histograms.items():
            found[name] = [line for labels, one in histograms.items() for line in one.lines(name, labels)]
        for status in models:
            for name, value in _gauges(status).items():
                found[name].append(_line(name, (("model", status.name),), value))
        return "".join(
            f"# HELP {name} {text}\n# TYPE {name} {kind}\n" + "".join(found[name])
            for name, (kind, text) in _HELP.items()
        )


def _gauges(status: ModelStatus) -> Mapping[str, int]:
    return {
        "llamaforge_model_ready": int(status.state == "ready"),
        "llamaforge_model_memory_bytes": status.memory,
        "llamaforge_model_slots": status.slots,
        "llamaforge_model_slots_in_use": status.in_use,
        "llamaforge_model_queued": status.queued,
        "llamaforge_model_restarts_total": status.restarts,
    }


def _line(name: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{pairs}}} {value:.9g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
