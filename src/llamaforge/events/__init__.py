"""What a model answers, as values: the events of an answer, how they are read from a format, how they are put together.

Pure: no I/O, no clock. Not imported by `import llamaforge`.
"""

from llamaforge.events.types import (
    Done,
    Error,
    Event,
    Image,
    Notice,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    Usage,
)

__all__ = ["Done", "Error", "Event", "Image", "Notice", "Reasoning", "Refusal", "Source", "Text", "ToolCall", "Usage"]
