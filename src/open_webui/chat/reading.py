"""Finds what an answer is to rest on: resolves attachments, asks the library, and puts the passages before the model.

Whole documents stand behind the system prompt, where they are the same in the next turn, so that providers find them in their
caches; passages that were searched for stand with the question.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from open_webui.chat import attached, prompts, side, sources
from open_webui.chat.attached import Attached
from open_webui.chat.context.stage import Services, StageContext
from open_webui.chat.request import ApiRequest
from open_webui.chat.sources import Passage
from open_webui.chat.turn import Draft, Turn
from open_webui.config import Config
from open_webui.connections.base import Target
from open_webui.connections.params import behind_system
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError, ProviderError
from open_webui.internal.log import get_logger
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.search import Found
from open_webui.services.library import Held, Whole, metadata

log = get_logger(__name__)
# Characters of whole documents where nobody says how much the model can hold.
MOST: Final = 300_000
# Of a model's context, documents get so much at most; a token has about so many characters.
SHARE: Final = 0.6
CHARACTERS: Final = 3
# A file that is being read is waited for.
PATIENCE: Final = 120.0
_LOOK: Final = 0.25
# The question that a query is made for is given up after so many seconds.
QUERY_SECONDS: Final = 15.0
QUERY_TOKENS: Final = 300
MAX_QUERIES: Final = 4
GONE: Final = "'{}' can't be used: it is not there any more, or it isn't shared with you."
_LONGEST_QUERY: Final = 500
# Of a question, so many characters are searched for.
LONGEST_QUESTION: Final = 20_000


class Wanted:
    """What is asked for by one turn or API call."""

    def __init__(self, own: Sequence[dict[str, Any]], brought: Sequence[dict[str, Any]] = ()) -> None:
        """Raises BadRequest for an attachment of the question that is none."""
        self.items = attached.parse(own)
        for entry in brought:
            try:
                self.items += attached.parse([entry], own=False)
            except BadRequest as error:
                # The person can't help what a model or a folder has.
                log.info("an attachment of a model or a folder is left out", reason=error.detail)

    def scope(self, *, searched: bool = False) -> Scope:
        """All of them, or those that are searched, and not read whole."""
        return scope_of([item for item in self.items if not (searched and item.whole)])


def scope_of(items: Sequence[Attached]) -> Scope:
    """What attachments name."""

    def ids(*kinds: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(i for item in items if item.kind in kinds for i in item.ids))

    return Scope(files=ids("file"), knowledge=ids("knowledge"), collections=ids("collection", "text"))


async def with_sources(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """See `context.documents`."""
    services, principal = context.services, turn.principal
    wanted = Wanted(turn.request.files, turn.brought)
    if "web_search" in turn.request.features:
        wanted.items += attached.parse(await _searched_web(turn, context))
    if not wanted.items:
        return draft
    held = await ready(services, principal, wanted)
    whole = await read_whole(services, principal, wanted, held, room(turn.target, turn.params))
    queries = await _queries(turn, context) if is_searched(wanted, services) else []
    found = await search(services, principal, wanted, held, queries)
    if queries:
        await context.add_status({"action": "sources_retrieved", "count": len(sources.numbered(found)), "done": True})
    passages = [*whole, *found]
    if not passages:
        return draft
    await context.add_sources(sources.shown(passages))
    messages = told(draft.messages, whole, found, services.config["rag.template"], turn.question)
    return replace(draft, messages=messages)


def room(target: Target, params: dict[str, Any]) -> int:
    """Characters of whole documents that may go to a model."""
    for values in (params, target.params):
        size = values.get("num_ctx")
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return int(size * CHARACTERS * SHARE)
    return MOST


async def ready(services: Services, principal: Principal, wanted: Wanted) -> Held:
    """What there is of the attachments, once all files of the question have been read.

    Raises NotFound for one that there isn't for this person, BadRequest for a file that can't be read or isn't in time.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while True:
        held = await services.library().held(principal, wanted.scope())
        for item in wanted.items:
            if item.own:
                _check(item, held)
        if not any(held.is_pending(i) for item in wanted.items if item.kind == "file" and item.own for i in item.ids):
            return held
        if loop.time() > until:
            raise BadRequest("A file of this question is still being read. Ask again in a while.")
        await asyncio.sleep(_LOOK)


