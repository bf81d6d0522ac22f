"""Where a connection's calls go: a path goes before the query of its address; on Azure, most go to a deployment."""

from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

AZURE_HOSTS: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# What Azure's portal shows as a target ends with the call.
_CALLS: Final = ("/chat/completions", "/completions", "/embeddings", "/responses")
_VERSION: Final = "api-version"
_DEFAULT_VERSION: Final = "2024-10-21"
_DEFAULT_INFERENCE_VERSION: Final = "2024-05-01-preview"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A configured address in parts.

    base: without a slash at its end. query: with its question mark, or empty. by_deployment: each model has an address of
    its own, as in Azure's dated versions. deployment: the one that the address itself names.
    """

    base: str
    query: str = ""
    by_deployment: bool = False
    deployment: str | None = None

    def of(self, path: str, model: str | None = None) -> str:
        """The address of a call. model: the one that it is about, if it is about one."""
        name = self.deployment or model
        if self.by_deployment and model is not None and name:
            return f"{self.base}/deployments/{quote(name, safe='')}{path}{self.query}"
        return f"{self.base}{path}{self.query}"


def is_azure(url: str) -> bool:
    """Whether an address says by its host that it is Azure's."""
    try:
        return (urlsplit(url).hostname or "").endswith(AZURE_HOSTS)
    except ValueError:
        return False


def address_of(url: str, *, azure: bool = False, version: str = "") -> Address:
    """An address as it was configured, in parts. azure, version: as in `specs.Spec`."""
    base, _, query = url.partition("#")[0].partition("?")
    base = base.rstrip("/")
    if azure:
        return _azure(base, parse_qsl(query, keep_blank_values=True), version)
    return Address(base=base, query=f"?{query}" if query else "")


def _azure(base: str, query: list[tuple[str, str]], version: str) -> Address:
    for call in _CALLS:
        base = base.removesuffix(call)
    version = version or dict(query).get(_VERSION, "")
    others = [pair for pair in query if pair[0] != _VERSION]
    root, _, deployment = base.partition("/deployments/")
    by_deployment = False
    if base.endswith("/v1"):
        # This form has no dates, and refuses them.
        version = "" if version[:1].isdigit() else version
    elif base.endswith("/models"):
        version = version or _DEFAULT_INFERENCE_VERSION
    else:
        by_deployment = True
        version = version or _DEFAULT_VERSION
        base = root if deployment or root.endswith("/openai") else f"{root}/openai"
    named = unquote(deployment.partition("/")[0]) or None
    pairs = others + ([(_VERSION, version)] if version else [])
    return Address(
        base=base, query=f"?{urlencode(pairs)}" if pairs else "", by_deployment=by_deployment, deployment=named
    )
