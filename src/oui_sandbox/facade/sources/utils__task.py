"""open_webui.utils.task: which model is asked a side question."""

from typing import Any


def get_task_model_id(default_model_id: str, task_model: str, task_model_external: str, models: dict[str, Any]) -> str:
    """The model that an admin has set for side questions where it is there, else the conversation's own."""
    for wanted in (task_model, task_model_external):
        if wanted and wanted in models:
            return wanted
    return default_model_id
