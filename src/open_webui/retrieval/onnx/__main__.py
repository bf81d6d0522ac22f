"""The child process of sentence models: it loads those that it is asked for, and keeps the last two."""

import os
from pathlib import Path
from typing import Final

import msgspec

from open_webui.internal.child.serve import serve
from open_webui.retrieval.onnx.calls import Call
from open_webui.retrieval.onnx.errors import UnusableModel
from open_webui.retrieval.onnx.network import Model

# One that makes vectors and one that ranks.
_KEPT: Final = 2


def main() -> None:
    """Serves until the parent closes the pipe."""
    if hasattr(os, "nice"):
        os.nice(5)  # the server and its models come first
    models: dict[str, Model] = {}

    def loaded(call: Call) -> Model:
        model = models.pop(call.folder, None)
        if model is None:
            while len(models) >= _KEPT:
                del models[next(iter(models))]
            model = Model(Path(call.folder), call.threads)
        models[call.folder] = model
        return model

    def answer(request: bytes) -> bytes:
        call = msgspec.msgpack.decode(request, type=Call)
        model = loaded(call)
        if call.ranks_for is None:
            return msgspec.msgpack.encode(model.embed(call.texts, query=call.query))
        return msgspec.msgpack.encode(model.score(call.ranks_for, call.texts))

    serve(answer, (UnusableModel,))


if __name__ == "__main__":
    main()
