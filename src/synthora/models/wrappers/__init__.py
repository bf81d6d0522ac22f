"""Behaviour around a backend: retries, fallbacks, a cache, a rate limit, traces. Each is a backend itself."""

from synthora.models.wrappers.base import WrapperBackend
from synthora.models.wrappers.cache import CacheBackend
from synthora.models.wrappers.fallback import FallbackBackend
from synthora.models.wrappers.rate_limit import RateLimitBackend, RateLimiter
from synthora.models.wrappers.retry import RetryBackend
from synthora.models.wrappers.stores import MemoryStore, SQLiteStore
from synthora.models.wrappers.trace import TraceBackend

__all__ = [
    "CacheBackend",
    "FallbackBackend",
    "MemoryStore",
    "RateLimitBackend",
    "RateLimiter",
    "RetryBackend",
    "SQLiteStore",
    "TraceBackend",
    "WrapperBackend",
]
