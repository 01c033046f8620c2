"""What a short job is: the body of a task, as domains write it and the broker runs it.

Apart from `broker.py`, so that who writes a job does not import Celery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Job = Callable[..., None]
"""A task's body: takes the ids of its outbox row as text or int keywords; idempotent."""


@dataclass(frozen=True)
class AwaitedJob:
    """A job whose end a person waits for: one that cannot be done ends with an answer."""

    body: Job
    give_up: Job
    """Says so where the person looks; takes the same ids; idempotent."""
    attempts: int = 3
    """Of failures that nobody foresaw; what may pass by itself is tried as long as any job."""

    def __call__(self, **ids: Any) -> None:
        """Do it."""
        self.body(**ids)