def _check(item: Attached, held: Held) -> None:
    if item.kind in ("file", "knowledge") and any(not held.has(item.kind, i) for i in item.ids):
        raise NotFound(GONE.format(item.name))
    if item.kind == "file":
        for file_id in item.ids:
            if (reason := held.failure(file_id)) is not None:
                raise BadRequest(f"'{item.name}' can't be used, since its text could not be read: {reason}")


def is_searched(wanted: Wanted, services: Services) -> bool:
    """Whether something is to be searched, and not read as a whole."""
    return not _reads_all(services) and any(not item.whole and item.kind != "chat" for item in wanted.items)


def _reads_all(services: Services) -> bool:
    return bool(services.config["rag.full_context"] or services.config["rag.bypass_embedding_and_retrieval"])


async def read_whole(services: Services, principal: Principal, wanted: Wanted, held: Held, most: int) -> list[Passage]:
    """The attachments whose whole text the model is to have, as far as there is room."""
    out: list[Passage] = []
    for item in wanted.items:
        if not (item.whole or item.kind == "chat" or _reads_all(services)):
            continue
        if item.text is not None:
            out.append(_own_text(item, item.text[:most]))
            most -= len(out[-1].text)
            continue
        for whole in await _texts(services, principal, item, most):
            source = held.name(whole.file_id, whole.name)
            meta = whole.meta | {"source": source, "name": whole.name}
            out.append(Passage(entry=item.entry, source=source, name=whole.name, text=whole.text, meta=meta, score=1.0))
            most -= len(whole.text)
    return out


async def _texts(services: Services, principal: Principal, item: Attached, most: int) -> list[Whole]:
    library = services.library()
    if item.kind != "chat":
        return await library.whole(principal, scope_of([item]), most) if most > 0 else []
    chats = [await library.transcript(principal, chat_id, max(most, 1)) for chat_id in item.ids]
    if item.own and None in chats:
        raise NotFound(GONE.format(item.name))
    return [chat for chat in chats if chat is not None and chat.text]


def _own_text(item: Attached, text: str) -> Passage:
    meta = {"source": item.name, "name": item.name}
    return Passage(entry=item.entry, source=item.name, name=item.name, text=text, meta=meta, score=1.0)


async def search(
    services: Services, principal: Principal, wanted: Wanted, held: Held, queries: Sequence[str]
) -> list[Passage]:
    """The passages that fit the queries best, each with the attachment that it is of."""
    if not queries:
        return []
    scope = wanted.scope(searched=True)
    found = await services.library().search(principal, queries, scope)
    bases = await services.library().bases_of({hit.file_id for hit in found if hit.file_id}, scope.knowledge)
    passages = []
    for hit in found:
        item = _of(hit, wanted, bases.get(hit.file_id or "", frozenset()))
        if item is not None:
            passages.append(_passage(hit, item, held, services.config))
    return passages


def _of(hit: Found, wanted: Wanted, bases: frozenset[str]) -> Attached | None:
    """The attachment that something was found in: the file itself before a knowledge base that has it."""
    best: Attached | None = None
    for item in wanted.items:
        if item.kind == "file" and hit.file_id in item.ids:
            return item
        if item.kind == "knowledge" and not bases.isdisjoint(item.ids):
            best = best or item
        # Of a knowledge base that is found in another service the passages are of no file.
        if item.kind in ("collection", "text", "knowledge") and hit.file_id is None and hit.collection in item.ids:
            best = best or item
    return best


