"""Callbacks: be told what models, tools and agents do while they do it."""

from synthora.callbacks.handlers import AsyncCallBackHandler, BaseCallBackHandler
from synthora.callbacks.manager import AsyncCallBackManager, BaseCallBackManager, get_callback_manager
from synthora.callbacks.rich_output import RichOutputHandler

__all__ = [
    "AsyncCallBackHandler",
    "AsyncCallBackManager",
    "BaseCallBackHandler",
    "BaseCallBackManager",
    "RichOutputHandler",
    "get_callback_manager",
]
