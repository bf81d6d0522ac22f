"""How routes are declared: each with a policy that is enforced before its body is read, and a fast way to the wire."""

import asyncio
import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import compile_path, get_name
from starlette.types import Receive, Scope, Send

from open_webui import constants
from open_webui.access.api_keys import check_key
from open_webui.access.directory_token import check_token
from open_webui.access.policy import Policy, declare, policy_of
from open_webui.access.trusted_headers import said, trusted_headers
from open_webui.errors import BadRequest, Forbidden, OuiError, Unauthenticated
from open_webui.internal.acts import Act
from open_webui.internal.forwarded import is_own_origin
from open_webui.internal.lean_imports import without
from open_webui.principal import Principal
from open_webui.services import intake
from open_webui.services import trusted_headers as by_proxy
from open_webui.services.audit import requests
from open_webui.services.audit.doors import doors_of
from open_webui.services.event_names import BY_ROUTE, Row, happened
from open_webui.services.factors import step_up
from open_webui.state import State
from open_webui.utils.threads import let_others
from open_webui.utils.values import MAX_VALUES, too_many

TOKEN_COOKIE: Final = "token"
TOO_MANY_VALUES: Final = f"The request holds more than the {MAX_VALUES:,} values that this server reads at once."
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Bytes of a body that somebody without an account sends.
MAX_PUBLIC_BODY: Final = 64 * 1024
# The same of a directory, which has shown its token.
MAX_DIRECTORY_BODY: Final = 1024 * 1024
_SIMPLE_TYPES: Final = frozenset({"text/plain", "application/x-www-form-urlencoded"})
_encode = msgspec.json.encode
Handler = Callable[..., Awaitable[Any]]
Handling = Callable[[Request], Coroutine[Any, Any, Response]]
_REQUEST: Final = "request"


class FromRequest(msgspec.Struct, frozen=True):
    """Marks an annotation whose value is taken from the request without any work."""

    provide: Callable[[Request], Any]


class Json(Response):
    """A JSON reply of any value that msgspec encodes; pydantic models as their fields."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


def encode(content: Any) -> bytes:
    """The bytes of a JSON reply."""
    return _encode(content, enc_hook=_hook)


def _hook(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


class FastRequest(Request):
    """A request whose JSON body is decoded by msgspec; errors come out as the ones that FastAPI expects."""

    async def json(self) -> Any:
        body = await self.body()
        if await too_many(body):
            # An HTTPException, since the framework takes any other error here for a malformed body.
            raise HTTPException(413, TOO_MANY_VALUES)
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        except RecursionError:
            raise json.JSONDecodeError("nested too deeply", "", 0) from None
        await let_others(len(body))
        return value

    async def read_small(self, bound: int) -> None:
        """Reads the body now, if it is no longer than this. Raises an HTTPException else."""
        parts, size = [], 0
        async for part in self.stream():
            size += len(part)
            if size > bound:
                raise HTTPException(413, f"The request is larger than this server accepts here ({bound // 1024} KB).")
            parts.append(part)
        self._body = b"".join(parts)

    async def keep_files(self, state: State, principal: Principal, *, attaching: bool) -> None:
        """Puts addresses of stored files in the place of the body's data: URLs. attaching: to a chat."""
        body = await self.body()
        await let_others(len(body))
        self._body = await intake.keep(state, principal, body, attaching=attaching)
        await let_others(len(body))


def allow(policy: Policy) -> Callable[[Handler], Handler]:
    """Declares a route's policy, and lets its function return plain values for the wire.

    Put it between the router's decorator and the function.
    """

    def attach(function: Handler) -> Handler:
        given, signature = _given_here(function)

        @functools.wraps(function)
        async def endpoint(**kwargs: Any) -> Response:
            request: Request = kwargs.pop(_REQUEST)
            for name, provide in given.items():
                kwargs[name] = provide(request)
            result = await function(**kwargs)
            return result if isinstance(result, Response) else Json(result)

        endpoint.__signature__ = signature  # type: ignore[attr-defined]
        return declare(policy)(endpoint)

    return attach


