"""The outbox: the intent of a job is a row in the transaction of the change.

Services enqueue by name (`"install.provision"`) with ids only; the relay sends rows to the broker
after the commit and marks them. Losing the broker loses nothing: rows stay.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, func, insert, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from controlplane.core.db import Base

CHANNEL = "ringfence_outbox"
"""NOTIFY channel on which the relay is woken at commit; the payload is the task."""


class Outbox(Base):
    """One job to send; `args` holds ids as text, so no tenant's data is in here."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),
        Index("ix_outbox_open", "id", postgresql_where=text("done_at IS NULL")),
        {"info": {"tenancy": "queue"}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task: Mapped[str]
    args: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    """When the relay last gave the message to the broker."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    """How often it was sent; a job that is not done in time is sent again."""
    done_at: Mapped[datetime | None]
    """Set by the task's own end: only then is the job over."""


def enqueue(session: Session, task: str, **ids: UUID | int) -> None:
    """Record that `task` (`noun.verb`) is to run once this transaction commits."""
    args = {key: value if isinstance(value, int) else str(value) for key, value in ids.items()}
    session.execute(insert(Outbox).values(task=task, args=args))
    session.execute(_NOTIFY, {"channel": CHANNEL, "task": task})


_NOTIFY = text("SELECT pg_notify(:channel, :task)")