def _passage(hit: Found, item: Attached, held: Held, config: Config) -> Passage:
    source = hit.url or held.name(hit.file_id, hit.name)
    return Passage(
        entry=item.entry,
        source=source,
        name=hit.name,
        text=hit.text,
        meta=metadata(hit, source, config),
        score=hit.score,
        page=hit.page,
        headings=hit.headings,
    )


def told(
    messages: Sequence[dict[str, Any]], whole: list[Passage], found: list[Passage], template: str, question: str
) -> tuple[dict[str, Any], ...]:
    """The messages with whole documents behind the system prompt, and passages with the question."""
    numbers = sources.numbered([*whole, *found])
    out = list(messages)
    if found:
        text = sources.prompt(template.strip() or sources.TEMPLATE, sources.context(found, numbers), question)
        at = next((n for n in range(len(out) - 1, -1, -1) if out[n].get("role") == "user"), None)
        if at is None:
            out.append({"role": "user", "content": text})
        else:
            out[at] = out[at] | {"content": _asked(out[at].get("content"), text)}
    if whole:
        text = sources.prompt(sources.WHOLE, sources.context(whole, numbers), "").rstrip()
        out = behind_system(text, out)
    return tuple(out)


def _asked(content: Any, text: str) -> Any:
    """A question's content with its text replaced; its pictures stay."""
    if not isinstance(content, list):
        return text
    return [
        *(p for p in content if not (isinstance(p, dict) and p.get("type") == "text")),
        {"type": "text", "text": text},
    ]


async def _queries(turn: Turn, context: StageContext) -> list[str]:
    """What is searched for: the question, and queries that a model makes of the conversation behind it."""
    queries = [turn.question.strip()[:LONGEST_QUESTION]] if turn.question.strip() else []
    services = context.services
    asked_before = sum(message.get("role") == "user" for message in turn.history) > 1
    # The first question stands for itself.
    if asked_before and services.config["task.query.retrieval.enable"]:
        made = await made_queries(services, turn.principal, turn.target, list(turn.history), turn.question)
        queries = list(dict.fromkeys([*made, *queries]))[:MAX_QUERIES]
    await context.add_status({"action": "queries_generated", "queries": queries, "done": False})
    return queries


async def _searched_web(turn: Turn, context: StageContext) -> list[dict[str, Any]]:
    """What a search of the web found, as attachments; nothing where it failed, which the person is told.

    Raises Forbidden where it is off, or not the person's right.
    """
    services, principal = context.services, turn.principal
    check_web(services, principal)
    queries = [turn.question.strip()[:_LONGEST_QUERY]]
    if services.config["task.query.search.enable"]:
        await context.add_status(
            {"action": "web_search", "description": "Thinking of what to search for", "done": False}
        )
        queries = await made_queries(services, principal, turn.target, list(turn.history), turn.question) or queries
    await context.add_status({"action": "web_search_queries_generated", "queries": queries, "done": False})
    try:
        found = await services.library().search_web(principal, [query for query in queries if query])
    except Forbidden:
        raise
    except OuiError as error:
        told = {"action": "web_search", "description": f"The web could not be searched: {error.detail}"}
        await context.add_status(told | {"done": True, "error": True})
        return []
    done = {"action": "web_search", "description": "Searched {{count}} sites"}
    await context.add_status(done | {"urls": found["filenames"], "items": found["items"], "done": True})
    return _of_the_web(found, queries)


def check_web(services: Services, principal: Principal) -> None:
    """Raises Forbidden where the web is not searched, or not for this person."""
    if not services.config["web.search.enable"]:
        raise Forbidden("The web is not searched on this server. An administrator can switch that on.", status=403)
    if not principal.may("features.web_search"):
        raise Forbidden("You may not search the web on this server.", status=403)


