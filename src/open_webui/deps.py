"""The vocabulary of routes: what a handler may ask for, as annotations."""

from typing import Annotated

from fastapi import Query

from open_webui.principal import Principal
from open_webui.routing import FromRequest
from open_webui.state import State

AppState = Annotated[State, FromRequest(lambda request: request.app.state.oui)]
# The caller, as the route's policy let it in.
Caller = Annotated[Principal, FromRequest(lambda request: request.state.principal)]
OptionalCaller = Annotated[Principal | None, FromRequest(lambda request: request.state.principal)]
# Pages count from 1; the bound keeps an offset inside 64 bits.
Page = Annotated[int, Query(ge=1, le=1_000_000)]
OptionalPage = Annotated[int | None, Query(ge=1, le=1_000_000)]
