"""Where a long recording is cut: at the quietest moment of the last part that a piece may have."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from open_webui.audio.worker.decoding import RATE, Samples

# Seconds over which loudness is looked at, and the share of a piece in whose end it is looked for a quiet moment.
_WINDOW: Final = 0.02
_QUIET: Final = 0.3
_SEARCHED: Final = 0.4


def pieces(portions: Iterable[Samples], seconds: int) -> Iterator[tuple[int, Samples]]:
    """The pieces of a recording in order, each with the number of its first sample. Together they are the whole of it.

    seconds: the most that one has.
    """
    most = seconds * RATE
    held: list[Samples] = []
    have = first = 0
    for portion in portions:
        held.append(portion)
        have += len(portion)
        while have > most:
            whole = np.concatenate(held)
            cut = quiet_moment(whole[:most])
            yield first, whole[:cut]
            held, have, first = [whole[cut:]], have - cut, first + cut
    if have:
        yield first, np.concatenate(held)


def quiet_moment(samples: Samples) -> int:
    """The sample in the middle of the quietest stretch of the end of a piece; one that is never its beginning."""
    begin = int(len(samples) * (1 - _SEARCHED))
    window = max(1, int(RATE * _WINDOW))
    count = (len(samples) - begin) // window
    if count < 2:
        return len(samples)
    searched = samples[begin : begin + count * window].reshape(count, window)
    loud = np.sqrt(np.mean(searched * searched, axis=1))
    stretch = min(count, max(1, round(_QUIET / _WINDOW)))
    sums = np.convolve(loud, np.ones(stretch), mode="valid")
    # Of several that are as quiet, the last.
    at = len(sums) - 1 - int(np.argmin(sums[::-1]))
    return begin + (at + stretch // 2) * window
