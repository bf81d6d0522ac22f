"""Requests and socket events as acts: who came by which way, and what became of it."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from open_webui.access.policy import Policy
from open_webui.internal import acts
from open_webui.internal.acts import Act
from open_webui.internal.forwarded import household
from open_webui.principal import Principal
from open_webui.services.audit.doors import Door, event_door
from open_webui.services.audit.record import Audit

R = TypeVar("R", bound=Request)
_REFUSALS: Final = frozenset({401, 403, 429})


async def recorded(request: R, record: Audit, door: Door, answer: Callable[[R, Act], Awaitable[Response]]) -> Response:
    """The answer to a request, of which the record gets an entry, if it is an act, before anybody hears of it.

    Most requests are none: who asks for what is looked at only where somebody wants to know.
    """
    act = Act(door.what, door.action, resource=door.resource, area=door.area, via=door.via)
    bound = acts.begin(act)
    try:
        response = await answer(request, act)
        if response.status_code >= 400:
            await _note_failure(request, act, record, door, response.status_code)
            return response
        if door.is_late:
            # Whoever signs in is known by now.
            act.settle()
            act.is_wanted = act.is_wanted or bool(act.actor_id)
        if act.is_due:
            await record.finish(act)
    except Exception as error:
        # Passed on: whoever answers it knows more of it.
        status = int(getattr(error, "status", 0) or getattr(error, "status_code", 500))
        await _note_failure(request, act, record, door, status)
        raise
    finally:
        acts.end(act, bound)
    return response


def begin(request: Request, act: Act, record: Audit, door: Door, by: str = "") -> None:
    """From here on what is stored is what the request does. by: the role sets that let somebody in, who is told of also where
    they only read.
    """
    act.is_wanted = (door.is_act and not door.is_late) or (
        record.level == "all" and request.state.principal is not None
    )
    if by and door.is_guarded:
        act.role_set, act.is_wanted = by, True
    act.settling = functools.partial(_settle, request, record)


def _settle(request: Request, record: Audit, act: Act) -> None:
    _name(request, act)
    principal: Principal | None = request.state.principal
    if principal is not None and principal.is_admin:
        act.needs_reason = record.needs_reason
        act.asked_reason = lambda: _reason(request)


def _reason(request: Request) -> str:
    given = request.headers.get(acts.REASON_HEADER) or request.query_params.get(acts.REASON_PARAMETER, "")
    return given.strip()


def _name(request: Request, act: Act) -> None:
    """Says who asks, from where, by which way, and for what."""
    act.address = request.client.host if request.client is not None else ""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None:
        act.actor_id, act.actor, act.via = principal.id, principal.email, principal.via
        act.key = principal.key.id if principal.key is not None else ""
    parameters = request.path_params
    if parameters and not act.resource_id:
        first, *_ = parameters
        act.resource_id = str(parameters[first])
        act.parameters = {name: value for name, value in parameters.items() if name != first}


async def _note_failure(request: Request, act: Act, record: Audit, door: Door, status: int) -> None:
    """Records a refusal, of somebody who is known or tries to sign in, and what failed after something was stored."""
    act.settling = None
    _name(request, act)
    if not (status in _REFUSALS or (door.is_sign_in and status < 500)):
        await record.fail(act, status)
    elif door.is_sign_in or (door.is_guarded and (act.actor_id or act.via)):
        await record.refuse(act, status, act.actor_id or household(act.address))


async def recorded_event(
    record: Audit, name: str, policy: Policy, principal: Principal, work: Awaitable[Any], *, data: Any, environ: Any
) -> Any:
    """What the work of a socket event gives; None where an administrator would have to give a reason, as no event can.

    data: what the client sent. environ: of its socket.
    """
    if not record.is_on:
        return await work
    door = event_door(policy, name)
    act = Act(door.what, door.action, resource=door.resource)
    act.actor_id, act.actor, act.via = principal.id, principal.email, principal.via
    act.address, act.resource_id = _address_of(environ), _about(data)
    act.needs_reason = record.needs_reason and principal.is_admin
    act.is_wanted = door.is_act and record.lately.is_new(principal.id, name, act.resource_id)
    with acts.doing(act):
        try:
            result = await work
        except acts.ReasonNeeded:
            return None
        if result is True:
            await record.finish(act)
    if act.is_written:
        record.lately.remember(principal.id, name, act.resource_id)
    return result


def _address_of(environ: Any) -> str:
    """The client's address: of a websocket all that is kept of its request, of polling the request is there."""
    known = environ or {}
    client = known.get("asgi.scope", {}).get("client")
    return str(known.get("address") or (client[0] if client else ""))


def _about(data: Any) -> str:
    """The id that an event names."""
    given = (
        (data.get(name) for name in ("chat_id", "note_id", "document_id", "channel_id"))
        if isinstance(data, dict)
        else ()
    )
    found = next((one for one in given if isinstance(one, str)), "")
    return found.removeprefix("note:").removeprefix("note_")[:255]
