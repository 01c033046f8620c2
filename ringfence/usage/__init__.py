"""Report what became of changes: `UsageClient`, for IDEs, agents and scripts.

Needs nothing of the server side. No method takes text, so none can send code.
"""

from ringfence.usage.client import Settled, UsageClient
from ringfence.usage.spool import EventSpool, SpoolInUseError
from wire.usage import (
    ApplyMode,
    Client,
    CommentType,
    Decision,
    Feature,
    Horizon,
    Ide,
    Language,
)

__all__ = [
    "ApplyMode",
    "Client",
    "CommentType",
    "Decision",
    "EventSpool",
    "Feature",
    "Horizon",
    "Ide",
    "Language",
    "Settled",
    "SpoolInUseError",
    "UsageClient",
]
