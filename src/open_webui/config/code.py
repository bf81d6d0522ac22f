"""What an admin may change about running code: by which engine, and where a Jupyter server is. Named as in the contract."""

import sys
from typing import Final

from open_webui.config.setting import Setting, flag

# Code of a model's answers, and code blocks that a person runs.
INTERPRETER: Final = "code_interpreter"
EXECUTION: Final = "code_execution"
# Only Linux can keep code from what is not its own.
DEFAULT: Final = "sandbox" if sys.platform == "linux" else "pyodide"


def engine(name: str) -> str:
    """The engine that a setting names."""
    return name or DEFAULT


def shown(name: str) -> str:
    """The same as pages know engines: "jupyter" is one that the server asks, "pyodide" one that they have themselves."""
    return "pyodide" if engine(name) == "pyodide" else "jupyter"


def _area(area: str) -> tuple[Setting, ...]:
    name = area.upper()
    return (
        flag(f"{area}.enable", f"ENABLE_{name}", True),
        Setting(f"{area}.engine", str, DEFAULT, (f"{name}_ENGINE",)),
        Setting(f"{area}.jupyter.url", str, "", (f"{name}_JUPYTER_URL",)),
        Setting(f"{area}.jupyter.auth", str, "", (f"{name}_JUPYTER_AUTH",)),
        Setting(f"{area}.jupyter.auth_token", str, "", (f"{name}_JUPYTER_AUTH_TOKEN",), secret=True),
        Setting(f"{area}.jupyter.auth_password", str, "", (f"{name}_JUPYTER_AUTH_PASSWORD",), secret=True),
        Setting(f"{area}.jupyter.timeout", int, 60, (f"{name}_JUPYTER_TIMEOUT",)),
    )


SETTINGS: Final[tuple[Setting, ...]] = (
    *_area(EXECUTION),
    *_area(INTERPRETER),
    Setting("code_interpreter.prompt_template", str, "", ("CODE_INTERPRETER_PROMPT_TEMPLATE",)),
)
