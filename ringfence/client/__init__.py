"""The Python client of the control plane's API: `Api` and the context it reads."""

from ringfence.client.api import Api, ApiError, WatchTimeoutError, route
from ringfence.client.context import Context, ContextError

__all__ = ["Api", "ApiError", "Context", "ContextError", "WatchTimeoutError", "route"]