def _of_the_web(found: dict[str, Any], queries: Sequence[str]) -> list[dict[str, Any]]:
    """What a search found, as attachments."""
    if found["collection_names"]:
        entry = {"type": "web_search", "name": ", ".join(queries), "urls": found["filenames"]}
        return [entry | {"collection_names": found["collection_names"]}]
    return [
        {"type": "text", "name": doc["metadata"]["title"], "url": doc["metadata"]["source"], "content": doc["content"]}
        for doc in found.get("docs", ())
    ]


async def made_queries(
    services: Services, principal: Principal, target: Target, history: list[dict[str, Any]], question: str
) -> list[str]:
    """Queries that a model makes of a conversation; none where it can't."""
    config = services.config
    model = side.task_model(config, services.gate.models, target)
    template = config["task.query.prompt_template"].strip() or prompts.QUERIES
    text = prompts.fill(template, side.conversation(history), question, principal.name)
    fields: dict[str, Any] = {"max_tokens": QUERY_TOKENS}
    if model.entry.kind == "local":
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    try:
        async with asyncio.timeout(QUERY_SECONDS):
            answer = await side.ask(services.gate, principal, model, text, fields=fields)
    except (OuiError, TimeoutError) as error:
        log.info("no queries could be made of a conversation", reason=str(error) or type(error).__name__)
        return []
    return prompts.parse_texts(answer.content or "", "queries", most=MAX_QUERIES - 1, longest=_LONGEST_QUERY)


async def for_api(
    services: Services, principal: Principal, request: ApiRequest, target: Target
) -> tuple[ApiRequest, list[dict[str, Any]]]:
    """An API client's request with its attachments, those of the model and what the web has in its messages, and the sources.

    Raises BadRequest and NotFound for attachments that can't be used; where the web is to be searched, Forbidden where it may
    not be, and OuiError where it can't.
    """
    known = target.meta.get("knowledge")
    brought = [entry for entry in known if isinstance(entry, dict)] if isinstance(known, list) else []
    wanted = Wanted(request.files, brought)
    messages = request.payload.get("messages")
    asked = (
        [m for m in messages if isinstance(m, dict) and m.get("role") == "user"] if isinstance(messages, list) else []
    )
    question = prompts.plain_text(asked[-1].get("content")) if asked else ""
    if "web_search" in request.features:
        wanted.items += attached.parse(await _web_for_api(services, principal, target, asked, question.strip()))
    if not wanted.items or not isinstance(messages, list):
        return request, []
    held = await ready(services, principal, wanted)
    whole = await read_whole(services, principal, wanted, held, room(target, request.payload))
    queries = [question.strip()[:LONGEST_QUESTION]] if question.strip() and is_searched(wanted, services) else []
    if queries and len(asked) > 1 and services.config["task.query.retrieval.enable"]:
        queries = [*await made_queries(services, principal, target, asked, question), *queries][:MAX_QUERIES]
    found = await search(services, principal, wanted, held, queries)
    if not whole and not found:
        return request, []
    told_messages = told(messages, whole, found, services.config["rag.template"], question)
    payload = request.payload | {"messages": list(told_messages)}
    return replace(request, payload=payload), sources.shown([*whole, *found])


async def _web_for_api(
    services: Services, principal: Principal, target: Target, asked: list[dict[str, Any]], question: str
) -> list[dict[str, Any]]:
    """As `_searched_web`, for somebody who sees no status: a search that fails is the answer."""
    check_web(services, principal)
    if not question:
        raise BadRequest("The web can't be searched without a question: no message of the user has a text.")
    queries = [question[:_LONGEST_QUERY]]
    if services.config["task.query.search.enable"]:
        queries = await made_queries(services, principal, target, asked, question) or queries
    try:
        found = await services.library().search_web(principal, queries)
    except ProviderError as error:
        # Of a search engine's answers, none is the status of ours.
        raise ProviderError(f"The web could not be searched: {error.detail}") from None
    return _of_the_web(found, queries)
