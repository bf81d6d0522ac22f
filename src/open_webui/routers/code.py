"""Running code: which engine does it, and code blocks that a person has run."""

from typing import Annotated, Any

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller
from open_webui.routers.configs import save
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.configs import CodeExecution
from open_webui.schemas.plugins import CodeForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import code_settings

router = new_router(tag="configs")


@router.get("/api/v1/configs/code_execution")
@allow(ADMIN)
async def code_execution(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.settings.CodeConfig)]":
    """By which engines code is run, of code blocks and of models' answers."""
    return code_settings.wire(state.config)


@router.post("/api/v1/configs/code_execution")
@allow(ADMIN)
async def set_code_execution(
    form: CodeExecution, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.CodeConfig)]":
    """Stores how code is run. Refused is an engine that there is not, and a Jupyter server without an address."""
    await save(state, code_settings.changes(form))
    return code_settings.wire(state.config)


@router.post("/api/v1/utils/code/execute")
@allow(USER)
async def execute(
    form: CodeForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.settings.CodeRan)]":
    """Runs a piece of Python in a fresh process and answers with what came of it; pictures are data: URLs on lines of the
    result. Needs the permission `features.code_interpreter`; with the engine `pyodide` pages run code themselves.
    """
    return await state.code.execute(caller, form.code)
