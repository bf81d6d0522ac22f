"""Models of this machine in Ollama's words, so that its clients need no Ollama."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from open_webui.connections.base import Target
from open_webui.connections.gate import Gate
from open_webui.connections.local.connection import KEY, ollama_wire
from open_webui.connections.local.library import LLAMA_CPP
from open_webui.connections.local.models import LocalModels, Offer
from open_webui.errors import BadRequest, Forbidden, ProviderError, Unavailable
from open_webui.principal import Principal
from open_webui.services.deps import Deps

# What clients that ask for a version can count on: tools, thinking and structured output over a stream.
VERSION: Final = "0.9.0"
# No time at all, as a number or a text with or without units: no other digit, and a zero. Nothing in it is repeated twice over,
# which a long text could make use of.
_AT_ONCE: Final = re.compile(r"[-+]?(?=[^0]*0)[0.hms]+")
Wire = dict[str, Any]


def is_no_time(keep_alive: object) -> bool:
    """Whether a client asks to let go of a model at once."""
    return _AT_ONCE.fullmatch(str(keep_alive).strip()) is not None


async def show(models: LocalModels, name: str) -> Wire:
    """`/api/show`. Raises Unavailable when the model is gone."""
    offer = models.offers.get(name)
    if offer is None or offer.found is None:
        raise Unavailable(f"The model {name} is not there any more.")
    listed = ollama_wire(offer, offer.found)
    metadata: Wire = {}
    if offer.backend == LLAMA_CPP:
        metadata = await asyncio.to_thread(_metadata, offer.found.path)
    template = metadata.pop("tokenizer.chat_template", "")
    return {
        "license": str(metadata.get("general.license", "")),
        "modelfile": "",
        "parameters": "",
        "template": template,
        "details": listed["details"],
        "model_info": metadata,
        "capabilities": _capabilities(offer, template),
        "modified_at": listed["modified_at"],
    }


def _metadata(path: str) -> Wire:
    """The plain values of a file's header. Raises Unavailable."""
    # Loaded with the first such file, by the scan.
    from llamaforge import ModelLoadError, gguf  # noqa: PLC0415

    try:
        header = gguf.read_header(path)
    except ModelLoadError as error:
        raise Unavailable(f"The model can't be read any more: {error}") from error
    plain = {k: v for k, v in header.metadata.items() if isinstance(v, str | int | float | bool)}
    return plain | {"general.parameter_count": header.parameter_count}


def _capabilities(offer: Offer, template: str) -> list[str]:
    if offer.found is not None and offer.found.embeds:
        return ["embedding"]
    return ["completion", *(["tools"] if "tools" in template else [])]


def loaded(models: LocalModels) -> list[Wire]:
    """`/api/ps`: what is in memory now, and until when at least."""
    out = []
    for status in models.status().values():
        offer = models.offers.get(status.name)
        if status.state != "ready" or offer is None or offer.found is None:
            continue
        until = (status.last_used or time.time()) + models.settings.local_models_idle_seconds
        shown = ollama_wire(offer, offer.found)
        shown.pop("modified_at")
        expires = datetime.fromtimestamp(until, UTC).isoformat().replace("+00:00", "Z")
        out.append(shown | {"size": status.memory, "size_vram": 0, "expires_at": expires})
    return out


async def keep_loaded(deps: Deps, principal: Principal, body: Wire) -> Wire | None:
    """The answer to a request that says nothing, which loads a model, or with `keep_alive` 0 lets it go.

    None where something is said, or for other models. Raises Forbidden, Unavailable, ProviderError.
    """
    name = body.get("model")
    if body.get("prompt") or body.get("messages") or not isinstance(name, str):
        return None
    await deps.catalogue.wait_until_listed(name)
    found = deps.catalogue.snapshot.find(name)
    if found is None or found.entry.connection != KEY or not deps.catalogue.may_use(principal, found):
        return None
    goes = is_no_time(body.get("keep_alive"))
    if goes:
        if not principal.is_admin:
            raise Forbidden("Only administrators may unload models.", status=403)
        await deps.local_models.unload(found.entry.remote_id)
    else:
        await deps.gate.load(principal, deps.catalogue.resolve(principal, name))
    said: Wire = {"message": {"role": "assistant", "content": ""}} if "messages" in body else {"response": ""}
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    reason = "unload" if goes else "load"
    return {"model": name, "created_at": moment, **said, "done": True, "done_reason": reason}


async def embed(gate: Gate, principal: Principal, target: Target, body: Wire) -> Wire:
    """`/api/embed`. Raises BadRequest, ProviderError."""
    began = time.monotonic()
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'input' should be a text or a list of texts.")
    vectors, tokens = await _vectors(gate, principal, target, texts, body) if texts else ([], 0)
    took = int((time.monotonic() - began) * 1e9)
    counts = {"total_duration": took, "load_duration": 0, "prompt_eval_count": tokens}
    return {"model": target.model_id, "embeddings": vectors} | counts


async def embedding(gate: Gate, principal: Principal, target: Target, body: Wire) -> Wire:
    """`/api/embeddings`, the older form. Raises BadRequest, ProviderError."""
    text = body.get("prompt")
    if not isinstance(text, str):
        raise BadRequest("'prompt' should be a text.")
    vectors, _ = await _vectors(gate, principal, target, [text], body)
    return {"embedding": vectors[0]}


async def _vectors(
    gate: Gate, principal: Principal, target: Target, texts: list[str], body: Wire
) -> tuple[list[list[float]], int]:
    fields = {"dimensions": body["dimensions"]} if body.get("dimensions") is not None else {}
    answer = msgspec.json.decode(await gate.embed(principal, target, {"input": texts} | fields))
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        usage = answer.get("usage") or {}
        return [row["embedding"] for row in rows], int(usage.get("prompt_tokens", 0))
    except (KeyError, TypeError, ValueError):
        raise ProviderError("The model's answer holds no embeddings.") from None