def _given_here(function: Handler) -> tuple[dict[str, Callable[[Request], Any]], inspect.Signature]:
    """The parameters that come straight from the request (see deps.py), and the signature of the others.

    FastAPI would solve each of them anew for every call, at 20 us apiece. The signature has no return annotation: it
    would be taken for a response model, and the reply validated again. Annotations in quotes stay unread (openapi.py).
    """
    given: dict[str, Callable[[Request], Any]] = {}
    others: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        marks = getattr(parameter.annotation, "__metadata__", ())
        provide = next((mark.provide for mark in marks if isinstance(mark, FromRequest)), None)
        if parameter.annotation is Request or name == _REQUEST:
            given[name] = _itself
        elif provide is not None:
            given[name] = provide
        else:
            others.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    others.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    return given, inspect.Signature(others)


def _itself(request: Request) -> Request:
    return request


class PolicyRoute(APIRoute):
    """A route that refuses to exist without a policy and enforces it before anything else.

    What FastAPI needs to read its parameters and its body, 15 KB, is made when it is first asked for, by a request or the
    description of the API: most routes are never used in a process's life.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        if policy_of(endpoint) is None:
            raise TypeError(f"The route {path} declares no policy. Put @allow(...) under the router's decorator.")
        self._given = {name: value for name, value in kwargs.items() if value or value is False} | {
            "response_model": None
        }
        # What a request is matched by.
        self.path, self.endpoint, self.name = path, endpoint, kwargs.get("name") or get_name(endpoint)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = {method.upper() for method in kwargs.get("methods") or ["GET"]}
        self.include_in_schema = kwargs.get("include_in_schema", True)
        self._scope = str((kwargs.get("tags") or ("",))[0])
        # Of a route that takes nothing but the request: what answers, without what FastAPI needs to read parameters.
        self._direct: Handling | None = None
        if list(inspect.signature(endpoint).parameters) == [_REQUEST] and not kwargs.get("dependencies"):
            self._direct = self._guarded(functools.partial(_call, endpoint))

    def __getattr__(self, name: str) -> Any:
        """Whatever isn't there yet."""
        if "_given" not in vars(self):
            raise AttributeError(name)
        # FastAPI looks for models of pydantic's first version, which would bring all of that (1.5 MB).
        with without("pydantic.v1"):
            super().__init__(self.path, self.endpoint, **vars(self).pop("_given"))
        return getattr(self, name)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._direct is None or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await self._direct(Request(scope, receive, send))
        await response(scope, receive, send)

    def get_route_handler(self) -> Handling:
        return self._guarded(super().get_route_handler())

    def _guarded(self, inner: Handling) -> Handling:
        """What answers, behind the policy."""
        policy, scope = policy_of(self.endpoint), self._scope
        if policy is None:
            raise TypeError("unreachable: checked by __init__")
        doors = doors_of(policy, self.methods or (), self.path, scope)
        happens = next((row for m in self.methods or () if (row := BY_ROUTE.get((m, self.path))) is not None), None)

        async def answer(fast: FastRequest, act: Act | None) -> Response:
            fast.state.principal = await authorize(policy, fast, scope)
            if fast.state.principal is None and fast.method not in _SAFE_METHODS:
                await fast.read_small(MAX_DIRECTORY_BODY if policy.level == "scim" else MAX_PUBLIC_BODY)
            if policy.keeps_files and fast.state.principal is not None:
                await fast.keep_files(fast.app.state.oui, fast.state.principal, attaching=policy.resource == "chat")
            if act is not None:
                by = policy.by(fast.state.principal)
                requests.begin(fast, act, fast.app.state.oui.audit, doors[fast.method], by)
            response = await inner(fast)
            if happens is not None and response.status_code < 300:
                note(fast, happens, response)
            return response

        async def handler(request: Request) -> Response:
            fast = FastRequest(request.scope, request.receive)
            # None before the start and after the end, when there is nothing that could be done.
            state: State | None = getattr(fast.app.state, "oui", None)
            if state is None or not state.audit.is_on:
                return await answer(fast, None)
            return await requests.recorded(fast, state.audit, doors[fast.method], answer)

        return handler


async def _call(endpoint: Callable[..., Coroutine[Any, Any, Response]], request: Request) -> Response:
    return await endpoint(request=request)


def note(request: Request, happens: Row, response: Response) -> None:
    """Tells event functions and webhooks what a request has done, where there are any."""
    state: State = request.app.state.oui
    if state.hears_events:
        body = bytes(getattr(response, "body", b""))
        told = happened(happens, request.path_params, body)
        if told is not None:
            state.note(told, request.state.principal)


