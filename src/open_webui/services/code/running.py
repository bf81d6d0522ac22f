"""Has code run by the engine that an admin chose: that of a model's answers, and that of a person's code blocks."""

from typing import Any, Final

from open_webui.config.code import EXECUTION, INTERPRETER, engine
from open_webui.errors import BadRequest, Forbidden
from open_webui.principal import Principal
from open_webui.services.code import results
from open_webui.services.code.deps import Deps
from open_webui.services.code.jupyter import Jupyter, Server
from open_webui.services.code.page import PageEngine
from open_webui.services.code.port import LONGEST_SECONDS, MAX_CODE, Engine, Ran, Run
from open_webui.services.code.sandbox import Sandbox
from open_webui.tools.port import Asked, Progress, ToolResult

PERMISSION: Final = "features.code_interpreter"
OFF: Final = "Code is not run on this server. An administrator can switch that on."
NOT_ALLOWED: Final = "You may not have code run on this server."
ON_THE_PAGE: Final = "Code blocks are run by the page here, not by the server: the engine is 'pyodide'."
NO_ADDRESS: Final = "The engine for code is a Jupyter server, and its address is missing. An administrator can set it."


class Code:
    """All code that is run for people."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._sandbox = Sandbox(deps)
        self._page = PageEngine(deps.caller)

    def check(self, principal: Principal, area: str) -> None:
        """Raises Forbidden where code is not run, or not for this person."""
        if not self._deps.config[f"{area}.enable"]:
            raise Forbidden(OFF, status=403)
        if not principal.may(PERMISSION):
            raise Forbidden(NOT_ALLOWED, status=403)

    async def interpret(self, asked: Asked, code: str) -> Ran:
        """Runs what a model wrote for an answer. Raises OuiError where it can't be run."""
        self.check(asked.principal, INTERPRETER)
        run = Run(
            principal=asked.principal,
            code=_checked(code),
            seconds=self._timeout(INTERPRETER),
            chat_id=asked.chat_id,
            message_id=asked.message_id,
            session_id=asked.session_id,
            files=asked.files,
        )
        return await self._engine(INTERPRETER).run(run)

    async def answer(self, asked: Asked, code: str, progress: Progress) -> ToolResult:
        """The same as the answer of a tool."""
        return await results.told(self._deps, asked, await self.interpret(asked, code), progress)

    async def execute(self, principal: Principal, code: str) -> dict[str, Any]:
        """Runs a block that a person chose. Raises OuiError."""
        self.check(principal, EXECUTION)
        if engine(self._deps.config["code_execution.engine"]) == "pyodide":
            raise BadRequest(ON_THE_PAGE)
        run = Run(principal=principal, code=_checked(code), seconds=self._timeout(EXECUTION))
        return results.wire(await self._engine(EXECUTION).run(run))

    def _timeout(self, area: str) -> float:
        given: int = self._deps.config[f"{area}.jupyter.timeout"]
        return float(min(max(given, 1), LONGEST_SECONDS))

    def _engine(self, area: str) -> Engine:
        config = self._deps.config
        match engine(config[f"{area}.engine"]):
            case "pyodide":
                return self._page
            case "jupyter":
                url, auth = config[f"{area}.jupyter.url"], config[f"{area}.jupyter.auth"]
                if not url:
                    raise BadRequest(NO_ADDRESS)
                token, password = (config[f"{area}.jupyter.auth_{kind}"] for kind in ("token", "password"))
                return Jupyter(Server(url=url, auth=auth, token=token, password=password))
            case "sandbox":
                return self._sandbox
            case other:
                raise BadRequest(f"There is no engine for code that is called {other[:50]!r}.")


def _checked(code: str) -> str:
    if not code.strip():
        raise BadRequest("There is no code to run.")
    if len(code) > MAX_CODE:
        raise BadRequest(f"The code is too long: at most {MAX_CODE:,} characters.")
    if "\0" in code:
        raise BadRequest("The code has a NUL character in it.")
    return code
