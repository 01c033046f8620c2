"""Settings of the gateway, from the environment with the prefix `GATEWAY_`.

Read once by `main` and passed on. Separate so that a wrong setting is refused, by name, before
anything is opened. Secrets are files, never values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wire.usage import BoundaryId

PREFIX = "GATEWAY_"


class GatewaySettingsError(ValueError):
    """A setting is missing or wrong; the message names the variable."""


class GatewaySettings(BaseModel):
    """Each field is the variable `GATEWAY_<FIELD>` in capitals."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """The boundary's namespace: the only one whose resources are read."""
    boundary_id: BoundaryId
    """Identifier of the boundary, written into every usage event."""
    database_url_file: Path
    """File with the PostgreSQL URL of the boundary's own database (mode 0600 or a Secret mount)."""
    spool_dir: Path
    """Folder of the usage spool; on a persistent volume, or a lost node loses what is in it."""
    usage_policy_dir: Path | None = None
    """Mounted ConfigMap `usage-policy` of the customer; without it roll-ups leave as aggregates."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address; network policy decides who reaches it
    """Address to listen on, for both ports."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of the OpenAI-shaped API."""
    internal_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """Port that serves the agent: roll-ups, and events where the customer lets them out."""
    agent_user: str = "system:serviceaccount:ringfence-system:agent"
    """The one Kubernetes user that may read what leaves."""
    spool_max_bytes: Annotated[int, Field(ge=2**16)] = 256 * 2**20
    """Usage not yet in the database beyond which requests are refused: usage is never dropped."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 25.0
    """How long live answers may go on after SIGTERM."""
    connect_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Patience for a connection to an engine."""
    retry_seconds: Annotated[float, Field(ge=0, le=30)] = 2.0
    """How long a refused connection is tried again (an engine that restarts); 0 tries once."""
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Patience for the first byte and between two chunks of an engine's answer."""
    ship_seconds: Annotated[float, Field(gt=0, le=60)] = 0.25
    """How often spooled usage is written to the database."""
    rollup_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """How often hours with new events are rolled up."""
    shown_ms: Annotated[int, Field(ge=0, le=60_000)] = 750
    """How long a change must have been visible to count as shown; written beside each result."""
    retention_days: Annotated[int, Field(ge=4, le=3660)] = 30
    """Age at which raw events are deleted; at least 4, because hours stay open for 3 days."""


def load_settings(environment: Mapping[str, str] | None = None) -> GatewaySettings:
    """Read the settings. Raises: GatewaySettingsError, naming every wrong variable at once."""
    source = os.environ if environment is None else environment
    given = {
        field: source[PREFIX + field.upper()]
        for field in GatewaySettings.model_fields
        if PREFIX + field.upper() in source
    }
    try:
        return GatewaySettings.model_validate(given)
    except ValidationError as error:
        lines = (f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise GatewaySettingsError("; ".join(lines)) from error
