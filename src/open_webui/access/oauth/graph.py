"""Groups that a token of Entra has no room for (it says so above 200): asked of Microsoft Graph with the person's own token.

The address is the configured one alone, whatever the token or a reply names. What can't be had in time leaves the groups as they
are, with the reason for who explains the sign-in. Source: the "groups overage claim" of Microsoft's identity platform.
"""

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from open_webui.access.oauth.exchange import Brought
from open_webui.access.oauth.providers import Provider
from open_webui.access.oauth.read_claims import MAX_TEXTS, overflows
from open_webui.config import Config
from open_webui.internal.guarded_http import Unreachable, ask
from open_webui.internal.oauth import as_object, is_on, origin

GRAPH: Final = "https://graph.microsoft.com"
_GROUPS: Final = "/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id,displayName&$top=100"
MOST_PAGES: Final = 10
# Bytes of a page.
_LIMIT: Final = 500_000


class _Failed(Exception):
    """Why the groups could not be read; the end of a sentence."""


def address(config: Config, provider: Provider) -> str:
    """Where Graph is for a provider, without a slash at its end; "" where it isn't asked."""
    given: str = config["oauth.graph.url"].strip().rstrip("/")
    if provider.id == "microsoft":
        return given or GRAPH
    return given if provider.id == "oidc" else ""


async def with_groups(config: Config, provider: Provider, brought: Brought) -> Brought:
    """What was brought, with the groups that its token left out, or with a note on why they are not there."""
    way = config["oauth.group_claim"]
    base = address(config, provider)
    if not base or not config["oauth.enable_group_mapping"] or not overflows(brought.claims, way):
        return brought
    field = "displayName" if config["oauth.graph.use_names"] else "id"
    try:
        if not brought.access_token:
            raise _Failed("there is no token to ask with")
        async with asyncio.timeout(provider.seconds):
            names = await _all(base, brought.access_token, field, provider.seconds)
    except TimeoutError:
        return msgspec.structs.replace(brought, note="Microsoft Graph was too slow")
    except (_Failed, Unreachable) as error:
        return msgspec.structs.replace(brought, note=f"Microsoft Graph: {error}"[:300])
    claims = {name: value for name, value in brought.claims.items() if name not in {"_claim_names", "hasgroups"}}
    return msgspec.structs.replace(
        brought, claims=claims | {way: names}, note=f"{len(names)} groups were read from Microsoft Graph"
    )


async def _all(base: str, token: str, field: str, seconds: float) -> list[str]:
    """The groups of a token's owner. Raises _Failed, Unreachable."""
    names: dict[str, None] = {}
    url = f"{base}{_GROUPS}"
    for _ in range(MOST_PAGES):
        found = await _page(url, base, token, seconds)
        items = found.get("value")
        if not isinstance(items, list):
            raise _Failed("its answer has no groups in it")
        for item in items:
            name = item.get(field) if isinstance(item, dict) else None
            if isinstance(name, str) and name:
                names[name] = None
        if len(names) > MAX_TEXTS:
            raise _Failed(f"there are more than {MAX_TEXTS} groups")
        link = found.get("@odata.nextLink")
        if link is None:
            return list(names)
        url = _next(link, base)
    raise _Failed(f"there are more than {MOST_PAGES} pages of groups")


def _next(link: Any, base: str) -> str:
    """Where the next page is. Raises _Failed for a place that isn't the configured one: the token goes along."""
    try:
        fits = isinstance(link, str) and origin(link) == origin(base) and urlsplit(link).path.startswith(_path(base))
    except ValueError:
        fits = False
    if not fits:
        raise _Failed("its next page is at another address")
    return str(link)


def _path(base: str) -> str:
    return f"{urlsplit(base).path}/v1.0/"


async def _page(url: str, base: str, token: str, seconds: float) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    local = is_on(url, urlsplit(base).hostname or "")
    answer = await ask("GET", url, limit=_LIMIT, timeout=seconds, headers=headers, allow_local=local)
    found = as_object(answer.body) if answer.status == 200 else None
    if found is None:
        error = (as_object(answer.body) or {}).get("error")
        code = error.get("code") if isinstance(error, dict) else None
        said = f" ({code[:100]})" if isinstance(code, str) and code.isprintable() else ""
        raise _Failed(f"it answered with status {answer.status}{said}")
    return found
