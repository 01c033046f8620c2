"""Usage as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel


class UsageRow(BaseModel):
    """One hour of one (group, model version, adapter, feature)."""

    hour: datetime
    group_id: str
    model_version: str
    adapter_id: str | None
    feature: str
    requests: int
    input_tokens: int
    output_tokens: int
    as_of: datetime
    is_final: bool


class UsageOut(BaseModel):
    """Rows, newest hour first."""

    items: list[UsageRow]
