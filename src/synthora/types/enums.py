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
    LLAMAFORGE = "llamaforge"
    SCRIPTED = "scripted"


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
