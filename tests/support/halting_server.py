"""The server, which stands still in the middle of a document when a test says where: `python -m tests.support.halting_server`.

Environment: OUI_HALT is a file. While it says `STAGE N`, the N-th call of that stage stops for ever, and the file gets `halted`
at its end; so whoever kills the process then, knows where.
"""

import asyncio
import importlib
import inspect
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from open_webui.cli import main
from open_webui.jobs import runner

# Where each stage begins, or (stored, embedded) is done but for the commit.
STAGES = {
    "parse": "open_webui.services.reading:parse",
    "split": "open_webui.services.reading:split",
    "portion": "open_webui.models.documents:add",
    "index": "open_webui.models.documents:attach",
    "stored": "open_webui.models.uploads:change",
    "embed": "open_webui.retrieval.embedding.remote:RemoteEmbedder.embed",
    "vectors": "open_webui.retrieval.vector.chosen:ChosenIndex.put",
}
# The same of recordings and of speech. upload: a portion of a large file is stored; fetch: it is brought to where it is listened
# to; listen: a process is asked for a step of it (the first: it decodes, and loads the model); heard: a piece is kept; written:
# its document is.
SPEECH = {
    "upload": "open_webui.storage.disk:_add",
    "fetch": "open_webui.services.audio.documents:_write",
    "listen": "open_webui.audio.local:_step",
    "heard": "open_webui.services.listening:Listening.keep",
    "transcript": "open_webui.services.ingestion:Ingestion._keep",
    "written": "open_webui.models.documents:replace",
    "spoken": "open_webui.audio.espeak:_talk",
    "cached": "open_webui.services.audio.speaking:Remembered.keep",
}
# Seconds that the others wait for a process that was killed, unless OUI_LEASE says so.
LEASE = 2.0


class Halt:
    """Counts the calls of the stage that the file names."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._calls: Counter[str] = Counter()

    def is_at(self, stage: str) -> bool:
        said = self._file.read_text().split() if self._file.exists() else []
        if said[:1] != [stage] or "halted" in said:
            return False
        self._calls[stage] += 1
        if self._calls[stage] != int(said[1]):
            return False
        self._file.write_text(" ".join([*said, "halted"]))
        return True


def put_halts(halt: Halt) -> None:
    for stage, place in (*STAGES.items(), *SPEECH.items()):
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, name = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        setattr(owner, name, _halting(halt, stage, getattr(owner, name)))


def _halting(halt: Halt, stage: str, called: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(called):

        @wraps(called)
        async def waits(*given: Any, **named: Any) -> Any:
            if halt.is_at(stage):
                await asyncio.Event().wait()
            return await called(*given, **named)

        return waits

    @wraps(called)
    def sleeps(*given: Any, **named: Any) -> Any:
        if halt.is_at(stage):
            time.sleep(3_600)
        return called(*given, **named)

    return sleeps


if __name__ == "__main__":
    put_halts(Halt(Path(os.environ.pop("OUI_HALT"))))
    lease = float(os.environ.pop("OUI_LEASE", LEASE))
    runner.LEASE, runner.RENEW, runner.POLL = lease, lease / 4, 0.2  # type: ignore[misc]  # constants
    main()
