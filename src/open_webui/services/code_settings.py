"""The page about running code: its object of the wire, put together from settings and taken apart again."""

from collections.abc import Mapping
from typing import Any, Final

from open_webui.config import Config
from open_webui.config.code import EXECUTION, INTERPRETER
from open_webui.errors import BadRequest
from open_webui.internal.guarded_http import Unreachable, checked_url
from open_webui.models.base import clean_json
from open_webui.schemas.configs import CodeExecution
from open_webui.services.code.port import LONGEST_SECONDS

# Each area's fields and the settings behind them.
_FIELDS: Final[Mapping[str, str]] = {
    "ENGINE": "engine",
    "JUPYTER_URL": "jupyter.url",
    "JUPYTER_AUTH": "jupyter.auth",
    "JUPYTER_AUTH_TOKEN": "jupyter.auth_token",
    "JUPYTER_AUTH_PASSWORD": "jupyter.auth_password",
    "JUPYTER_TIMEOUT": "jupyter.timeout",
}
_PROMPT: Final = "CODE_INTERPRETER_PROMPT_TEMPLATE"
SETTINGS: Final[Mapping[str, str]] = {
    **{f"ENABLE_{area.upper()}": f"{area}.enable" for area in (EXECUTION, INTERPRETER)},
    **{f"{area.upper()}_{name}": f"{area}.{key}" for area in (EXECUTION, INTERPRETER) for name, key in _FIELDS.items()},
    _PROMPT: "code_interpreter.prompt_template",
}
ENGINES: Final = ("sandbox", "jupyter", "pyodide")
WAYS_IN: Final = ("", "none", "token", "password")


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force."""
    return {name: config[key] for name, key in SETTINGS.items()}


def changes(form: CodeExecution) -> dict[str, Any]:
    """The settings that a posted object changes; null is what it is at first. Raises BadRequest naming a bad value."""
    posted: dict[str, Any] = form.model_dump()
    posted[_PROMPT] = posted[_PROMPT] or ""
    for area in (EXECUTION, INTERPRETER):
        _check(posted, area.upper())
    try:
        return {key: clean_json(posted[name]) for name, key in SETTINGS.items()}
    except ValueError as error:
        raise BadRequest(f"The settings can't be stored: a value {error}.") from None


def _check(posted: dict[str, Any], area: str) -> None:
    def refuse(field: str, why: str) -> BadRequest:
        return BadRequest(f"{area}_{field} {why}", status=422)

    for field in _FIELDS:
        value = posted[f"{area}_{field}"]
        posted[f"{area}_{field}"] = value if value is not None else 60 if field == "JUPYTER_TIMEOUT" else ""
    engine, url = posted[f"{area}_ENGINE"], posted[f"{area}_JUPYTER_URL"].strip()
    if engine not in {*ENGINES, ""}:
        raise refuse("ENGINE", f"should be one of {', '.join(ENGINES)}.")
    if posted[f"{area}_JUPYTER_AUTH"] not in WAYS_IN:
        raise refuse("JUPYTER_AUTH", "should be 'none', 'token' or 'password'.")
    if not 1 <= posted[f"{area}_JUPYTER_TIMEOUT"] <= LONGEST_SECONDS:
        raise refuse("JUPYTER_TIMEOUT", f"should be between 1 and {LONGEST_SECONDS:,} seconds.")
    if not url and engine == "jupyter" and posted[f"ENABLE_{area}"]:
        raise refuse("JUPYTER_URL", "is missing: the engine is a Jupyter server.")
    if url:
        try:
            checked_url(url)
        except Unreachable:
            raise refuse("JUPYTER_URL", "is no address of a server (http:// or https://).") from None
    posted[f"{area}_JUPYTER_URL"] = url
