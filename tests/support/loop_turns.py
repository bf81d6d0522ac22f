"""What a server's /metrics says of its event loop's turns."""

_NAME = "oui_loop_turn_cpu_seconds"


def long_turns(metrics: str, bound: str) -> int:
    """How many turns took more CPU time than this bound of the histogram, in seconds, since the server's start."""
    counts = dict(line.split(" ") for line in metrics.splitlines() if not line.startswith("#"))
    return int(counts[f"{_NAME}_count"]) - int(counts[f'{_NAME}_bucket{{le="{bound}"}}'])
