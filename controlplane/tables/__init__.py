"""SQLAlchemy tables and their state enumerations, one module per noun.

`metadata` has all of them loaded, also the tables that live in `core` (audit, outbox, run engine).
"""

from __future__ import annotations

from sqlalchemy import MetaData

from controlplane.core import audit, outbox
from controlplane.core.db import Base
from controlplane.core.run_engine import tables as run_engine
from controlplane.tables import (
    access,
    agents,
    break_glass,
    catalog,
    checkpoints,
    drift,
    identity,
    installs,
    organizations,
    provisioning,
    reports,
    services,
    sign_in,
    usage,
    waivers,
    windows,
)

LOADED = (
    audit,
    outbox,
    access,
    agents,
    break_glass,
    catalog,
    checkpoints,
    drift,
    identity,
    installs,
    organizations,
    provisioning,
    reports,
    run_engine,
    services,
    sign_in,
    usage,
    waivers,
    windows,
)
"""Modules that define tables; being imported here is what puts them into the metadata."""

metadata: MetaData = Base.metadata