def new_router(prefix: str = "", tag: str = "") -> APIRouter:
    """A router whose routes need a policy each. tag: the scope that an API key needs for them."""
    return APIRouter(prefix=prefix, tags=[tag] if tag else None, route_class=PolicyRoute)


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object, for routes that pass unknown fields on. Raises BadRequest, RequestValidationError for none."""
    if not await request.body():
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise BadRequest(f"The request is not valid JSON: {error.msg}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The request should be a JSON object.")
    return body


async def unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response of some work, which is cancelled when the client goes away; its body must have been read before."""
    task = asyncio.current_task()
    assert task is not None, "a request is handled in a task"
    watcher = asyncio.create_task(_watch(request, task))
    try:
        # In this task: each turn of the loop before an answer is read is one in which it may be lost.
        return await work
    except asyncio.CancelledError:
        if not watcher.done():
            raise
        task.uncancel()
        # Nobody reads it.
        return Response(status_code=499)
    finally:
        watcher.cancel()


async def _watch(request: Request, task: "asyncio.Task[Any]") -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    task.cancel()


async def authorize(policy: Policy, request: Request, scope: str) -> Principal | None:
    """Identifies the caller and checks the policy, and whether an API key is for this. scope: what it needs. Raises
    Unauthenticated, Forbidden, or ScimError.
    """
    if policy.level == "public":
        return None
    state: State = request.app.state.oui
    if policy.level == "scim":
        check_token(state.settings, request.headers.get("authorization"))
        return None
    token, from_cookie = credential(request)
    principal = None
    if token is not None:
        if from_cookie and request.method not in _SAFE_METHODS:
            check_origin(request, state)
            check_type(request)
        principal = await _unless_another(request, state, token, await state.identify(token))
        if principal is None and policy.level != "optional":
            raise Unauthenticated(constants.UNAUTHORIZED)
        # Also where it is refused: the audit record says who was.
        request.state.principal = principal
        if principal is not None:
            _note_use(principal, token, request, scope)
    policy.check(principal)
    if policy.proven and principal is not None and token is not None:
        await step_up.check(state, principal, token)
    return principal


def _note_use(principal: Principal, token: str, request: Request, scope: str) -> None:
    """Refuses what an API key is not for, and notes the use of a credential. Raises Forbidden."""
    state: State = request.app.state.oui
    key = principal.key
    if key is not None:
        check_key(key, scope, address_of(request), request.url.path, state.config)
        if state.uses.is_due(key.id):
            state.uses.note_key(key.id)
    elif state.uses.is_due(principal.session) and (claims := state.tokens.verify(token)) is not None:
        state.uses.note_session(claims, address_of(request), request.headers.get("user-agent", ""))


def address_of(request: Request) -> str:
    """Where the client is; behind a listed proxy what that says (see internal/forwarded.py)."""
    return request.client.host if request.client is not None else ""


async def _unless_another(request: Request, state: State, token: str, principal: Principal | None) -> Principal | None:
    """The owner of a session, unless the proxy says that somebody else asks: then it ends."""
    trusted = trusted_headers(state.settings)
    if trusted is None or principal is None or principal.via != "session":
        return principal
    named = said(trusted, request.scope)
    if named is None or not named.email or await by_proxy.is_same(state, named, principal):
        return principal
    await by_proxy.end(state, token)
    return None


def credential(request: Request) -> tuple[str | None, bool]:
    """The caller's token and whether it came by cookie, which a browser adds to requests of other sites too."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip(), False
    key = request.headers.get("x-api-key")
    if key:
        return key, False
    cookie = request.cookies.get(TOKEN_COOKIE)
    return (cookie, True) if cookie else (None, False)


def check_type(request: Request) -> None:
    """Refuses a cookie-authenticated body of a type that a page of another site may send without asking. Raises OuiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    length = request.headers.get("content-length", "0")
    if (kind in _SIMPLE_TYPES or not kind) and (length != "0" or "transfer-encoding" in request.headers):
        raise OuiError("Send JSON with the header 'Content-Type: application/json'.", status=415)


def check_origin(request: Request, state: State) -> None:
    """Refuses a cookie-authenticated write that a page of another origin makes. Raises Forbidden."""
    origin = request.headers.get("origin")
    if origin is None:
        if request.headers.get("sec-fetch-site") in {None, "same-origin", "none"}:
            return
    elif origin in state.allowed_origins or is_own_origin(
        origin, request.url.scheme, request.headers.get("host"), request.headers.get("x-forwarded-host")
    ):
        return
    raise Forbidden("This request came from another site, so it was refused.", status=403)
