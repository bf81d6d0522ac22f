"""The closed sets of names. Each is text, so that it compares and serialises as its value."""

from enum import StrEnum


class NodeType(StrEnum):
    """What stands at a node of the execution tree."""

    AGENT = "agent"
    MODEL = "model"
    TOOL = "tool"
    USER = "user"
    SYSTEM = "system"


class MessageRole(StrEnum):
    """Whose words a message carries."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL_RESPONSE = "tool_response"


class ModelBackendType(StrEnum):
    """The kinds of backends that a configuration can name."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_COMPLETION = "openai_completion"
    AZURE_CHAT = "azure_chat"
    AZURE_COMPLETION = "azure_completion"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    LLAMAFORGE = "llamaforge"
    SCRIPTED = "scripted"


class AgentType(StrEnum):
    """The kinds of agents that Synthora's configurations name. There are none in this package."""

    VANILLA = "vanilla"
    REACT = "react"
    REWOO = "rewoo"
    COT = "cot"
    TOT = "tot"
    REFLECTION = "reflection"


class TaskState(StrEnum):
    """Where a task of a workflow stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILURE = "failure"
    SKIPPED = "skipped"


class TriggerRuntime(StrEnum):
    """How a trigger runs what it triggers."""

    SYNC = "sync"
    ASYNC = "async"


class AutomationBlockType(StrEnum):
    """The kinds of blocks of an automation."""

    CODE = "code"
    INPUT = "input"
    CONDITION = "condition"
    LOOP = "loop"


class CallBackEvent(StrEnum):
    """What handlers are told. The value is the name of the handler's method."""

    LLM_START = "on_llm_start"
    LLM_END = "on_llm_end"
    LLM_ERROR = "on_llm_error"
    LLM_CHUNK = "on_llm_chunk"
    TOOL_START = "on_tool_start"
    TOOL_END = "on_tool_end"
    TOOL_ERROR = "on_tool_error"
    AGENT_START = "on_agent_start"
    AGENT_END = "on_agent_end"
    AGENT_ERROR = "on_agent_error"
    CUSTOM = "custom"
