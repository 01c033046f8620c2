"""Settings of the agent, from the environment that the chart sets.

Read once by `agent.main`. Secrets come as files; the one-time enrolment token's file may be gone
after enrolment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

AGENT_VERSION = "0.1.0"


class SettingsError(ValueError):
    """A setting is missing; the message names it."""


@dataclass(frozen=True)
class Settings:
    """What the agent needs to know; names in the environment carry the prefix `AGENT_`."""

    control_plane_url: str
    """The one vendor host the agent may dial."""
    boundary_id: str
    boundary_name: str
    namespace: str
    """The boundary's namespace, where the custom resources live."""
    enrolment_token_file: Path
    key_dir: Path
    """The agent's own volume: its key and its identity stay here."""
    customer_key: str
    """The customer's public key (base64): every bundle must carry its signature."""
    gateway_internal_url: str
    """Where the boundary's gateway serves roll-ups."""
    closer_role: str
    """Name of the role the agent's pod identity is; it carries the pins as tags."""
    bucket: str
    """The boundary's bucket; the agent's public key is put there at enrolment."""
    region: str
    service_account_token: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings. Raises: SettingsError naming every missing variable at once."""
        names = (
            "CONTROL_PLANE_URL",
            "BOUNDARY_ID",
            "BOUNDARY_NAME",
            "NAMESPACE",
            "ENROLMENT_TOKEN_FILE",
            "KEY_DIR",
            "CUSTOMER_KEY",
            "GATEWAY_INTERNAL_URL",
            "CLOSER_ROLE",
            "BUCKET",
            "REGION",
        )
        missing = [f"AGENT_{name}" for name in names if not environment.get(f"AGENT_{name}")]
        if missing:
            raise SettingsError(f"set {', '.join(missing)} (the chart boundary-stack does)")
        get = {name: environment[f"AGENT_{name}"] for name in names}
        return cls(
            control_plane_url=get["CONTROL_PLANE_URL"].rstrip("/"),
            boundary_id=get["BOUNDARY_ID"],
            boundary_name=get["BOUNDARY_NAME"],
            namespace=get["NAMESPACE"],
            enrolment_token_file=Path(get["ENROLMENT_TOKEN_FILE"]),
            key_dir=Path(get["KEY_DIR"]),
            customer_key=get["CUSTOMER_KEY"],
            gateway_internal_url=get["GATEWAY_INTERNAL_URL"].rstrip("/"),
            closer_role=get["CLOSER_ROLE"],
            bucket=get["BUCKET"],
            region=get["REGION"],
        )
