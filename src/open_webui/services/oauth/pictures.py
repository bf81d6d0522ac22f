"""The picture that a provider shows of a person: fetched where one is wanted, and kept as a file."""

from collections.abc import Callable
from typing import Final

from open_webui.access.oauth.exchange import Brought
from open_webui.access.oauth.providers import Provider
from open_webui.access.oauth.rules import Verdict
from open_webui.internal.guarded_http import Unreachable, ask, fetch
from open_webui.internal.log import get_logger
from open_webui.internal.oauth import is_on
from open_webui.models.files import NewFile
from open_webui.services import intake
from open_webui.services.deps import Deps
from open_webui.utils.pictures import MAX_DATA_URL, from_data_url, sniff

log = get_logger(__name__)
LIMIT: Final = MAX_DATA_URL * 3 // 4
SECONDS: Final = 5.0


async def of(deps: Deps, provider: Provider, brought: Brought, verdict: Verdict, owner_id: str) -> NewFile | None:
    """The file of who is about to get an account, or whose picture follows the provider's; None where there is none to take."""
    wanted = verdict.action == "sign_up" or (
        verdict.action in {"sign_in", "merge"} and deps.config["oauth.update_picture_on_login"]
    )
    if not wanted:
        return None
    try:
        data = await _bytes(deps, provider, brought, verdict.picture)
    except Unreachable as error:
        log.info("a picture could not be had from a provider", provider=provider.id, why=str(error))
        return None
    if data is None or len(data) > LIMIT or sniff(data) is None:
        return None
    return await intake.put(deps, owner_id, data)


async def _bytes(deps: Deps, provider: Provider, brought: Brought, url: str) -> bytes | None:
    graph = deps.config["oauth.microsoft.picture_url"]
    if provider.id == "microsoft" and graph and brought.access_token:
        headers = {"authorization": f"Bearer {brought.access_token}"}
        answer = await ask("GET", graph, limit=LIMIT, timeout=SECONDS, headers=headers)
        return answer.body if answer.status == 200 else None
    if url.startswith("data:") and len(url) <= MAX_DATA_URL:
        found = from_data_url(url)
        return None if found is None else found[0]
    if not url:
        return None
    is_local = is_on(url, provider.local)
    visits: Callable[[str], bool] = (lambda one: is_on(one, provider.local)) if is_local else (lambda _: True)
    return (await fetch(url, limit=LIMIT, timeout=SECONDS, allow_local=is_local, visits=visits)).body
