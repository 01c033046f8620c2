"""Typed ids: UUID version 7, so that new rows land at the end of an index.

Source: RFC 9562, section 5.7.
"""

from __future__ import annotations

import secrets
import time
from typing import NewType
from uuid import UUID

OrganizationId = NewType("OrganizationId", UUID)
BoundaryId = NewType("BoundaryId", UUID)
PrincipalId = NewType("PrincipalId", UUID)
ConnectionId = NewType("ConnectionId", UUID)
GrantId = NewType("GrantId", UUID)
InstallId = NewType("InstallId", UUID)
RunId = NewType("RunId", UUID)
AgentId = NewType("AgentId", UUID)


def new_id() -> UUID:
    """Return a new UUIDv7: 48 bits of milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return UUID(int=value)
