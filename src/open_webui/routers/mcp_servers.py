"""What people use of MCP servers beside their tools: prompts for a message, and resources to attach to one."""

from typing import Annotated, Any, Final

from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.mcp import CompletionForm, PromptForm, ResourceForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import uploads
from open_webui.utils.loading import load

router = new_router(prefix="/api/v1/mcp", tag="mcp servers")
# Not needed to start.
_OFFERS: Final = "open_webui.services.mcp_offers"


async def _offers() -> Any:
    return await load(_OFFERS)


@router.get("/prompts")
@allow(USER)
async def prompts(state: AppState, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.mcp.Prompts)]":
    """The prompts of the MCP servers that one may use."""
    found: dict[str, Any] = await (await _offers()).prompts(state, caller)
    return found


@router.post("/prompts/get")
@allow(USER)
async def prompt(
    form: PromptForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.mcp.FilledPrompt)]":
    """A prompt with its arguments, as the text of a message. Its pictures are kept as files."""
    offers = await _offers()
    filled: dict[str, Any] = await offers.prompt(state, caller, form.server, form.name, form.arguments)
    return filled


@router.post("/complete")
@allow(USER)
async def complete(
    form: CompletionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.mcp.Values)]":
    """What an argument of a prompt or of a resource's address may be, where the server says so."""
    offers = await _offers()
    at = offers.server(state, caller, form.server)
    asked = offers.values(at, form.kind, form.name, form.argument, form.value, form.context)
    values, has_more = await offers.in_time(asked)
    return {"values": values, "has_more": has_more}


@router.get("/resources")
@allow(USER)
async def resources(state: AppState, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.mcp.Resources)]":
    """The resources of the MCP servers that one may use, and templates of their addresses."""
    found: dict[str, Any] = await (await _offers()).resources(state, caller)
    return found


@router.post("/resources/attach")
@allow(USER)
async def attach(
    form: ResourceForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.files.File)]":
    """Makes a resource a file of one's own, whose text is taken out in the background; needs the permission chat.file_upload."""
    offers = await _offers()
    stored = await offers.attach(state, caller, form.server, form.uri, form.arguments)
    return uploads.wire(stored, path=True) | {"status": True}
